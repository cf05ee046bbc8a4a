package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// purpose is why a command is sent: the same DropShard means different things at different places.
type purpose uint8

const (
	callGrant purpose = iota + 1 // AddShard to the primary
	callPrepareAdd
	callPrepareDrop
	callCancel     // CancelMove to the source of an aborted move
	callStopTarget // DropShard to the target of an aborted move
	callDropSource // DropShard to the source after the linger
	callTakeAway   // DropShard to a primary that cannot add it
	callStray      // DropShard to whoever holds it without reason
	callJoin       // AddShard to a newcomer, as a secondary
	callLeave      // DropShard to a secondary that leaves
	callDemote     // AddShard to the source that stays, as a secondary
	callStepBack   // AddShard to the target of an aborted move, as the secondary that it was
	callMembers    // UpdateMembership to the primary
	callDelete     // DropShard to whoever may hold a shard that was deleted
)

func (p purpose) kind() message.Kind {
	switch p {
	case callGrant:
		return message.AddShard
	case callPrepareAdd:
		return message.PrepareAddShard
	case callPrepareDrop:
		return message.PrepareDropShard
	case callCancel:
		return message.CancelMove
	case callStopTarget, callDropSource, callTakeAway, callStray, callLeave, callDelete:
		return message.DropShard
	case callJoin, callDemote, callStepBack:
		return message.AddShard
	case callMembers:
		return message.UpdateMembership
	}
	return 0
}

// ofSecondaries reports whether a command is about secondaries: what it asks is unchanged by decisions about the primary.
func (p purpose) ofSecondaries() bool { return p == callJoin || p == callLeave || p == callMembers }

// takesOn reports whether a command makes a server take a shard on that it may not have had before.
func (p purpose) takesOn() bool { return p == callGrant || p == callPrepareAdd || p == callJoin }

// role is the one to take with an AddShard.
func (p purpose) role() shard.Role {
	switch p {
	case callGrant:
		return shard.Primary
	case callJoin, callDemote, callStepBack:
		return shard.Secondary
	case callPrepareAdd, callPrepareDrop, callCancel, callStopTarget, callDropSource, callTakeAway, callStray, callLeave, callMembers, callDelete:
	}
	return 0
}

// call is one command that is due until it is answered.
type call struct {
	to      *life
	purpose purpose
	order   shard.Order
	due     bool

	since  shard.Instant // due since
	sent   bool          // ever
	stream StreamID      // that it was last sent on
	open   bool          // sent and not answered yet
	next   shard.Instant // not again on this stream before
	fails  int
	failed shard.Instant // last
	err    string
}

// command keeps a command going until it is answered: sent once on each stream, again with backoff after a failure, and again when its
// deadline passed without an answer.
func (t *task) command(to *life, p purpose, o shard.Order) *call {
	var c *call
	for _, have := range t.w.calls {
		if have.to == to && have.purpose == p && have.order == o {
			c = have
		}
	}
	if c == nil {
		c = &call{to: to, purpose: p, order: o, since: t.now}
		t.w.calls = append(t.w.calls, c)
	}
	c.due = true
	if t.w.waits == "" {
		t.w.waits = c.explain()
	}
	if !to.attached() || !to.alive() || c.stream == to.stream && !c.next.Passed(t.now) {
		return c
	}
	if t.behind { // its answer may wait among others, and so would that of one more
		c.since, t.w.waits = t.now, "answers wait for the leader"
		return c
	}
	if c.stream == to.stream && c.open {
		t.failed(c, "not answered within its deadline")
		return c
	}
	if why := t.suspectWaits(c); why != "" {
		c.since = t.now // it is not held against the server
		t.w.waits = why
		return c
	}
	deadline := t.deadline(p)
	if c.stream != to.stream {
		c.since = t.now // what it could not hear before is not held against it
	}
	c.sent, c.stream, c.open, c.next = true, to.stream, true, t.now.Add(deadline+answerSlack)
	t.send(to.stream, message.Command{
		ID:       message.CommandID{Epoch: t.epoch, Incarnation: to.Incarnation, Shard: t.a.id(t.at), Order: o, Kind: p.kind()},
		Peer:     t.peerOf(p),
		Role:     p.role(),
		Members:  t.membersOf(p, o),
		Deadline: deadline,
	})
	return c
}

func (c *call) explain() string {
	why := c.purpose.kind().String() + " at " + string(c.to.Server)
	if !c.to.attached() {
		why += ", which is not attached"
	}
	if c.err != "" {
		why += "; last failure: " + c.err
	}
	return why
}

// deadline gives loading its own time; a grant that no preparation came before loads too.
func (t *task) deadline(p purpose) time.Duration {
	switch {
	case p == callPrepareAdd || p == callGrant && t.row.Open == nil:
		return t.s.LoadDeadline
	case p == callMembers:
		return t.syncDeadline()
	}
	return t.s.StepDeadline
}

func (t *task) peerOf(p purpose) shard.Peer {
	switch p {
	case callPrepareAdd:
		return t.known(t.row.Open.From).peer()
	case callPrepareDrop:
		return t.known(t.row.Open.To).peer()
	case callJoin, callDemote, callStepBack:
		if primary := t.known(t.row.Primary); primary != nil {
			return primary.peer()
		}
	case callGrant, callCancel, callStopTarget, callDropSource, callTakeAway, callStray, callLeave, callMembers, callDelete:
	}
	return shard.Peer{}
}

