package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// A command arrives whole; one that this agent does not understand is no command.
func TestCommandFromProto(t *testing.T) {
	t.Parallel()
	good := func() *pb.Command {
		return &pb.Command{
			Id: &pb.CommandId{
				Epoch: &pb.Epoch{Index: 7}, Incarnation: 9, Shard: "3", Term: 4, Move: 5, Kind: pb.CommandKind_COMMAND_KIND_UPDATE_MEMBERSHIP,
			},
			Role: pb.Role_ROLE_SECONDARY, DeadlineMs: 10,
			Members: []*pb.Member{{Peer: &pb.Peer{Server: "b.kv", Incarnation: 8, DataAddress: "b:1"}, InSync: true}},
		}
	}
	got, ok := commandFromProto(2, good())
	want := roster.Command{
		Stream: 2, Role: shard.Secondary, Deadline: 10_000_000,
		Members: []shard.Member{{Peer: shard.Peer{Server: "b.kv", Incarnation: 8, DataAddress: "b:1"}, InSync: true}},
		ID: roster.CommandID{
			Epoch: shard.Epoch{Index: 7}, Incarnation: 9, Shard: "3", Order: shard.Order{Term: 4, Move: 5}, Kind: roster.UpdateMembership,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("understood %t (-want +got):\n%s", ok, diff)
	}
	for name, spoil := range map[string]func(*pb.Command){
		"no shard":      func(c *pb.Command) { c.Id.Shard = "" },
		"no term":       func(c *pb.Command) { c.Id.Term = 0 },
		"no move":       func(c *pb.Command) { c.Id.Move = 0 },
		"no kind":       func(c *pb.Command) { c.Id.Kind = 0 },
		"a later kind":  func(c *pb.Command) { c.Id.Kind++ },
		"a later role":  func(c *pb.Command) { c.Role++ },
		"a wrong role":  func(c *pb.Command) { c.Role = -1 },
		"a role beyond": func(c *pb.Command) { c.Role = 257 },
		"a kind beyond": func(c *pb.Command) { c.Id.Kind = 257 },
	} {
		c := good()
		spoil(c)
		if _, ok := commandFromProto(2, c); ok {
			t.Errorf("%s: understood", name)
		}
	}
}
