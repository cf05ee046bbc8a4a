package api

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// eventOf is the event of a message of an agent; nil for one that this version does not know.
func eventOf(id ledger.StreamID, m *pb.AttachRequest) (ledger.Event, error) {
	switch m := m.GetMessage().(type) {
	case *pb.AttachRequest_Renew:
		return renewOf(id, m.Renew), nil
	case *pb.AttachRequest_Result:
		return resultOf(id, m.Result)
	case *pb.AttachRequest_ProbeAnswer:
		return probeAnswerOf(id, m.ProbeAnswer)
	case *pb.AttachRequest_Drain:
		return ledger.DrainRequested{Stream: id, On: m.Drain.GetOn()}, nil
	case *pb.AttachRequest_Rest:
		if m.Rest.GetLengthNs() <= 0 {
			return nil, &wire.FieldError{Field: "rest.length_ns", Expected: fmt.Sprintf("a length above 0, not %d", m.Rest.GetLengthNs())}
		}
		return ledger.RestRequested{Stream: id, Sequence: m.Rest.Sequence, Length: time.Duration(m.Rest.LengthNs)}, nil
	case *pb.AttachRequest_Ended:
		return ledger.Ended{
			Stream: id, Incarnation: shard.Incarnation(m.Ended.GetIncarnation()), ProvenDead: m.Ended.GetProvenDead(), Reason: m.Ended.GetReason(),
		}, nil
	case *pb.AttachRequest_Hello:
		return nil, &wire.FieldError{Field: "hello", Expected: "one hello in a stream, not another"}
	default:
		return nil, nil
	}
}

func renewOf(id ledger.StreamID, m *pb.Renew) ledger.Renew {
	event := ledger.Renew{Stream: id, Sequence: m.GetSequence(), AskedNS: m.GetAskedNs(), Transfers: wire.TransfersFromProto(m.GetTransfers()),
		ApplicationSilent: time.Duration(max(m.GetApplicationSilentNs(), 0)), ServeOn: m.GetServeOn()}
	for _, l := range m.GetLoads() {
		event.Loads = append(event.Loads, ledger.ShardLoad{Shard: shard.ID(l.GetShard()), Load: l.GetLoad()})
	}
	return event
}

func resultOf(id ledger.StreamID, m *pb.Result) (ledger.Event, error) {
	c := m.GetCommand()
	if m.GetStatus() < pb.ResultStatus_RESULT_STATUS_DONE || m.GetStatus() > pb.ResultStatus_RESULT_STATUS_BUSY {
		return nil, &wire.FieldError{Field: "result.status", Expected: fmt.Sprintf("a status, not %d", m.GetStatus())}
	}
	if c.GetKind() < pb.CommandKind_COMMAND_KIND_ADD_SHARD || c.GetKind() > pb.CommandKind_COMMAND_KIND_UPDATE_MEMBERSHIP {
		return nil, &wire.FieldError{Field: "result.command.kind", Expected: fmt.Sprintf("a kind of command, not %d", c.GetKind())}
	}
	return ledger.Result{
		Stream: id, Status: ledger.Status(m.Status), Err: m.Error,
		ID: message.CommandID{
			Epoch: wire.EpochFromProto(c.Epoch), Incarnation: shard.Incarnation(c.Incarnation), Shard: shard.ID(c.Shard),
			Order: shard.Order{Term: shard.Term(c.Term), Move: shard.MoveID(c.Move)}, Kind: message.Kind(c.Kind),
		},
	}, nil
}

func probeAnswerOf(id ledger.StreamID, m *pb.ProbeAnswer) (ledger.Event, error) {
	for field, outcome := range map[string]pb.ProbeOutcome{"agent": m.GetAgent(), "application": m.GetApplication()} {
		if outcome < pb.ProbeOutcome_PROBE_OUTCOME_ANSWERED || outcome > pb.ProbeOutcome_PROBE_OUTCOME_SILENT {
			return nil, &wire.FieldError{Field: "probe_answer." + field, Expected: fmt.Sprintf("an outcome, not %d", outcome)}
		}
	}
	return ledger.ProbeAnswer{
		Stream: id, ID: m.Id, Server: shard.ServerID(m.Server),
		Agent: evidence.Outcome(m.Agent), Application: evidence.Outcome(m.Application),
	}, nil
}
