package sim

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/policies"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// plannedEvents are what people do on purpose: none of it may be felt.
func plannedEvents() []kind {
	return []kind{
		{name: "server drained", planned: true, most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			id := w.host(f).id
			w.wish(wish.DrainServer{Server: id})
			w.observe(promise.Drain{Server: id, On: true})
			return func() {
				w.observe(promise.Drain{Server: id, Planned: w.planned})
				w.wish(wish.DrainServer{Server: id, Undo: true})
			}
		}},
		{name: "rolling restart", planned: true, most: time.Second, begin: func(w *World, f Fault) func() {
			w.version = fmt.Sprint(1 + f.B)
			w.restartNext(f.A, 1+f.B%len(w.hosts))
			return nil
		}},
		{name: "agent restarts", planned: true, most: time.Second, begin: func(w *World, f Fault) func() {
			g := w.host(f).agent
			g.process.Do(func() { g.restart(time.Duration(f.B) * 10 * time.Millisecond) })
			return nil
		}},
		{name: "leader stops in order", planned: true, most: 10 * time.Second, begin: func(w *World, f Fault) func() {
			t := w.leader()
			if t == nil {
				return nil
			}
			t.step(ledger.StopRequested{})
			t.a.process.After(stopWithin, func() {
				if !t.over {
					t.a.stepDown("could not stop in order in time")
				}
			})
			return nil
		}},
		{name: "loads shift", planned: true, most: time.Second, begin: func(w *World, f Fault) func() {
			c := virtual.NewChance(w.opt.Seed, uint64(f.At))
			for _, id := range w.ids {
				w.demand[id] = 1 + c.Int64N(40)
			}
			return nil
		}},
		{name: "spec changes", planned: true, most: time.Second, begin: func(w *World, f Fault) func() {
			next := *w.store.spec
			next.MaxMoves, next.MaxMovesServer, next.TolerancePercent = 2+f.B%40, 1+f.A%6, 5+f.B%50
			w.wish(wish.UpdateApp{Spec: next})
			return nil
		}},
		{name: "preferred region changes", planned: true, most: time.Second, begin: func(w *World, f Fault) func() {
			next := *w.store.spec
			next.PreferRegions = []string{w.host(f).where.Region}
			if f.B%3 == 0 {
				next.PreferRegions = nil
			}
			w.wish(wish.UpdateApp{Spec: next})
			return nil
		}},
		{name: "policy changes", planned: true, most: time.Second, begin: func(w *World, f Fault) func() {
			all, next := policies.All(), *w.store.spec
			own := &all[f.B%len(all)]
			next.Written = own.Written
			w.say("operator", "policy: %s", own.Name)
			w.wish(wish.UpdateApp{Spec: next})
			return nil
		}},
		{name: "maintenance", planned: true, most: time.Second, begin: func(w *World, f Fault) func() {
			w.maintain(f)
			return nil
		}},
	}
}

// wish asks the leader; if there is none, again a second later, for a while.
func (w *World) wish(what wish.Wish) { w.wishWithin(what, 30) }

func (w *World) wishWithin(what wish.Wish, tries int) {
	again := func() {
		if tries > 1 {
			w.queue.After(time.Second, func() { w.wishWithin(what, tries-1) })
		}
	}
	t := w.leader()
	if t == nil {
		again()
		return
	}
	if u, ok := what.(wish.UpdateApp); ok {
		u.Spec.ResourceVersion = w.store.spec.ResourceVersion
		what = u
	}
	t.ask(what, func(r ledger.Reply) {
		if r.Err == nil {
			return
		}
		w.say("operator", "%T: %s", what, r.Err)
		if r.Err.Kind == ledger.NotNow {
			again()
		}
	})
}

// restartNext drains one server by its agent, restarts its application, and goes on with the next.
func (w *World) restartNext(at, left int) {
	if left == 0 || w.quiet {
		return
	}
	next := func() { w.restartNext(at+1, left-1) }
	h := w.hosts[at%len(w.hosts)]
	g := h.agent
	if !h.up || !g.process.Runs() || !h.app.lives() {
		next()
		return
	}
	w.say("deployer", "restarts %s", h.id)
	g.process.Do(func() { g.step(roster.Drain{On: true}) })
	w.whenDrained(h, 60, func() {
		h.app.kill("restarted by a deployer")
		w.queue.After(time.Second, func() {
			h.appBack()
			w.queue.After(2*time.Second, next)
		})
	})
}

// whenDrained waits, for so many seconds at most, until nothing is left on a server; if something is, nothing is done.
func (w *World) whenDrained(h *host, seconds int, then func()) {
	g := h.agent
	view := g.core.View(g.now())
	switch {
	case !g.process.Alive() || view.Life != roster.Live:
		return
	case view.DrainKnown && view.DrainLeft == 0:
		then()
	case seconds == 0:
		w.say("deployer", "gives up on %s: %d left", h.id, view.DrainLeft)
		g.process.Do(func() { g.step(roster.Drain{On: false}) })
	default:
		w.queue.After(time.Second, func() { w.whenDrained(h, seconds-1, then) })
	}
}

// maintain asks for a planned event on one or two servers, and restarts each when it is ready.
func (w *World) maintain(f Fault) {
	id := fmt.Sprintf("e%d", f.At.Milliseconds())
	servers := []shard.ServerID{w.host(f).id}
	if f.B%2 == 0 {
		servers = append(servers, w.hosts[(f.A+1)%len(w.hosts)].id)
	}
	w.wish(wish.RequestMaintenance{Request: event.Request{ID: id, Kind: event.Restart, Impact: event.ProcessRestart,
		Scope: event.Scope{Servers: servers}, Duration: 20 * time.Second}})
	w.restartReady(id, map[shard.ServerID]bool{}, 120)
}

