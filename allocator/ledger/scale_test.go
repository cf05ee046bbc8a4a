package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/scaling"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// measured is the reads that a server has of each shard that it holds: replicas share them.
func (a *agent) measured() (list []ledger.ShardLoad) {
	for _, id := range shard.SortedKeys(a.w.demand) {
		holders := int64(0)
		for _, o := range a.w.agents {
			if s := o.shards[id]; o.up && s != nil && (s.phase == shard.Serving || s.phase == shard.Following) {
				holders++
			}
		}
		if s := a.shards[id]; s != nil && (s.phase == shard.Serving || s.phase == shard.Following) {
			list = append(list, ledger.ShardLoad{Shard: id, Load: map[string]int64{"reads": a.w.demand[id] / holders}})
		}
	}
	return list
}

var fast = scaling.Rule{Metric: "reads", Target: 100, Min: 2, Max: 5, Up: 8 * time.Second, Down: 30 * time.Second}

// scaledWorld has six servers in six zones, and four shards whose replicas follow their load.
func scaledWorld(settings ledger.Settings, replication spec.Replication, drift int64) *world {
	w := newWorld(settings)
	w.plan, w.demand = placement.Solve, map[shard.ID]int64{}
	for i := range 6 {
		w.addAgent(fmt.Sprintf("a%d", i), fmt.Sprintf("z%d", i), drift)
	}
	rule := fast
	w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 4}}, ResourceVersion: 1, Replication: replication, Replicas: 3, Scaling: &rule}
	w.store.chunks[0] = make([]ledger.Row, 4)
	w.elect(drift)
	for i := range 4 {
		w.demand[w.idOf(shard.Index(i))] = 150
	}
	return w
}

func (w *world) replicasOf(at shard.Index) int { r := w.rows()[at]; return len(r.Kept(nil)) }

func (w *world) expectReplicas(t *testing.T, when string, want ...int) {
	t.Helper()
	var got []int
	for at := range w.rows() {
		got = append(got, w.replicasOf(shard.Index(at)))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v replicas, expected %v\n%s\n%s", when, got, want, w.whyReplicas(t, 0), lines(w.trace[max(0, len(w.trace)-60):]))
	}
	w.mustBeWhole(t)
}

func (w *world) whyReplicas(t *testing.T, at shard.Index) string {
	t.Helper()
	s, _, refusal := w.store.lock.core.Explain(theApp, w.idOf(at))
	if refusal != nil {
		t.Fatal(refusal)
	}
	return s.Scaled
}

// Replicas follow the load of their shard, wait while an event covers one of them, stay under the next leader, and stay while a load swings.
func TestReplicasFollowLoad(t *testing.T) {
	for _, replication := range []spec.Replication{spec.PrimarySecondary, spec.SecondaryOnly} {
		t.Run(fmt.Sprint(replication), func(t *testing.T) {
			w := scaledWorld(quick(), replication, 1000)
			hot := w.idOf(0)
			w.run(20 * second)
			w.expectReplicas(t, "at first", 3, 3, 3, 3)
			w.run(60 * second)
			w.expectReplicas(t, "needless ones went", 2, 2, 2, 2)
			w.demand[hot] = 450
			w.run(20 * second)
			w.expectReplicas(t, "one is hot", 5, 2, 2, 2)
			if why := w.whyReplicas(t, 0); !strings.Contains(why, "2 to 5; a load of 450 reads") {
				t.Errorf("explained by %q", why)
			}
			w.demand[hot] = 5000
			w.run(60 * second)
			w.expectReplicas(t, "it is hotter", 5, 2, 2, 2)
			w.demand[hot] = 450

			w.store.lock.die()
			w.store.lock = nil
			w.elect(1000)
			w.run(20 * second)
			w.expectReplicas(t, "under the next leader", 5, 2, 2, 2)
			for range 20 {
				w.demand[hot] = 600 - w.demand[hot]
				w.run(12 * second)
			}
			w.expectReplicas(t, "a load that swings", 5, 2, 2, 2)

			w.demand[hot] = 150
			ld, one := w.store.lock, w.rows()[0].Kept(nil)[1].Server
			ld.requests++
			ld.step(ledger.Request{ID: ld.requests, Wish: wish.RequestMaintenance{Request: event.Request{ID: "os-2", Kind: event.Drain, Impact: event.NetworkLoss, Duration: time.Hour,
				Scope: event.Scope{Servers: []shard.ServerID{one}}}}})
			w.run(80 * second)
			w.expectReplicas(t, "while an event covers one", 5, 2, 2, 2)
			if why := w.whyReplicas(t, 0); !strings.Contains(why, "maintenance os-2") {
				t.Errorf("explained by %q", why)
			}
			ld.requests++
			ld.step(ledger.Request{ID: ld.requests, Wish: wish.FinishMaintenance{ID: "os-2"}})
			w.run(60 * second)
			w.expectReplicas(t, "after it", 2, 2, 2, 2)

			next := *w.store.spec
			next.Scaling = nil
			ld.requests++
			ld.step(ledger.Request{ID: ld.requests, Wish: wish.UpdateApp{Spec: next}})
			w.run(20 * second)
			w.expectReplicas(t, "not followed any more", 3, 3, 3, 3)
		})
	}
}

