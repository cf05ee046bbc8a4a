package agent

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// commandFromProto decodes a command; false if it names no shard, order, known kind or known role.
func commandFromProto(stream roster.StreamID, c *pb.Command) (roster.Command, bool) {
	id, kind, role := c.GetId(), c.GetId().GetKind(), c.GetRole()
	known := kind >= pb.CommandKind_COMMAND_KIND_ADD_SHARD && kind <= pb.CommandKind_COMMAND_KIND_UPDATE_MEMBERSHIP &&
		role >= pb.Role_ROLE_UNSPECIFIED && role <= pb.Role_ROLE_SECONDARY
	if id.GetShard() == "" || id.GetTerm() == 0 || id.GetMove() == 0 || !known {
		return roster.Command{}, false
	}
	return roster.Command{
		Stream: stream, Role: shard.Role(role), Members: wire.MembersFromProto(c.GetMembers()), Peer: wire.PeerFromProto(c.GetPeer()), Deadline: time.Duration(c.GetDeadlineMs()) * time.Millisecond,
		ID: roster.CommandID{
			Epoch: wire.EpochFromProto(id.GetEpoch()), Incarnation: shard.Incarnation(id.GetIncarnation()), Shard: shard.ID(id.GetShard()),
			Order: shard.Order{Term: shard.Term(id.GetTerm()), Move: shard.MoveID(id.GetMove())}, Kind: roster.Kind(kind),
		},
	}, true
}

// messageToProto encodes a message to the leader.
func messageToProto(body roster.Body) *pb.AttachRequest {
	switch b := body.(type) {
	case roster.Renew:
		renew := &pb.Renew{Sequence: b.Sequence, AskedNs: b.AskedNS, Transfers: wire.TransfersToProto(b.Transfers),
			ApplicationSilentNs: int64(b.ApplicationSilent), ServeOn: b.ServeOn}
		for _, l := range b.Loads {
			renew.Loads = append(renew.Loads, &pb.ShardLoad{Shard: string(l.Shard), Load: l.Load})
		}
		return &pb.AttachRequest{Message: &pb.AttachRequest_Renew{Renew: renew}}
	case roster.Result:
		return &pb.AttachRequest{Message: &pb.AttachRequest_Result{Result: &pb.Result{
			Command: &pb.CommandId{
				Epoch: wire.EpochToProto(b.ID.Epoch), Incarnation: uint64(b.ID.Incarnation), Shard: string(b.ID.Shard),
				Term: uint64(b.ID.Order.Term), Move: uint64(b.ID.Order.Move), Kind: pb.CommandKind(b.ID.Kind),
			},
			Status: pb.ResultStatus(b.Status), Error: b.Err,
		}}}
	case roster.DrainRequested:
		return &pb.AttachRequest{Message: &pb.AttachRequest_Drain{Drain: &pb.DrainRequested{On: b.On}}}
	case roster.RestRequested:
		return &pb.AttachRequest{Message: &pb.AttachRequest_Rest{Rest: &pb.RestRequested{LengthNs: int64(b.Length), Sequence: b.Sequence}}}
	case roster.Ended:
		return &pb.AttachRequest{Message: &pb.AttachRequest_Ended{Ended: &pb.Ended{
			Incarnation: uint64(b.Incarnation), ProvenDead: b.ProvenDead, Reason: b.Reason,
		}}}
	}
	panic(fmt.Sprintf("agent: unknown message %T", body))
}
