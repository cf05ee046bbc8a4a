package allocator

import (
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// setGeneration writes the record, as a restore does.
func (c *testCluster) setGeneration(record *pb.GenerationRecord) {
	c.Helper()
	value, err := wire.Encode(record)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := c.store.Txn(c.Context(), []coord.Op{{Verb: coord.Set, Key: "shardmanager/c1/g/default/generation", Value: value}}); err != nil {
		c.Fatal(err)
	}
}

// epoch is the leader's.
func (n *node) epoch(t *testing.T) (e shard.Epoch) {
	t.Helper()
	if leader := n.Leader(); leader != nil {
		if view, err := leader.View(t.Context()); err == nil {
			e = view.Summary.Epoch
		}
	}
	return e
}

// Whoever leads does so under the generation that is stored, and says so where others read it. One under which it changes steps down (R14).
func TestLeadersAreOfTheStoredGeneration(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.setGeneration(&pb.GenerationRecord{Generation: 2})
	n := c.start("a1")
	c.leader(n)
	eventually(t, "it leads in generation 2", func() bool { return n.epoch(t).Generation == 2 })
	_, record := c.lockEntry()
	if s := n.settings; record.Generation != 2 || record.LeaseValidityNs != int64(s.Validity) || record.LeaderValidityNs != int64(s.LeaderValidity) {
		t.Errorf("the lock says %v", record)
	}
	box := n.leading.Load()
	c.setGeneration(&pb.GenerationRecord{Generation: 3})
	select {
	case <-box.Ended():
	case <-time.After(time.Minute):
		t.Fatal("it leads on in a generation that is over")
	}
	eventually(t, "it leads in generation 3", func() bool { return n.epoch(t).Generation == 3 })
}

// While a restore has not ended, or the store went back in time, nobody takes the lock, everybody says why, and they go on by themselves.
func TestNobodyLeadsWhileBarred(t *testing.T) {
	t.Parallel()
	for name, record := range map[string]*pb.GenerationRecord{
		"has not ended":               {Generation: 1, Restoring: true, Reason: "of a test"},
		"the store went back in time": {Heard: 4, Reason: "server a.kv obeyed epoch 4.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTestCluster(t)
			c.setGeneration(record)
			nodes := []*node{c.start("a1"), c.start("a2")}
			for _, n := range nodes {
				eventually(t, "it says why", func() bool {
					s := n.Status()
					return strings.Contains(s.Barred, name) && strings.Contains(s.StoreTrouble, record.Reason) && n.present().Barred && s.Leader == ""
				})
				if err := api.Unfit(t.Context(), n, true); err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("its health says %v", err)
				}
			}
			if entry, found, err := c.store.Get(t.Context(), "shardmanager/c1/g/default/leader"); err != nil || found {
				t.Errorf("somebody took the lock: %v, %v", entry, err)
			}
			c.setGeneration(&pb.GenerationRecord{Generation: 5})
			lead := c.leader(nodes...)
			eventually(t, "it leads in generation 5, and all is well", func() bool {
				return lead.epoch(t).Generation == 5 && nodes[0].Status().StoreTrouble == "" && nodes[1].Status().StoreTrouble == ""
			})
		})
	}
}