// No more shards grow at once than may move, and no server gets more newcomers at once than it may.
func TestGrowsUnderCapsOnMoves(t *testing.T) {
	w := scaledWorld(quick(), spec.PrimarySecondary, 1000)
	w.store.spec.MaxMoves, w.store.spec.MaxMovesServer, w.store.spec.Replicas = 2, 1, 2
	w.store.lock.die()
	w.store.lock = nil
	w.elect(1000)
	w.run(20 * second)
	w.expectReplicas(t, "at first", 2, 2, 2, 2)
	for id := range w.demand {
		w.demand[id] = 450
	}
	for range 2000 {
		w.run(step)
		if n := w.store.lock.core.Summary().Lacking; n > 2 {
			t.Fatalf("%d shards are to grow at once", n)
		}
		joining, at := 0, map[shard.ServerID]int{}
		for _, r := range w.rows() {
			for _, s := range r.Secondaries {
				if s.State == ledger.Joining || s.State == ledger.Syncing {
					joining++
					at[s.Server]++
				}
			}
		}
		for id, n := range at {
			if n > 1 || joining > 2 {
				t.Fatalf("%d join, %d of them at %s", joining, n, id)
			}
		}
	}
	w.expectReplicas(t, "in the end", 5, 5, 5, 5)
}

// Whatever happens, no shard has more replicas than the bounds say, and in the end it has as many as its load needs.
func TestRandomScaling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := scaledWorld(restless(), rapid.SampledFrom([]spec.Replication{spec.PrimarySecondary, spec.SecondaryOnly}).Draw(t, "replication"),
			rapid.SampledFrom([]int64{1000, 990, 1010}).Draw(t, "clocks"))
		kinds := rapid.SliceOfN(rapid.IntRange(0, len(actions)-1), 2, 9).Draw(t, "kinds of faults")
		w.run(6 * second)
		for range rapid.IntRange(10, 50).Draw(t, "actions") {
			if rapid.IntRange(0, 3).Draw(t, "load changes") == 0 {
				w.demand[w.aShard(t)] = rapid.Int64Range(0, 900).Draw(t, "reads")
			}
			act(t, w, kinds)
			w.mustBeWhole(t)
			if w.store.spec.Scaling != nil {
				w.mustBeWithin(t)
			}
		}
		w.calm()
		w.plan = placement.Solve
		for _, a := range w.agents {
			a.restart()
		}
		for id := range w.demand {
			w.demand[id] = 290
		}
		w.settle()
		w.run(100 * second)
		for at := range w.rows() {
			if n := w.replicasOf(shard.Index(at)); n != 3 {
				t.Fatalf("%d replicas\n%s", n, lines(w.trace[max(0, len(w.trace)-200):]))
			}
		}
	})
}

func (w *world) mustBeWithin(t *rapid.T) {
	for at, r := range w.rows() {
		if n := len(r.Kept(nil)); n > fast.Max && r.Open == nil { // one that moves is at both ends
			t.Fatalf("shard %d has %d replicas: %+v", at, n, r)
		}
	}
}
