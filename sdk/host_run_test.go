package sdk_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// What the agent is told at the registration, and again after its restart: the application serves on meanwhile (PROTOCOL R4).
func TestAgentRestart(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	mine := newApp()
	a := cluster.Start("a", mine, mountApp(mine), sdk.WithSingleProcess(), sdk.WithVersion("v7"))
	b := cluster.Start("b", newApp(), nil)
	first, err := a.Agent.WaitRegistered(ctx, 1)
	must(t, err)
	if first.GetApp() != "kv" || first.GetPid() == 0 || first.GetPidNamespace() == 0 || !first.GetSingleProcess() || first.GetIncarnation() != 0 ||
		first.GetHostAddress() != "http://"+a.Address || first.GetDataAddress() != a.Address || first.GetVersion() != "v7" {
		t.Errorf("registration: %v", first)
	}
	capabilities := first.GetCapabilities()
	if !capabilities.GetActivate() || !capabilities.GetPrepare() || !capabilities.GetLoad() || capabilities.GetChangeRole() || capabilities.GetMembership() {
		t.Errorf("capabilities: %v", capabilities)
	}

	must(t, cluster.Grant(ctx, testShard, a))
	must(t, a.PrepareAddShard(ctx, "08", sdktest.Order{Term: 3, Move: 4}, b))
	must(t, a.AddShard(ctx, "09", sdktest.Order{Term: 1, Move: 1}))
	must(t, a.DropShard(ctx, "09", sdktest.Order{Term: 1, Move: 2}))
	a.Agent.Stop()
	count(t, ctx, a, "1")
	must(t, a.Agent.Start())
	second, err := a.Agent.WaitRegistered(ctx, 2)
	must(t, err)
	if second.GetIncarnation() != a.Agent.Incarnation() {
		t.Errorf("registered again with incarnation %d, want %d", second.GetIncarnation(), a.Agent.Incarnation())
	}
	want := []*pb.HeldShard{
		{Shard: "07", Phase: pb.ShardPhase_SHARD_PHASE_PRIMARY, Term: 1, MaxTerm: 1, MaxMove: 1, Activated: true},
		{
			Shard: "08", Phase: pb.ShardPhase_SHARD_PHASE_PREPARED, Term: 3, MaxTerm: 3, MaxMove: 4,
			Peer: &pb.Peer{Server: "b.kv", Incarnation: b.Agent.Incarnation(), DataAddress: b.Address},
		},
		{Shard: "09", Phase: pb.ShardPhase_SHARD_PHASE_NONE, MaxTerm: 1, MaxMove: 2},
	}
	if diff := cmp.Diff(want, second.GetHeld(), protocmp.Transform()); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	must(t, a.Agent.WaitReady(ctx))
	count(t, ctx, a, "2")
}

// An incarnation that has ended drops everything, then the process registers as a new one, which remembers nothing (PROTOCOL R2).
func TestIncarnationEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(ctx context.Context, s *sdktest.Server) error
	}{
		{"by a hint", func(_ context.Context, s *sdktest.Server) error { s.Agent.EndIncarnation(); return nil }},
		{"by a command", func(ctx context.Context, s *sdktest.Server) error { return s.EndIncarnation(ctx) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := testContext(t)
			cluster := sdktest.NewCluster(t, "kv")
			mine := newApp()
			mine.fail("DropShard", errors.New("not yet"))
			a := cluster.Start("a", mine, mountApp(mine))
			must(t, cluster.Grant(ctx, testShard, a))
			old := a.Agent.Incarnation()

			if err := test.end(ctx, a); (err == nil) == (test.name == "by a command") {
				t.Errorf("ending while DropShard fails: %v", err)
			}
			mine.waitCalls(t, "DropShard 07@1", 3) // again and again
			refusedNotExecuted(t, ctx, a, "after the end")
			if n := a.Agent.Registrations(); n != 1 {
				t.Errorf("%d registrations, want 1: not everything is dropped yet", n)
			}
			mine.fail("DropShard", nil)
			second, err := a.Agent.WaitRegistered(ctx, 2)
			must(t, err)
			if second.GetIncarnation() != 0 || len(second.GetHeld()) != 0 {
				t.Errorf("the new registration: incarnation %d, held %v", second.GetIncarnation(), second.GetHeld())
			}
			must(t, a.Agent.WaitReady(ctx))
			if a.Agent.Incarnation() == old {
				t.Errorf("incarnation %d came back", old)
			}
			if err := a.AddShard(ctx, testShard, sdktest.Order{Term: 1, Move: 1}); err != nil {
				t.Errorf("AddShard to the new incarnation: %v", err)
			}
			count(t, ctx, a, "1") // nothing of the old life's state
		})
	}
}

// An agent that answers with another incarnation says that ours has ended.
func TestAgentForgotTheIncarnation(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	mine := newApp()
	a := cluster.Start("a", mine, mountApp(mine))
	must(t, cluster.Grant(ctx, testShard, a))
	a.Agent.Stop()
	a.Agent.Forget()
	must(t, a.Agent.Start())
	mine.waitCalls(t, "DropShard 07@1", 1)
	must(t, a.Agent.WaitReady(ctx))
	if id, incarnation := a.Host.Server(); id != "a.kv" || incarnation != a.Agent.Incarnation() {
		t.Errorf("Server() = %s, %d, want a.kv, %d", id, incarnation, a.Agent.Incarnation())
	}
	refusedNotExecuted(t, ctx, a, "as a new incarnation")
}

