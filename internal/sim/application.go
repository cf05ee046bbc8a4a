package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/record"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// Times of the SDK's host.
const (
	registerRetry = 300 * time.Millisecond
	agentTimeout  = 2 * time.Second // of one request to the agent
)

// application is one life of an application's process, with the SDK's host in it: what sdk/host_*.go does.
type application struct {
	w       *World
	host    *host
	process *virtual.Process
	pid     roster.Process
	version string

	life        *life // nil: none yet
	highest     shard.Epoch
	registering bool
	pulling     bool
	cut         bool // its agent is out of its reach
	temper      temper
	hung        []func() // callbacks that do not return by themselves
}

// temper is how callbacks behave.
type temper struct {
	slow  time.Duration           // longest
	fails map[roster.CallKind]int // per mille
	stuck map[roster.CallKind]int // per mille; such a callback returns when its application is well again
	crash map[shard.ID]bool       // a shard that kills the process that takes it
}

func (a *application) lives() bool { return a != nil && a.process.Alive() }

// startApp begins the application's process.
func (h *host) startApp() {
	h.pids++
	a := &application{w: h.w, host: h, process: virtual.Start(&h.w.queue), temper: h.w.temper, version: h.w.version}
	a.pid = roster.Process{PID: h.pids, StartTicks: uint64(h.pids), ExitProves: h.w.exitProves}
	h.app = a
	h.w.say(h.name, "application starts, pid %d", h.pids)
	a.register()
	a.process.Every(h.w.settings.Interval, a.pull)
}

// kill ends the process; its agent, if there is one, sees it.
func (a *application) kill(why string) {
	if !a.lives() {
		return
	}
	a.w.say(a.host.name, "application ends: %s", why)
	a.process.Kill()
	if l := a.life; l != nil {
		a.w.observe(promise.Leased{Owner: l.owner(a.host)})
		for _, id := range shard.SortedKeys(l.replicas) {
			l.replicas[id].ceased()
		}
	}
	if g := a.host.agent; g != nil {
		g.exited(a)
	}
}

// toAgent has the agent's process do something for the application; lost if there is none.
func (a *application) toAgent(do func(g *agent), lost func()) {
	answered := false
	g := a.host.agent
	if g == nil || !g.process.Alive() || a.cut {
		a.process.After(registerRetry, lost)
		return
	}
	a.process.After(agentTimeout, func() {
		if !answered {
			answered = true
			lost()
		}
	})
	a.w.queue.After(a.host.onHost(), func() {
		g.process.Do(func() {
			if !answered {
				answered = true
				do(g)
			}
		})
	})
}

// register asks to be the server, with what it holds.
func (a *application) register() {
	if a.registering {
		return
	}
	a.registering = true
	again := func() {
		a.registering = false
		a.process.After(registerRetry, a.register)
	}
	a.toAgent(func(g *agent) {
		g.watch(a)
		g.hinted = func(h roster.Hint) { a.process.After(onHost, a.hint) }
		a.w.incarnations++
		ev := roster.AppRegistered{Fresh: a.w.incarnations, Highest: a.highest, Application: roster.Application{
			Process: a.pid, HostAddress: a.host.name, DataAddress: a.host.name + ":80", Version: a.version,
			Activate: true, Prepare: true, ChangeRole: true, Membership: true, Load: true,
		}}
		if l := a.life; l != nil && !l.over {
			ev.Incarnation, ev.Held = l.incarnation, l.held()
		}
		g.ask(func(id roster.RequestID) roster.Event {
			ev.Request = id
			return ev
		}, func(r roster.Reply) {
			a.process.After(onHost, func() {
				a.registering = false
				if r.Refusal != 0 {
					again()
					return
				}
				a.registered(r.Incarnation)
			})
		})
	}, again)
}

// registered begins the life of an incarnation, unless it is the one that is there.
func (a *application) registered(i shard.Incarnation) {
	if l := a.life; l != nil && l.incarnation == i {
		a.pull()
		return
	}
	if a.life != nil {
		a.endLife("another incarnation begins")
	}
	a.life = &life{incarnation: i, replicas: map[shard.ID]*replica{}}
	a.w.say(a.host.name, "application serves under incarnation %s", i)
	a.pull()
}

func (a *application) hint() { a.pull() }

// agentGone is a connection to the agent that broke: what was asked is not answered, and the application registers with the next agent.
func (a *application) agentGone() {
	a.registering, a.pulling = false, false
	a.register()
}

