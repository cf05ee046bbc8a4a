package api

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func invalid(subject, expected string) error {
	return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, subject, expected, "")
}

// maxName is the longest name of an app.
const maxName = 63

// CheckApp refuses names of apps that cannot be part of a server's id, of a key or of a file name.
func CheckApp(app shard.App) error {
	if app == "" || len(app) > maxName {
		return invalid("app", fmt.Sprintf("a name of 1 to %d characters, not %q", maxName, app))
	}
	for _, c := range app {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '_' {
			return invalid("app", fmt.Sprintf("letters, digits, - and _, not %q", app))
		}
	}
	return nil
}

// versionLabel is the label that says the application's version, unless it says something of its own by it.
const versionLabel = "version"

func labels(req *pb.RegisterRequest) map[string]string {
	list := maps.Clone(req.GetLabels())
	if _, own := list[versionLabel]; own || req.GetVersion() == "" {
		return list
	}
	if list == nil {
		list = map[string]string{}
	}
	list[versionLabel] = req.GetVersion()
	return list
}

// registration decodes and checks a Register.
func registration(req *pb.RegisterRequest) (Registration, error) {
	has := req.GetCapabilities()
	r := Registration{
		App: shard.App(req.GetApp()), PID: req.GetPid(), PIDNamespace: req.GetPidNamespace(), SingleProcess: req.GetSingleProcess(),
		Application: roster.Application{
			HostAddress: req.GetHostAddress(), DataAddress: req.GetDataAddress(), Version: req.GetVersion(),
			Capacity: maps.Clone(req.GetCapacity()), Labels: labels(req),
			Activate: has.GetActivate(), Prepare: has.GetPrepare(), ChangeRole: has.GetChangeRole(), Membership: has.GetMembership(),
			Load: has.GetLoad(),
		},
		Incarnation: shard.Incarnation(req.GetIncarnation()), Highest: wire.EpochFromProto(req.GetHighestEpoch()),
	}
	if err := CheckApp(r.App); err != nil {
		return r, err
	}
	if r.PID <= 0 {
		return r, invalid("pid", "the pid of the process, as it sees itself")
	}
	if r.Application.HostAddress == "" {
		return r, invalid("host_address", "unix:///path or http://host:port of ShardHostService")
	}
	if host, port, err := net.SplitHostPort(r.Application.DataAddress); err != nil || host == "" || port == "" || strings.Contains(r.Application.DataAddress, "/") {
		return r, invalid("data_address", fmt.Sprintf("host:port where other machines reach the application, not %q", r.Application.DataAddress))
	}
	for _, metric := range shard.SortedKeys(r.Application.Capacity) {
		if r.Application.Capacity[metric] < 0 {
			return r, invalid("capacity."+metric, "0 or more")
		}
	}
	for _, h := range req.GetHeld() {
		held, err := wire.HeldFromProto(h)
		if err != nil {
			var field *wire.FieldError
			if errors.As(err, &field) {
				return r, invalid(field.Field, field.Expected)
			}
			return r, invalid("held", err.Error())
		}
		r.Held = append(r.Held, held)
	}
	return r, nil
}

func serverStatus(v roster.View) *pb.AgentServerStatus {
	status := &pb.AgentServerStatus{
		Server: wire.ServerToProto(v.Server), LeaseRemainingMs: v.Remaining.Milliseconds(), VouchedBy: v.VouchedBy.String(),
		Attached: v.Attached, Epoch: wire.EpochToProto(v.Epoch), Draining: v.Draining, Pid: v.Application.PID, Problem: v.Problem,
		Transfers: wire.TransfersToProto(v.Transfers),
	}
	for _, h := range v.Held {
		status.Held = append(status.Held, wire.HeldToProto(h))
	}
	if status.Problem == "" && v.Life != roster.Live {
		status.Problem = v.Life.String()
	}
	return status
}

// Refuse turns a refusal of the roster into a typed error; nil if there is none.
func Refuse(subject string, reply roster.Reply) error {
	typed := func(code connect.Code, reason pb.ErrorReason) error {
		return wire.Error(code, reason, subject, reply.Why, "")
	}
	switch reply.Refusal {
	case 0:
		return nil
	case roster.RefusedBusy:
		return typed(connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_DUPLICATE_SERVER)
	case roster.RefusedDuplicate:
		return typed(connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_DUPLICATE_SERVER)
	case roster.RefusedStore:
		return typed(connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_STORE)
	case roster.RefusedStopping, roster.RefusedRest:
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("%s: %s", subject, reply.Why))
	case roster.RefusedUnknown:
		return typed(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE)
	}
	return connect.NewError(connect.CodeInternal, fmt.Errorf("%s: unknown refusal %d", subject, reply.Refusal))
}
