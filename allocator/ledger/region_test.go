package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// regionalWorld has three servers in eu and three in us.
func regionalWorld(app ledger.Spec) *world {
	w := newWorld(quick())
	w.plan = placement.Solve
	for i := range 3 {
		w.addAgent(fmt.Sprintf("eu%d", i), fmt.Sprintf("eu/z%d", i), 1000)
		w.addAgent(fmt.Sprintf("us%d", i), fmt.Sprintf("us/z%d", i), 1000)
	}
	app.Name, app.ResourceVersion, app.Space.Hash.Shards = theApp, 1, 12
	w.store.spec, w.store.chunks[0] = &app, make([]ledger.Row, 12)
	w.elect(1000)
	w.run(10 * second)
	return w
}

func (w *world) ask(wanted wish.Wish) {
	ld := w.store.lock
	ld.requests++
	ld.step(ledger.Request{ID: ld.requests, Wish: wanted})
}

func decommission(id string) wish.Wish {
	return wish.RequestMaintenance{Request: event.Request{ID: id, Kind: event.Decommission, Impact: event.MachineLoss, Duration: time.Hour, Scope: event.Scope{Regions: []string{"eu"}}}}
}

// leave stops a server in order.
func (a *agent) leave() {
	a.say(ledger.Ended{Stream: a.stream(), Incarnation: a.inc, ProvenDead: true, Reason: "stopped"})
	a.conn.flush()
	a.crash()
	delete(a.w.store.keys, a.id)
}

// in counts the replicas in a region.
func (w *world) in(region string) (n int) {
	for _, r := range w.rows() {
		for _, o := range r.Kept(nil) {
			if strings.HasPrefix(string(o.Server), region) {
				n++
			}
		}
	}
	return n
}

// One request takes all servers of a region away for good, one after another, each once it has nothing; a new leader goes on; and back up again.
func TestRegionGoesAndReturns(t *testing.T) {
	for name, app := range map[string]ledger.Spec{
		"primaries only": {},
		"replicated":     {Replication: spec.PrimarySecondary, Replicas: 3},
		"following load": {Replication: spec.PrimarySecondary, Replicas: 6, Scaling: &fast},
	} {
		t.Run(name, func(t *testing.T) {
			if rule := fast; app.Scaling != nil {
				rule.Max = 6
				app.Scaling = &rule
			}
			w := regionalWorld(app)
			if w.in("eu") == 0 {
				t.Fatal("nothing is in eu")
			}
			w.ask(decommission("no-eu"))
			most, gone := 0, 0
			for range 3000 {
				w.run(step)
				if w.store.lock == nil {
					w.elect(1000)
				}
				active := 0
				for _, e := range w.store.lock.core.Events() {
					for i := range e.Pieces {
						p := &e.Pieces[i]
						if p.State.Active() {
							active++
						}
						at := slices.IndexFunc(w.agents, func(a *agent) bool { return a.id == p.Covers[0].Server })
						if a := w.agents[at]; p.State == event.Ready && a.up {
							if s := a.busy(); s != "" {
								t.Fatalf("%s may go, and has %s", a.id, s)
							}
							a.leave()
							if gone++; gone == 1 { // its successor goes on
								w.store.lock.die()
								w.store.lock = nil
							}
							break
						}
					}
				}
				most = max(most, active)
				w.mustBeWhole(t)
			}
			if e := w.store.lock.core.Events()[0]; !e.Over() || gone != 3 || most != 1 || w.in("eu") != 0 {
				t.Fatalf("%d servers went, %d at once, %d replicas are left: %+v\n%s", gone, most, w.in("eu"), e.Pieces, lines(w.trace[max(0, len(w.trace)-60):]))
			}
			for _, a := range w.agents {
				a.restart()
			}
			w.run(120 * second)
			w.mustBeWhole(t)
			if n := w.in("eu"); n < 3 {
				t.Fatalf("eu is back, and has %d replicas\n%s", n, lines(w.trace[max(0, len(w.trace)-60):]))
			}
		})
	}
}

// busy is what a server still holds.
func (a *agent) busy() string {
	for _, id := range shard.SortedKeys(a.shards) {
		if s := a.shards[id]; s.phase != shard.None {
			return fmt.Sprintf("shard %s, %s", id, s.phase)
		}
	}
	return ""
}

// What a spec needs a region for keeps it, with a reason, until the spec changes.
func TestRegionThatIsNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		app    ledger.Spec
		why    string
		change func(*ledger.Spec)
	}{
		"a replica in each": {ledger.Spec{Replication: spec.PrimarySecondary, Replicas: 2, RegionReplicas: map[string]int{"eu": 1, "us": 1}},
			"region_replicas asks for 1 replicas of each shard in eu, and it would leave 0 hosts there", func(s *ledger.Spec) { s.RegionReplicas = nil }},
		"more than are left": {ledger.Spec{Replication: spec.SecondaryOnly, Replicas: 4}, "each shard has 4 replicas or more, each in a host of its own, and it would leave 3 hosts",
			func(s *ledger.Spec) { s.Replicas = 3 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := regionalWorld(c.app)
			w.ask(decommission("no-eu"))
			w.run(20 * second)
			e := w.store.lock.core.Events()[0]
			for i := range e.Pieces {
				if p := &e.Pieces[i]; p.State != event.Waiting || !p.Never || !strings.Contains(p.Why, c.why) {
					t.Errorf("%s is %s, never %t: %s", p.Covers[0].Server, p.State, p.Never, p.Why)
				}
			}
			next := *w.store.spec
			c.change(&next)
			w.ask(wish.UpdateApp{Spec: next})
			w.run(20 * second)
			if e := w.store.lock.core.Events()[0]; e.Pieces[0].State != event.Ready || e.Pieces[1].Never {
				t.Errorf("once it is not needed: %+v", e.Pieces)
			}
		})
	}
}