// pull asks the agent how long the lease runs: the end counts from before it asked (PROTOCOL R6).
func (a *application) pull() {
	l := a.life
	if l == nil || l.over || a.pulling {
		return
	}
	a.pulling = true
	asked := a.host.now()
	a.toAgent(func(g *agent) {
		g.ask(func(id roster.RequestID) roster.Event { return roster.Pull{Request: id, Incarnation: l.incarnation} },
			func(r roster.Reply) { a.process.After(a.host.onHost(), func() { a.pulled(l, asked, r) }) })
	}, func() {
		a.pulling = false
	})
}

func (a *application) pulled(l *life, asked shard.Instant, r roster.Reply) {
	a.pulling = false
	if r.Highest.Compare(a.highest) > 0 {
		a.highest = r.Highest
	}
	switch {
	case l != a.life || l.over:
	case r.Ended:
		a.endLife("the agent says that it is over")
		a.register()
	case r.Refusal != 0:
		a.register()
	case r.Remaining > 0:
		a.extend(l, asked.Add(r.Remaining))
	}
}

// extend moves the end of the lease later, never earlier.
func (a *application) extend(l *life, end shard.Instant) {
	now := a.host.now()
	if !end.Allows(now) || l.end != (shard.Instant{}) && l.end.Remaining(now) >= end.Remaining(now) {
		return
	}
	l.end = end
	a.w.observe(promise.Leased{Owner: l.owner(a.host), Until: a.host.clock.Until(a.w.queue.Now(), end), Longer: true})
}

// clocksChanged tells what the lease is by clocks that jumped or go at another rate.
func (a *application) clocksChanged() {
	if l := a.life; a.lives() && l != nil && !l.over {
		a.w.observe(promise.Leased{Owner: l.owner(a.host), Until: a.host.clock.Until(a.w.queue.Now(), l.end)})
	}
}

// endLife ends the incarnation: no lease, nothing held.
func (a *application) endLife(why string) {
	l := a.life
	if l == nil || l.over {
		return
	}
	a.w.say(a.host.name, "application drops everything of %s: %s", l.incarnation, why)
	l.over, l.end = true, shard.Instant{}
	a.w.observe(promise.Leased{Owner: l.owner(a.host)})
	for _, id := range shard.SortedKeys(l.replicas) {
		l.replicas[id].ceased()
	}
}

func (l *life) held() (list []shard.Held) {
	for _, id := range shard.SortedKeys(l.replicas) {
		r := l.replicas[id]
		h := r.Held(id)
		if h.Phase != shard.None {
			h.Peer, h.Activated = r.peer, r.activated != 0 && r.activated == r.Term
		}
		list = append(list, h)
	}
	return list
}

// take is a call of the agent's.
func (a *application) take(c *callback) {
	l := a.life
	switch {
	case c.call.Kind == roster.CallEndIncarnation:
		if l != nil && l.incarnation == c.call.Incarnation {
			a.endLife(c.call.Reason)
			a.register()
		}
		c.done(roster.CallOK, "", nil)
	case l == nil || l.over || l.incarnation != c.call.Incarnation:
		c.done(roster.CallStale, "another incarnation serves here", nil)
	case c.call.Kind == roster.CallCollectLoad:
		c.done(roster.CallOK, "", a.loads(l))
	default:
		a.replica(l, c.call.Shard).enqueue(c)
	}
}

func (a *application) loads(l *life) (list []roster.ShardLoad) {
	for _, id := range shard.SortedKeys(l.replicas) {
		if l.replicas[id].Phase != shard.None {
			list = append(list, roster.ShardLoad{Shard: id, Load: map[string]int64{"requests": a.w.demand[id]}})
		}
	}
	return list
}

// comeBack has hung callbacks return.
func (a *application) comeBack() {
	hung := a.hung
	a.hung = nil
	for _, back := range hung {
		a.process.Do(back)
	}
}

func (a *application) replica(l *life, id shard.ID) *replica {
	r := l.replicas[id]
	if r == nil {
		r = &replica{app: a, life: l, id: id, Record: record.New()}
		l.replicas[id] = r
	}
	return r
}

// callback is a call of the agent's on its way: answered once, and cancelled when nobody waits for it any more.
type callback struct {
	call     roster.Call
	done     func(roster.Outcome, string, []roster.ShardLoad)
	over     bool
	onCancel func()
}

func (c *callback) cancel() {
	if c.over {
		return
	}
	c.over = true
	if c.onCancel != nil {
		c.onCancel()
	}
}

// answer ends a callback.
func (c *callback) answer(o roster.Outcome, why string) {
	if !c.over {
		c.over = true
		c.done(o, why, nil)
	}
}
