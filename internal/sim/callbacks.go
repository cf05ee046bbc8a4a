package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/record"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
)

// dropPatience is how long operations of a shard that is dropped may go on; at its end their contexts are cancelled and they end.
const dropPatience = time.Second

// prepareAdd makes this server the target of a move. A secondary is that as it is: it has the state.
func (r *replica) prepareAdd(c *callback, complete func(string)) {
	o := c.call.Order
	enter := func(why string) {
		if why == "" {
			r.Enter(shard.Prepared, o)
			r.peer, r.first = c.call.Peer, c.call.Members
			r.setGate(closed)
		}
		complete(why)
	}
	if r.role == shard.Secondary && !r.armed {
		enter("")
		return
	}
	prepare := func(why string) {
		if why != "" {
			complete(why)
			return
		}
		r.user(c, roster.CallPrepareAdd, enter)
	}
	if r.Phase != shard.None || r.armed {
		r.retire(c, o, prepare)
		return
	}
	prepare("")
}

// activate gives the application the right to write at a term: the storage's term is raised first, then it reads, then it hears of its
// secondaries (PROTOCOL R9). state is what was handed over; -1: nothing was.
func (r *replica) activate(c *callback, o shard.Order, state int64, members []shard.Member, then func(string)) {
	if r.activated == o.Term && o.Term != 0 {
		then("")
		return
	}
	writes := func(why string) {
		if why == "" {
			r.activated = o.Term
			r.Enter(shard.Prepared, o)
			r.began(o.Term)
		}
		then(why)
	}
	begin := func() {
		r.user(c, roster.CallActivate, func(why string) {
			if why == "" && !r.raise(o, state) {
				why = "the storage has seen a higher term"
			}
			if why != "" {
				then(why)
				return
			}
			r.firstMembership(c, o, members, writes)
		})
	}
	if r.raised == o.Term {
		r.firstMembership(c, o, members, writes)
		return
	}
	r.standDown(func(ok bool) {
		if !ok {
			then("operations of an older term still run")
			return
		}
		begin()
	})
}

// standDown ends the right to write that this server has or may have.
func (r *replica) standDown(then func(bool)) {
	before := r.gate
	switch r.Phase {
	case shard.Serving:
		r.setGate(hold)
	case shard.Following:
		r.setGate(closed)
	case shard.Prepared:
		r.activated = 0
	case shard.Forwarding, shard.None:
	}
	if r.Phase == shard.Forwarding {
		r.setGate(hold)
	}
	r.quiet(dropPatience, func(ok bool) {
		if !ok {
			r.setGate(before)
			then(false)
			return
		}
		r.members.close()
		r.ceased()
		then(true)
	})
}

// raise takes the right to write: the storage refuses terms below the highest that it has seen.
func (r *replica) raise(o shard.Order, state int64) bool {
	w := r.app.w
	kept := state >= 0 || w.planned
	if state >= 0 {
		r.writes = state
	}
	if w.shared {
		if !w.storage.raise(r.id, o.Term) {
			return false
		}
		r.writes, kept = w.storage.writes[r.id], true
	}
	r.raised, r.armed, r.seen = o.Term, true, max(r.seen, o.Term)
	w.observe(promise.Raised{Shard: r.id, Owner: r.life.owner(r.app.host), Term: o.Term, Has: r.writes, Kept: kept})
	return true
}

// serve tells the application that it is primary, once for each term, and opens the gate.
func (r *replica) serve(c *callback, complete func(string)) {
	o := c.call.Order
	enter := func(why string) {
		if why == "" {
			r.added, r.role = o.Term, shard.Primary
			r.Enter(shard.Serving, o)
			r.peer = shard.Peer{}
			r.setGate(open)
		}
		complete(why)
	}
	if r.added == o.Term {
		enter("")
		return
	}
	r.user(c, roster.CallAddShard, enter)
}

