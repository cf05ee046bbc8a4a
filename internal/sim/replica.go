package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/record"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
)

// gate says what happens to requests for a shard.
type gate uint8

const (
	closed  gate = iota // refused
	open                // executed
	hold                // they wait
	forward             // they go to the peer
	follow              // only reads of any replica
)

// replica is a shard on one server: the receiver's table of docs/architecture.md §5, and the application's state.
type replica struct {
	app  *application
	life *life
	id   shard.ID

	record.Record // what is known of the order of commands, as in the SDK

	gate      gate
	peer      shard.Peer
	activated shard.Term
	raised    shard.Term
	added     shard.Term
	role      shard.Role // as the application was told
	armed     bool       // Activate was called
	running   int        // operations
	idle      func()     // called when none runs any more
	changed   []func()   // requests that wait for another gate
	executes  bool       // as observed

	writes   int64      // the application's state: how many writes it knows
	seen     shard.Term // replication at lower ones is refused
	members  membership
	pendings []pendingWrite
	first    []shard.Member // those of a planned move's target

	queue []*callback
	busy  *callback
}

// enqueue takes a command; of one shard one runs at a time, beside memberships.
func (r *replica) enqueue(c *callback) {
	if c.call.Kind == roster.CallUpdateMembership {
		r.updateMembership(c)
		return
	}
	r.queue = append(r.queue, c)
	r.next()
}

func (r *replica) next() {
	for r.busy == nil && len(r.queue) > 0 {
		c := r.queue[0]
		r.queue = r.queue[1:]
		if c.over || r.life.over {
			c.answer(roster.CallStale, "another incarnation serves here")
			continue
		}
		r.busy = c
		r.decide(c)
	}
}

// finish ends the command under way.
func (r *replica) finish(c *callback, o roster.Outcome, why string) {
	if r.busy != c {
		return
	}
	r.busy = nil
	c.answer(o, why)
	r.next()
}

// decide is the table: what is older is refused, what was done is answered again.
func (r *replica) decide(c *callback) {
	kind, o := commandOf(c.call), c.call.Order
	if kind == record.Cancel {
		outcome := roster.CallNotBegun
		if r.Cancel(o) {
			outcome = roster.CallBegun
		}
		r.finish(c, outcome, "")
		return
	}
	switch r.Judge(kind, o) {
	case record.Done:
		r.finish(c, roster.CallOK, "")
	case record.Take:
		r.Accept(kind, o)
		r.carryOut(c)
	case record.Refuse:
		r.finish(c, roster.CallStale, "older than what was taken, or it does not fit the phase")
	}
}

// commandOf names a call as a server's record does.
func commandOf(call roster.Call) record.Command {
	switch call.Kind {
	case roster.CallPrepareAdd:
		return record.PrepareAdd
	case roster.CallPrepareDrop:
		return record.PrepareDrop
	case roster.CallAddShard:
		if call.Role == shard.Secondary {
			return record.Follow
		}
		return record.Add
	case roster.CallActivate:
		return record.Activate
	case roster.CallDropShard:
		return record.Drop
	case roster.CallCancelMove:
		return record.Cancel
	case roster.CallCollectLoad, roster.CallEndIncarnation, roster.CallUpdateMembership: // no commands
	}
	return 0
}

func (r *replica) carryOut(c *callback) {
	o := c.call.Order
	complete := func(why string) {
		if why != "" {
			r.finish(c, roster.CallFailed, why)
			return
		}
		r.Complete()
		r.finish(c, roster.CallOK, "")
	}
	switch c.call.Kind {
	case roster.CallPrepareAdd:
		r.prepareAdd(c, complete)
	case roster.CallActivate:
		r.activate(c, o, -1, c.call.Members, complete)
	case roster.CallAddShard:
		if c.call.Role == shard.Secondary {
			r.followPrimary(c, complete)
			return
		}
		r.activate(c, o, -1, c.call.Members, func(why string) {
			if why != "" {
				complete(why)
				return
			}
			r.serve(c, complete)
		})
	case roster.CallPrepareDrop:
		r.prepareDrop(c, complete)
	case roster.CallDropShard:
		r.retire(c, o, complete)
	case roster.CallCancelMove, roster.CallCollectLoad, roster.CallEndIncarnation, roster.CallUpdateMembership:
	}
}

// user runs a callback of the application: it takes a while, and may fail, hang, or take the process down.
func (r *replica) user(c *callback, kind roster.CallKind, then func(why string)) {
	a := r.app
	if a.temper.crash[r.id] && (kind == roster.CallActivate || kind == roster.CallPrepareAdd) {
		a.kill("shard " + string(r.id) + " kills it")
		return
	}
	over := false
	end := func(why string) {
		if !over && !r.life.over {
			over = true
			c.onCancel = nil
			then(why)
		}
	}
	stuck, takes := a.w.chance.PerMille(a.temper.stuck[kind]), a.w.chance.UpTo(a.temper.slow)
	fails := ""
	if a.w.chance.PerMille(a.temper.fails[kind]) {
		fails = "the application says no"
	}
	if stuck {
		a.hung = append(a.hung, func() { end("it came back at last") })
		return
	}
	c.onCancel = func() { a.process.After(onHost, func() { end("cancelled") }) }
	a.process.After(takes, func() { end(fails) })
}

// quiet waits until no operation runs; false if that takes longer than patience.
func (r *replica) quiet(patience time.Duration, then func(bool)) {
	if r.running == 0 {
		then(true)
		return
	}
	over := false
	r.idle = func() {
		if !over {
			over = true
			then(true)
		}
	}
	r.app.process.After(patience, func() {
		if !over {
			over, r.idle = true, nil
			then(false)
		}
	})
}

// setGate changes what happens to requests; those that wait look again.
func (r *replica) setGate(g gate) {
	r.gate = g
	waiting := r.changed
	r.changed = nil
	for _, look := range waiting {
		look()
	}
}

// began and ceased say who may execute.
func (r *replica) began(t shard.Term) {
	r.executes = true
	r.app.w.observe(promise.Began{Shard: r.id, Owner: r.life.owner(r.app.host), Term: t})
}

func (r *replica) ceased() {
	if r.executes {
		r.executes = false
		r.app.w.observe(promise.Ceased{Shard: r.id, Owner: r.life.owner(r.app.host)})
	}
}
