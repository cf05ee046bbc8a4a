package allocator

import (
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// A quarantine that an earlier leader stored keeps its shard from every server until an operator releases it.
func TestQuarantineOutlivesTheLeader(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	first := c.start("a1")
	c.leader(first)
	c.createApp(first, "kv", 4)
	first.halt(t)
	value, err := wire.Encode(&pb.QuarantineRecord{App: "kv", Shard: "1", Reason: "3 servers died of it"})
	if err != nil {
		t.Fatal(err)
	}
	mustTxn(t, c.store, coord.Op{Verb: coord.Set, Key: first.keys.Quarantine("kv", "1"), Value: value})

	second := c.start("a2")
	c.leader(second)
	x := c.agent("x", "kv", 1, second)
	eventually(t, "the others are placed", func() bool { return placed(3, x) })
	list, err := second.admin.ListQuarantined(t.Context(), &pb.ListQuarantinedRequest{App: "kv"})
	if err != nil || len(list.GetShards()) != 1 || list.GetShards()[0].GetShard() != "1" || list.GetShards()[0].GetReason() != "3 servers died of it" {
		t.Fatalf("listed %v, %v", list, err)
	}
	if list, err := second.admin.ListQuarantined(t.Context(), &pb.ListQuarantinedRequest{App: "other"}); err != nil || len(list.GetShards()) != 0 {
		t.Errorf("listed of another app: %v, %v", list, err)
	}
	eventually(t, "the status counts it", func() bool {
		status, err := second.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		return err == nil && status.GetQuarantined() == 1 && status.GetUnplaced() == 1
	})
	_, err = second.admin.ReleaseQuarantine(t.Context(), &pb.ReleaseQuarantineRequest{App: "kv", Shard: "2"})
	wantDetail(t, err, connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "in quarantine")
	if _, err := second.admin.ReleaseQuarantine(t.Context(), &pb.ReleaseQuarantineRequest{App: "kv", Shard: "1"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are placed", func() bool { return placed(4, x) })
	if _, found, err := c.store.Get(t.Context(), first.keys.Quarantine("kv", "1")); found || err != nil {
		t.Errorf("still stored: %t, %v", found, err)
	}
}

// There is nothing to release while nobody is held.
func TestReleaseWithoutAHold(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	_, err := n.admin.ReleaseHold(t.Context(), new(pb.ReleaseHoldRequest))
	wantDetail(t, err, connect.CodeAborted, pb.ErrorReason_ERROR_REASON_CONFLICT, "no server is held")
}