func (t *task) membersOf(p purpose, o shard.Order) []shard.Member {
	switch p {
	case callPrepareAdd:
		return t.targetMembers()
	case callGrant:
		return t.members(false)
	case callMembers:
		if o.Term != t.row.PrimaryTerm { // it is not primary yet
			return t.targetMembers()
		}
		return t.members(true)
	case callPrepareDrop, callCancel, callStopTarget, callDropSource, callTakeAway, callStray, callJoin, callLeave, callDemote, callStepBack, callDelete:
	}
	return nil
}

// failed counts a failure, and takes another way after attemptsMost.
func (t *task) failed(c *call, why string) {
	c.fails++
	c.err, c.open, c.failed = why, false, t.now
	c.next = t.now.Add(timing.Backoff(c.fails))
	t.w.failures++
	t.trace(Decision{What: "command failed", App: t.a.spec.Name, Shard: t.a.id(t.at), Server: c.to.Server, Incarnation: c.to.Incarnation,
		Order: c.order, Why: c.purpose.kind().String() + ": " + why})
	switch {
	case c.purpose == callGrant && c.fails >= attemptsMost:
		t.w.takeAway = true
	case c.purpose == callTakeAway && t.after(c.since, stuckFactor*t.s.StepDeadline):
		t.fence(c.to, "it neither adds nor drops shard "+string(t.a.id(t.at)))
	}
}

// result takes an agent's answer. Only the answer to the command that is due now, from its receiver, means anything.
func (l *Ledger) result(ev Result) {
	f := l.welcomed(ev.Stream)
	if f == nil || ev.ID.Epoch != l.epoch || ev.ID.Incarnation != f.Incarnation || f.over {
		return
	}
	a := l.apps[f.app]
	if a == nil {
		return
	}
	at, ok := a.find(ev.ID.Shard)
	if !ok {
		l.unknownDropped(f, ev)
	}
	if !ok || a.work[at] == nil {
		return
	}
	w := a.work[at]
	for _, c := range w.calls {
		if c.to == f && c.order == ev.ID.Order && c.purpose.kind() == ev.ID.Kind && c.sent {
			t := &task{l, a, at, &a.rows[at], w}
			t.answered(c, ev)
			l.advance(a, at)
			if f.alone == c {
				l.advanceAll(f) // other suspects waited for it
			}
			return
		}
	}
}

func (t *task) answered(c *call, ev Result) {
	switch ev.Status {
	case Done:
		c.open = false
		t.done(c)
	case NotBegun, Begun:
		if c.purpose == callCancel {
			t.w.cancel = ev.Status
		}
	case Stale:
		t.stale(c, ev.Err)
	case Busy:
		if c.purpose == callPrepareDrop {
			t.w.giveUp = "requests were still running at the source's deadline (PROTOCOL R22)"
			return
		}
		t.failed(c, "busy: "+ev.Err)
	case Failed:
		t.failed(c, ev.Err)
	}
}

func (t *task) done(c *call) {
	w := t.w
	switch c.purpose {
	case callGrant:
		if t.row.MembersMove == c.order.Move {
			t.row.MembersTold = c.order.Move
		}
		t.acknowledged()
	case callJoin, callLeave, callDelete:
		w.acknowledge(acknowledgement{c.to.Owner, c.order})
	case callMembers:
		if c.order.Term == t.row.PrimaryTerm {
			t.row.MembersTold = max(t.row.MembersTold, c.order.Move)
		}
	case callPrepareAdd:
		w.prepared = true
	case callPrepareDrop:
		w.handed = true
	case callCancel:
		w.cancel = Begun // no answer that a CancelMove has: the careful reading
	case callStopTarget, callStepBack:
		w.stopped = true
	case callDropSource, callDemote:
		w.dropped = true
	case callTakeAway:
		w.returned = true
	case callStray:
		for i, f := range w.strays {
			if f == c.to {
				w.strays = append(w.strays[:i:i], w.strays[i+1:]...)
				break
			}
		}
	}
}

// stale reads a refusal: the receiver has seen a higher order, so this command can never be taken.
func (t *task) stale(c *call, why string) {
	t.failed(c, "refused as stale: "+why)
	switch c.purpose {
	case callGrant:
		t.w.idle = true
	case callPrepareAdd:
		t.w.giveUp = "the target refuses the move: " + why
	case callPrepareDrop:
		t.w.giveUp, t.w.idle = "the source does not serve the shard: "+why, true
	case callCancel:
		t.w.cancel = Begun
	case callStray:
		t.done(c)
	case callDelete:
		t.done(c) // it has obeyed something later: nobody else can have given that
	case callJoin, callLeave:
		t.w.lapsed = append(t.w.lapsed, acknowledgement{c.to.Owner, c.order})
	case callStopTarget, callDropSource, callTakeAway, callDemote, callStepBack, callMembers:
	}
}

// acknowledged notes that the primary serves, and tells the world.
func (t *task) acknowledged() {
	w := t.w
	w.served, w.idle, w.takeAway, w.gains, w.regain = true, false, false, 0, shard.Instant{}
	t.publishShard(t.a, t.at)
	if len(t.row.Secondaries) != t.a.replicas(t.at)-1 {
		t.a.plan.Want(t.now, solveSoon)
	}
	t.keeper.Served(t.now, t.a.charge(t.at, shard.Primary))
	if _, pending := t.a.staged[t.at]; t.row.Open == nil && !pending {
		t.grantDone(t.a, t.at, w)
	}
}