// Without a lease nothing is executed; with a new one the same incarnation resumes at its term (PROTOCOL R31).
func TestLeaseIsPulled(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	mine := newApp()
	a := cluster.StartWithoutLease("a", mine, mountApp(mine))
	must(t, cluster.Grant(ctx, testShard, a))
	refusedNotExecuted(t, ctx, a, "without a lease")
	a.Agent.SetLease(sdktest.DefaultLease)
	a.Agent.Hint(pb.AgentHint_AGENT_HINT_PULL)
	must(t, a.Agent.WaitReady(ctx))
	count(t, ctx, a, "1")
	if diff := cmp.Diff([]string{"Activate 07@1", "AddShard 07@1"}, mine.seen()); diff != "" {
		t.Errorf("callbacks (-want +got):\n%s", diff)
	}
}

// The end of Run's context drops every shard.
func TestRunLeaves(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	mine := newApp()
	a := cluster.Start("a", mine, mountApp(mine))
	must(t, cluster.Grant(ctx, testShard, a))
	must(t, a.Stop())
	if diff := cmp.Diff([]string{"Activate 07@1", "AddShard 07@1", "DropShard 07@1"}, mine.seen()); diff != "" {
		t.Errorf("callbacks (-want +got):\n%s", diff)
	}
	if _, _, err := a.Host.Begin(ctx, testShard); err == nil {
		t.Error("Begin after Run: no error")
	}
	if err := a.Host.Run(ctx); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("Run again: %v", err)
	}
}

// A refusal that no repetition changes ends Run.
func TestRunReturnsFinalErrors(t *testing.T) {
	agent := sdktest.NewAgent(t, "a.kv")
	agent.Refuse(connect.NewError(connect.CodeInvalidArgument, errors.New("app: expected one of `web`")))
	h, err := sdk.NewHost("kv", newApp(), sdk.WithAgentAddress(agent.Address()), sdk.WithDataAddress("127.0.0.1:1"))
	must(t, err)
	if err := h.Run(testContext(t)); err == nil || !strings.Contains(err.Error(), "expected one of `web`") {
		t.Errorf("Run: %v, want the agent's refusal", err)
	}
}

// The agent may call ShardHostService on a socket of its own.
func TestHostSocket(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	path := strings.TrimPrefix(sdktest.NewAgent(t, "unused").Address(), "unix://") + ".host"
	a := cluster.Start("a", newApp(), nil, sdk.WithHostSocket(path))
	request, err := a.Agent.WaitRegistered(ctx, 1)
	must(t, err)
	if request.GetHostAddress() != "unix://"+path {
		t.Errorf("host address %s, want unix://%s", request.GetHostAddress(), path)
	}
	answer, err := sdktest.Ping(ctx, request.GetHostAddress())
	must(t, err)
	if answer != "a.kv" {
		t.Errorf("ping answers %q, want a.kv", answer)
	}
}

func TestNewHostRefuses(t *testing.T) {
	address := sdk.WithDataAddress("127.0.0.1:1")
	for _, test := range []struct {
		name string
		make func() (*sdk.Host, error)
		want string
	}{
		{"no app", func() (*sdk.Host, error) { return sdk.NewHost("", newApp(), address) }, "app"},
		{"no handler", func() (*sdk.Host, error) { return sdk.NewHost("kv", nil, address) }, "handler"},
		{"no address", func() (*sdk.Host, error) { return sdk.NewHost("kv", newApp()) }, "WithDataAddress"},
		{"address", func() (*sdk.Host, error) { return sdk.NewHost("kv", newApp(), sdk.WithDataAddress("host")) }, "host:port"},
		{"capacity", func() (*sdk.Host, error) {
			return sdk.NewHost("kv", newApp(), address, sdk.WithCapacity(map[string]int64{"cpu": -1}))
		}, "cpu"},
		{"hold limits", func() (*sdk.Host, error) { return sdk.NewHost("kv", newApp(), address, sdk.WithHoldLimits(-1, 0)) }, "-1"},
		{"state nobody takes", func() (*sdk.Host, error) { return sdk.NewHost("kv", onlySource{}, address) }, "Activate"},
	} {
		if _, err := test.make(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error naming %s", test.name, err, test.want)
		}
	}
}

type onlySource struct{}

func (onlySource) AddShard(context.Context, sdk.Shard) error            { return nil }
func (onlySource) DropShard(context.Context, sdk.Shard) error           { return nil }
func (onlySource) LastState(context.Context, sdk.Shard) ([]byte, error) { return nil, nil }

// Loads of shards that are not held are not told.
func TestCollectLoad(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	mine := newApp()
	a := cluster.Start("a", mine, func(h *sdk.Host, mux *http.ServeMux) { mux.Handle("/count", h.Middleware(mine)) })
	must(t, cluster.Grant(ctx, testShard, a))
	count(t, ctx, a, "1")
	loads, err := a.CollectLoad(ctx)
	must(t, err)
	if diff := cmp.Diff(map[string]map[string]int64{testShard: {"keys": 1}}, loads); diff != "" {
		t.Errorf("loads (-want +got):\n%s", diff)
	}
}