// restartReady restarts the applications of a planned event's servers, each once it is ready.
func (w *World) restartReady(id string, done map[shard.ServerID]bool, seconds int) {
	for _, p := range w.store.events[id].Pieces {
		if p.State != event.Ready {
			continue
		}
		for _, c := range p.Covers {
			if h := w.hostOf(c.Server); !done[c.Server] && h.app.lives() && h.app.process.Runs() {
				done[c.Server] = true
				h.app.kill("restarted for event " + id)
				w.queue.After(time.Second, h.appBack)
			}
		}
	}
	if seconds > 0 {
		w.queue.After(time.Second, func() { w.restartReady(id, done, seconds-1) })
	}
}

// operatorFaults are people who interfere.
func operatorFaults() []kind {
	return []kind{
		{name: "operator aborts a move", most: time.Second, begin: func(w *World, f Fault) func() {
			for i := range w.store.rows {
				if at := (i + f.B) % len(w.store.rows); w.store.rows[at].Open != nil {
					w.wish(wish.AbortMove{App: theApp, Shard: w.ids[at]})
					return nil
				}
			}
			return nil
		}},
		{name: "operator skips a step", most: time.Second, begin: func(w *World, f Fault) func() {
			for i := range w.store.rows {
				if at := (i + f.B) % len(w.store.rows); w.store.rows[at].Open != nil {
					w.wish(wish.SkipStep{App: theApp, Shard: w.ids[at], Force: f.B%2 == 0})
					return nil
				}
			}
			return nil
		}},
		{name: "operator releases a hold", most: time.Second, begin: func(w *World, _ Fault) func() {
			w.wish(wish.ReleaseHold{})
			return nil
		}},
	}
}

// splits are partitions in which an old leader and some servers stay together, and an operator of the new one has no patience (R1, R2).
func splits() []kind {
	return []kind{{name: "cluster splits, and an operator forces", most: 40 * time.Second, begin: func(w *World, f Fault) func() {
		leader := w.allocatorAt(w.store.lock.holder)
		if leader == nil {
			return nil
		}
		here, away := []place{leader.at}, map[shard.ServerID]bool{}
		for i := range max(1, len(w.hosts)/3) {
			h := w.hosts[(f.A+i)%len(w.hosts)]
			here = append(here, h.at)
			away[h.id] = true
			w.wish(wish.DrainServer{Server: h.id}) // moves are under way when it happens
		}
		for _, h := range w.hosts {
			h.app.temper.slow = 6 * time.Second
		}
		if g := w.host(f).agent; g.process.Runs() {
			g.restart(10 * time.Second) // its application has a rest lease when it happens
		}
		end, over := func() {}, false
		w.queue.After(1500*time.Millisecond, func() {
			if over {
				return
			}
			w.say("FAULT", "the cluster splits: %s and %d servers are alone", leader.name, len(away))
			end = w.net.part(0, here, without(w.everywhere(), here...))
			w.store.destroy(w.store.lock.session)
			w.force(away, leader, 40)
			if f.B%2 == 0 { // the next leader leaves in order before its own wait is over
				w.queue.After(2*time.Second, func() {
					if t := w.leader(); t != nil && t.a != leader {
						t.step(ledger.StopRequested{})
					}
				})
			}
		})
		return func() {
			over = true
			end()
			for _, h := range w.hosts {
				h.app.temper.slow = w.temper.slow
				if away[h.id] {
					w.wish(wish.DrainServer{Server: h.id, Undo: true})
				}
			}
		}
	}}}
}

// force has whoever leads now, other than one, fence the servers that open moves wait for, every half second for a while.
func (w *World) force(these map[shard.ServerID]bool, other *allocator, times int) {
	if t := w.leader(); t != nil && t.a != other {
		for i, r := range w.store.rows {
			if r.Open != nil && these[r.Open.From.Server] {
				t.ask(wish.SkipStep{App: theApp, Shard: w.ids[i], Force: true}, func(ledger.Reply) {})
			}
		}
	}
	if times > 0 {
		w.queue.After(500*time.Millisecond, func() { w.force(these, other, times-1) })
	}
}

// calm is the end of all faults: whoever is away comes back, and operators take back what they asked for.
func (w *World) calm() {
	w.say("FAULT", "all is calm now")
	w.quiet = true
	for _, h := range w.hosts {
		h.returns()
		h.agentBack()
		h.appBack()
		h.app.temper = temper{slow: 50 * time.Millisecond}
		h.app.comeBack()
	}
	w.temper = temper{slow: 50 * time.Millisecond}
	for _, a := range w.allocators {
		a.back()
	}
	for _, h := range w.hosts {
		w.wish(wish.DrainServer{Server: h.id, Undo: true})
	}
	w.tidy(20)
}

// tidy releases, every second for a while, what waits for an operator.
func (w *World) tidy(seconds int) {
	if t := w.leader(); t != nil {
		for _, q := range t.core.Summary().Quarantined {
			w.wish(wish.ReleaseQuarantine{App: q.App, Shard: q.Shard})
		}
		for _, e := range t.core.Events() {
			w.wish(wish.CancelMaintenance{ID: e.ID})
		}
		if t.core.Summary().Hold != "" {
			w.wish(wish.ReleaseHold{})
		}
	}
	if seconds > 0 {
		w.queue.After(time.Second, func() { w.tidy(seconds - 1) })
	}
}
