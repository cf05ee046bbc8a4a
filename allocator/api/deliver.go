package api

import (
	"math"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// deliver queues the message of a body, and ends the stream after those that are its last.
func deliver(out *outbox, body message.Body) {
	switch b := body.(type) {
	case message.Welcome:
		out.put(&pb.AttachResponse{Message: &pb.AttachResponse_Welcome{Welcome: &pb.Welcome{
			Epoch: wire.EpochToProto(b.Epoch), IntervalMs: b.Interval.Milliseconds(), ValidityMs: b.Validity.Milliseconds(),
		}}})
	case message.Grant:
		out.put(&pb.AttachResponse{Message: &pb.AttachResponse_Grant{Grant: &pb.Grant{
			Sequence: b.Sequence, RemainingNs: int64(b.Remaining), ServeOn: b.ServeOn,
		}}})
	case message.RestGranted:
		out.put(&pb.AttachResponse{Message: &pb.AttachResponse_RestGranted{RestGranted: &pb.RestGranted{
			Sequence: b.Sequence, RemainingNs: int64(b.Remaining),
		}}})
	case message.Command:
		out.put(&pb.AttachResponse{Message: &pb.AttachResponse_Command{Command: commandOf(b)}})
	case message.Probe:
		out.put(&pb.AttachResponse{Message: &pb.AttachResponse_Probe{Probe: &pb.Probe{
			Id: b.ID, Server: string(b.Target.ID), Incarnation: uint64(b.Target.Incarnation),
			AgentAddress: b.Target.AgentAddress, DataAddress: b.Target.DataAddress, TimeoutMs: b.Timeout.Milliseconds(),
		}}})
	case message.DrainProgress:
		remaining := uint32(min(max(b.Remaining, 0), math.MaxUint32))
		out.put(&pb.AttachResponse{Message: &pb.AttachResponse_DrainProgress{DrainProgress: &pb.DrainProgress{Remaining: remaining}}})
	case message.Fenced:
		out.put(&pb.AttachResponse{Message: &pb.AttachResponse_Fenced{Fenced: &pb.Fenced{
			Incarnation: uint64(b.Incarnation), Reason: b.Reason,
		}}})
		out.end(wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_FENCED, "server.incarnation", b.Reason, ""))
	case message.Refuse:
		out.end(refused(b))
	case message.Close:
		out.end(connect.NewError(connect.CodeAborted, errClosed(b.Reason)))
	}
}

func commandOf(b message.Command) *pb.Command {
	return &pb.Command{
		Id: &pb.CommandId{
			Epoch: wire.EpochToProto(b.ID.Epoch), Incarnation: uint64(b.ID.Incarnation), Shard: string(b.ID.Shard),
			Term: uint64(b.ID.Order.Term), Move: uint64(b.ID.Order.Move), Kind: pb.CommandKind(b.ID.Kind),
		},
		Peer: wire.PeerToProto(b.Peer), DeadlineMs: b.Deadline.Milliseconds(), Role: pb.Role(b.Role), Members: wire.MembersToProto(b.Members), TraceParent: b.TraceParent,
	}
}
