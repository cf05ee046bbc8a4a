package sim

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// agentTick is how often a roster is asked what is due.
const agentTick = 100 * time.Millisecond

// rosterSettings are those of agent/agent.go.
func rosterSettings(w *World) roster.Settings {
	return roster.Settings{
		Interval: w.settings.Interval, Validity: w.settings.Validity, SessionRenewal: 9 * time.Second, LoadInterval: 5 * time.Second,
		StepDeadline: w.settings.StepDeadline, EndDeadline: 5 * time.Second, ReportWait: 3 * time.Second, RestWait: 2 * time.Second,
	}
}

// agent is one life of an agent's process around the real roster: what agent/loop.go does.
type agent struct {
	w       *World
	host    *host
	id      shard.ServerID
	process *virtual.Process
	core    *roster.Roster
	out     roster.Effects

	registrar registrar
	attacher  *attacher
	replies   map[roster.RequestID]func(roster.Reply)
	requests  roster.RequestID
	calls     map[roster.CallID]*callback
	leader    lock // as the watch showed it last
	hinted    func(roster.Hint)
	watches   *application // whose exit it would see
}

// startAgent begins the agent of a host, with what its state directory says (PROTOCOL R4).
func (h *host) startAgent() {
	w := h.w
	g := &agent{
		w: w, host: h, id: h.id, process: virtual.Start(&w.queue), replies: map[roster.RequestID]func(roster.Reply){},
		calls: map[roster.CallID]*callback{}, leader: w.store.lock, hinted: func(roster.Hint) {},
	}
	g.core = roster.New(rosterSettings(w), shard.Server{
		ID: h.id, App: theApp, Agent: h.name, Locality: h.where, AgentAddress: h.name + ":7420",
		Capacity: map[string]int64{"shards": int64(w.capacity)},
	})
	g.registrar = registrar{g: g}
	h.agent = g
	w.say(h.name, "agent starts")
	if f := h.file; f != nil {
		started := roster.Started{Saved: *f}
		if app := h.app; app.lives() && app.pid.Same(f.Process) {
			started.Alive = true
			g.watch(app)
		}
		g.step(started)
	}
	g.process.Every(agentTick, g.tick)
}

func (g *agent) now() shard.Instant { return g.host.now() }

func (g *agent) tick() {
	g.core.Tick(g.now(), &g.out)
	g.perform()
}

// step takes an event in, and does what follows from it.
func (g *agent) step(ev roster.Event) {
	g.core.Step(g.now(), ev, &g.out)
	g.perform()
}

func (g *agent) perform() {
	out := g.out
	g.out = roster.Effects{}
	for _, op := range out.Store {
		g.registrar.do(op)
	}
	for _, c := range out.Calls {
		g.call(c)
	}
	for _, id := range out.Cancels {
		if c := g.calls[id]; c != nil {
			delete(g.calls, id)
			c.cancel()
		}
	}
	for _, m := range out.Messages {
		g.attacher.send(m)
	}
	for _, a := range out.Attach {
		g.attach(a.Incarnation)
	}
	for _, h := range out.Hints {
		g.hinted(h)
	}
	for _, r := range out.Replies {
		if answer := g.replies[r.Request]; answer != nil {
			delete(g.replies, r.Request)
			answer(r)
		}
	}
	for _, d := range out.Trace {
		if d.What == "incarnation ended" {
			owner := ledger.Owner{Server: g.host.id, Incarnation: d.Incarnation}
			g.w.observe(promise.GaveUp{Owner: owner, Proven: g.host.proven(owner, d.Why), Why: d.Why})
		}
		g.w.say(g.host.name, "agent: %s%s", d.What, detail(string(d.Shard), d.Order, d.Why))
	}
}

// proven reports whether an incarnation may be ended: its key is gone, it was fenced, its application left it, or the agent's file was lost (R2).
func (h *host) proven(owner ledger.Owner, why string) bool {
	key, found := h.w.store.keys[owner.Server]
	lost := why == "the agent knows nothing of this incarnation" || !found || key.Server.Incarnation != owner.Incarnation || h.w.store.fences[owner.Server].Owner == owner
	return lost || !h.app.lives() || h.app.life == nil || h.app.life.over || h.app.life.incarnation != owner.Incarnation
}

func detail(id string, o shard.Order, why string) string {
	text := ""
	if id != "" {
		text += " " + id
	}
	if o != (shard.Order{}) {
		text += " " + o.String()
	}
	if why != "" {
		text += ": " + why
	}
	return text
}

// ask steps an event that is answered by a Reply.
func (g *agent) ask(event func(roster.RequestID) roster.Event, answer func(roster.Reply)) {
	g.requests++
	g.replies[g.requests] = answer
	g.step(event(g.requests))
}

// call has the application do something; the agent's process waits no longer than the deadline allows.
func (g *agent) call(c roster.Call) {
	limit := c.Deadline
	if c.Kind == roster.CallPrepareDrop {
		limit += time.Second
	}
	cb := &callback{call: c}
	g.calls[c.ID] = cb
	over := false
	finish := func(o roster.Outcome, why string, loads []roster.ShardLoad) {
		if over {
			return
		}
		over = true
		delete(g.calls, c.ID)
		g.step(roster.CallDone{ID: c.ID, Outcome: o, Err: why, Loads: loads})
	}
	cb.done = func(o roster.Outcome, why string, loads []roster.ShardLoad) {
		g.process.After(g.host.onHost(), func() { finish(o, why, loads) })
	}
	g.process.After(limit, func() {
		if !over {
			cb.cancel()
			finish(roster.CallFailed, "deadline exceeded", nil)
		}
	})
	app := g.host.app
	if !app.lives() {
		cb.done(roster.CallFailed, "connection refused", nil)
		return
	}
	g.w.queue.After(g.host.onHost(), func() { app.process.Do(func() { app.take(cb) }) })
}

// watch lets the agent see the exit of a process, as a pidfd does.
func (g *agent) watch(app *application) { g.watches = app }

// exited is the news that an application's process ended.
func (g *agent) exited(app *application) {
	if g.watches == app {
		g.watches = nil
		g.process.After(onHost, func() { g.step(roster.AppGone{Process: app.pid}) })
	}
}

// kill ends the agent's process; its machine resets its streams.
func (g *agent) kill(why string) {
	if !g.process.Alive() {
		return
	}
	g.w.say(g.host.name, "agent ends: %s", why)
	g.process.Kill()
	for _, id := range shard.SortedKeys(g.calls) {
		g.calls[id].cancel()
	}
	if g.attacher != nil {
		g.attacher.drop(g.host.up)
	}
	if app := g.host.app; app.lives() {
		app.process.After(onHost, app.agentGone)
	}
}

// restart is a planned restart: a rest lease first, then the end, and a new agent after a while (PROTOCOL R19).
func (g *agent) restart(away time.Duration) {
	g.ask(func(id roster.RequestID) roster.Event { return roster.Rest{Request: id, Length: 20 * time.Second} }, func(r roster.Reply) {
		if r.Refusal != 0 {
			g.w.say(g.host.name, "agent does not restart: %s", r.Why)
			return
		}
		g.process.After(onHost, func() {
			g.kill(fmt.Sprintf("planned restart with a lease of %s", r.Remaining))
			g.w.queue.After(away, func() {
				if g.host.up && g.host.agent == g {
					g.host.startAgent()
				}
			})
		})
	})
}
