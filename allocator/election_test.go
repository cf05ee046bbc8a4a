package allocator

import (
	"os"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// One of three leads. Told to stop it leaves the clean mark, and the next one takes over with a higher epoch and clears it.
func TestOrderlyHandover(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2"), c.start("a3")}
	first := c.leader(nodes...)
	before, record := c.lockEntry()
	if record.Allocator != first.cfg.Name || record.Clean || record.Address != first.address || record.AdminAddress != first.adminAddress {
		t.Errorf("record of %s: %v", first.cfg.Name, record)
	}
	c.outwait(first)
	first.halt(t)
	var rest []*node
	for _, n := range nodes {
		if n != first {
			rest = append(rest, n)
		}
	}
	second := c.leader(rest...)
	after, record := c.lockEntry()
	if record.Allocator != second.cfg.Name || record.Clean || after.Modify <= before.Modify {
		t.Errorf("record of %s: %v at %d, before at %d", second.cfg.Name, record, after.Modify, before.Modify)
	}
	for _, n := range rest {
		eventually(t, n.cfg.Name+" knows the leader", func() bool { return n.Status().Leader == second.cfg.Name })
	}
}

// The last one to go leaves the mark where everybody finds it.
func TestCleanMark(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	c.outwait(n)
	n.halt(t)
	entry, record := c.lockEntry()
	if entry.Session != "" || !record.Clean {
		t.Errorf("held by %q, clean %t: expected a free lock with the clean mark", entry.Session, record.Clean)
	}
}

// A leader whose session is ended steps down without the mark, and stands again.
func TestUnseatedLeaderStepsDown(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	box := n.leading.Load()
	before, _ := c.lockEntry()
	c.unseat()
	<-box.Ended()
	c.leader(n)
	after, _ := c.lockEntry()
	if after.Modify <= before.Modify || after.Session == before.Session {
		t.Errorf("lock at %d of session %s, before at %d of %s", after.Modify, after.Session, before.Modify, before.Session)
	}
}

// A restarted leader finds its old session in its file and does not wait for it to end by itself.
func TestRestartedLeaderEndsItsOldSession(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	dir := t.TempDir()
	g := &gate{Store: c.store}
	n := c.startOn(g, fastConfig("a1", dir))
	c.leader(n)
	g.set(true) // from here on it can tell the store nothing, as if killed
	n.halt(t)
	if entry, _ := c.lockEntry(); entry.Session == "" {
		t.Fatal("the lock is free: the test tests nothing")
	}
	c.leader(c.startOn(c.store, fastConfig("a1", dir)))
}

// A corrupt value stops whoever would lead, is named, and stays as it is.
func TestCorruptValueIsNotLed(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	key := "shardmanager/c1/g/default/apps/kv/spec"
	if _, err := c.store.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: key, Value: []byte("rubbish")}}); err != nil {
		t.Fatal(err)
	}
	n := c.start("a1")
	eventually(t, "the trouble is told", func() bool { return strings.Contains(n.Status().StoreTrouble, key) })
	if n.Leader() != nil {
		t.Error("leads all the same")
	}
	if entry, _, err := c.store.Get(t.Context(), key); err != nil || string(entry.Value) != "rubbish" {
		t.Errorf("value %q, %v", entry.Value, err)
	}
	if _, err := c.store.Txn(t.Context(), []coord.Op{{Verb: coord.Delete, Key: key}}); err != nil {
		t.Fatal(err)
	}
	c.leader(n)
	if trouble := n.Status().StoreTrouble; trouble != "" {
		t.Errorf("still in trouble: %s", trouble)
	}
}

// An allocator that starts while the store is away stands for election when it is there.
func TestStartWithoutStore(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	g := &gate{Store: c.store}
	g.set(true)
	n := c.startOn(g, fastConfig("a1", t.TempDir()))
	eventually(t, "the trouble is told", func() bool { return n.Status().StoreTrouble != "" })
	g.set(false)
	c.leader(n)
}

// What the deletion of an app left behind is deleted before anything else is written.
func TestLeaderSweeps(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	a, _ := candidate(t, c.store)
	value, err := wire.Encode(&pb.AssignmentChunk{Terms: []uint64{7}, Moves: []uint64{1}, Primaries: []uint32{0}, PrimaryTerms: []uint64{0}})
	if err != nil {
		t.Fatal(err)
	}
	mustTxn(t, c.store, coord.Op{Verb: coord.Set, Key: a.keys.Chunk("kv", 0), Value: value})
	n := c.start("a1")
	c.leader(n)
	if _, found, err := c.store.Get(t.Context(), a.keys.Chunk("kv", 0)); err != nil || found {
		t.Errorf("found %t, %v", found, err)
	}
	c.createApp(n, "kv", 4) // at the right indexes
}

func TestStateDirIsExclusive(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	dir := t.TempDir()
	c.leader(c.startOn(c.store, fastConfig("a1", dir)))
	second, err := New(fastConfig("a1", dir), Deps{Store: c.store})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use by another") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestStoreIsNeeded(t *testing.T) {
	if _, err := New(fastConfig("a1", t.TempDir()), Deps{}); err == nil {
		t.Error("no error without a store")
	}
}

// outwait waits until a leader that was just seen may leave the clean mark: not while its predecessor might still grant (PROTOCOL R1).
func (c *testCluster) outwait(n *node) {
	c.Helper()
	began := n.clock()
	eventually(c.T, "the wait of the leader is over", func() bool { return began.WaitAge(n.clock()) > shard.CoverDrift(n.settings.LeaderValidity) })
}