// retire stops whatever the shard does here and drops it.
func (r *replica) retire(c *callback, o shard.Order, complete func(string)) {
	r.activated = 0
	r.setGate(closed)
	r.quiet(dropPatience, func(ok bool) {
		if !ok {
			complete("operations still run")
			return
		}
		r.members.close()
		r.ceased()
		drop := func(why string) {
			if why == "" {
				r.Enter(shard.None, o)
				r.raised, r.added, r.role, r.armed, r.writes, r.seen, r.first = 0, 0, 0, false, 0, 0, nil
			}
			complete(why)
		}
		if r.role == 0 && !r.armed && r.Phase == shard.None {
			drop("")
			return
		}
		r.user(c, roster.CallDropShard, drop)
	})
}

// prepareDrop hands the shard over: new requests wait, running ones finish, state and marker go to the target, then everything is forwarded.
func (r *replica) prepareDrop(c *callback, complete func(string)) {
	o := c.call.Order
	give := func() {
		r.peer = c.call.Peer
		r.members.close()
		r.ceased()
		r.handOver(c, o, func(why string) {
			if why == "" {
				r.Handed = true
				r.setGate(forward)
			}
			complete(why)
		})
	}
	if r.Phase != shard.Serving {
		give()
		return
	}
	before := r.gate
	r.setGate(hold)
	r.quiet(c.call.Deadline, func(ok bool) {
		switch {
		case !ok:
			r.setGate(before)
			r.finish(c, roster.CallBusy, "operations still run")
		case c.over:
			r.setGate(before)
			complete("cancelled")
		default:
			r.Enter(shard.Forwarding, o)
			give()
		}
	})
}

// transferTimeout bounds one attempt to hand over.
const transferTimeout = time.Minute

// handOver sends the last state to the target, which activates.
func (r *replica) handOver(c *callback, o shard.Order, done func(string)) {
	w, to, from := r.app.w, c.call.Peer, shard.Peer{Server: r.app.host.id, Incarnation: r.life.incarnation}
	state, over := r.writes, false
	end := func(why string) {
		if !over && !r.life.over {
			over = true
			c.onCancel = nil
			done(why)
		}
	}
	target := w.hostOf(to.Server)
	theirs := &callback{call: roster.Call{Order: o}, done: func(roster.Outcome, string, []roster.ShardLoad) {}}
	c.onCancel = func() {
		w.net.carry(r.app.host.at, target.at, theirs.cancel)
		end("cancelled")
	}
	call[string]{from: r.app.host.at, to: target.at, timeout: transferTimeout,
		serve: func(answer func(string)) {
			if app := target.app; app.lives() {
				app.process.Do(func() { app.receive(r.id, theirs, from, to, state, answer) })
			} else if target.up {
				answer("connection refused")
			}
		},
		done: func(why string, ok bool) {
			if !ok {
				why = "the target did not answer"
			}
			end(why)
		},
	}.make(w, r.app.process)
}

// receive is the target's half: it takes the state and the marker, then it is activated.
func (a *application) receive(id shard.ID, c *callback, from, to shard.Peer, state int64, answer func(string)) {
	l, o := a.life, c.call.Order
	if l == nil || l.over || l.incarnation != to.Incarnation {
		answer("another incarnation serves here")
		return
	}
	r := a.replica(l, id)
	if r.busy != nil {
		answer("another command runs")
		return
	}
	switch r.Judge(record.Transfer, o) {
	case record.Done:
		answer("")
		return
	case record.Take:
		if r.peer.Incarnation != from.Incarnation {
			answer("it is prepared for another source")
			return
		}
		r.Accept(record.Transfer, o)
	case record.Refuse:
		answer("no target of that move")
		return
	}
	r.busy = c
	r.activate(c, o, state, r.first, func(why string) {
		if why == "" {
			r.Complete()
		}
		r.finish(c, roster.CallOK, "")
		answer(why)
	})
}

// followPrimary makes this server a secondary. Whoever was primary here stops first.
func (r *replica) followPrimary(c *callback, complete func(string)) {
	o := c.call.Order
	enter := func(why string) {
		if why == "" {
			r.role, r.armed, r.raised, r.added, r.activated = shard.Secondary, false, 0, 0, 0
			r.Enter(shard.Following, o)
			r.peer = c.call.Peer
			r.setGate(follow)
		}
		complete(why)
	}
	r.standDown(func(ok bool) {
		if !ok {
			complete("operations still run")
			return
		}
		r.user(c, roster.CallAddShard, enter)
	})
}
