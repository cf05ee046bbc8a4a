package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// call is one command that is due until it is answered.
type call struct {
	to      *life
	purpose purpose.Purpose
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
func (t *task) command(to *life, p purpose.Purpose, o shard.Order) *call {
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
	if invariant.Enabled {
		invariant.Check(!t.pending() && o.Term <= t.row.Term && o.Move <= t.row.Move, "%s/%d: order %s is sent, the durable row is at %d/%d (R3)", t.a.spec.Name, t.at, o, t.row.Term, t.row.Move)
	}
	deadline := t.deadline(p)
	if c.stream != to.stream {
		c.since = t.now // what it could not hear before is not held against it
	}
	c.sent, c.stream, c.open, c.next = true, to.stream, true, t.now.Add(deadline+answerSlack)
	t.send(to.stream, message.Command{
		ID:       message.CommandID{Epoch: t.epoch, Incarnation: to.Incarnation, Shard: t.a.id(t.at), Order: o, Kind: p.Kind()},
		Peer:     t.peerOf(p),
		Role:     p.Role(),
		Members:  t.membersOf(p, o),
		Deadline: deadline,
	})
	return c
}

func (c *call) explain() string {
	why := c.purpose.Kind().String() + " at " + string(c.to.Server)
	if !c.to.attached() {
		why += ", which is not attached"
	}
	if c.err != "" {
		why += "; last failure: " + c.err
	}
	return why
}

// deadline gives loading its own time; a grant that no preparation came before loads too.
func (t *task) deadline(p purpose.Purpose) time.Duration {
	switch {
	case p == purpose.PrepareAdd || p == purpose.Grant && t.row.Open == nil:
		return t.s.LoadDeadline
	case p == purpose.Members:
		return t.syncDeadline()
	}
	return t.s.StepDeadline
}

func (t *task) peerOf(p purpose.Purpose) shard.Peer {
	switch p {
	case purpose.PrepareAdd:
		return t.known(t.row.Open.From).peer()
	case purpose.PrepareDrop:
		return t.known(t.row.Open.To).peer()
	case purpose.Join, purpose.Demote, purpose.StepBack:
		if primary := t.known(t.row.Primary); primary != nil {
			return primary.peer()
		}
	case purpose.Grant, purpose.Cancel, purpose.StopTarget, purpose.DropSource, purpose.TakeAway, purpose.Stray, purpose.Leave, purpose.Members, purpose.Delete:
	}
	return shard.Peer{}
}

func (t *task) membersOf(p purpose.Purpose, o shard.Order) []shard.Member {
	switch p {
	case purpose.PrepareAdd:
		return t.targetMembers()
	case purpose.Grant:
		return t.members(false)
	case purpose.Members:
		if o.Term != t.row.PrimaryTerm { // it is not primary yet
			return t.targetMembers()
		}
		return t.members(true)
	case purpose.PrepareDrop, purpose.Cancel, purpose.StopTarget, purpose.DropSource, purpose.TakeAway, purpose.Stray, purpose.Join, purpose.Leave, purpose.Demote, purpose.StepBack, purpose.Delete:
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
		Order: c.order, Why: c.purpose.Kind().String() + ": " + why})
	switch {
	case c.purpose == purpose.Grant && c.fails >= attemptsMost:
		t.w.takeAway = true
	case c.purpose == purpose.TakeAway && t.stubborn(c.to, c.since):
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
		if c.to == f && c.order == ev.ID.Order && c.purpose.Kind() == ev.ID.Kind && c.sent {
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
		if c.purpose == purpose.Cancel {
			t.w.cancel = ev.Status
		}
	case Stale:
		t.stale(c, ev.Err)
	case Busy:
		if c.purpose == purpose.PrepareDrop {
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
	case purpose.Grant:
		if t.row.MembersMove == c.order.Move {
			t.row.MembersTold = c.order.Move
		}
		t.acknowledged()
	case purpose.Join, purpose.Leave, purpose.Delete:
		w.acknowledge(acknowledgement{c.to.Owner, c.order})
	case purpose.Members:
		if c.order.Term == t.row.PrimaryTerm {
			t.row.MembersTold = max(t.row.MembersTold, c.order.Move)
		}
	case purpose.PrepareAdd:
		w.prepared = true
	case purpose.PrepareDrop:
		w.handed = true
	case purpose.Cancel:
		w.cancel = Begun // no answer that a CancelMove has: the careful reading
	case purpose.StopTarget, purpose.StepBack:
		w.stopped = true
	case purpose.DropSource, purpose.Demote:
		w.dropped = true
	case purpose.TakeAway:
		w.returned = true
	case purpose.Stray:
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
	case purpose.Grant:
		t.w.idle = true
	case purpose.PrepareAdd:
		t.w.giveUp = "the target refuses the move: " + why
	case purpose.PrepareDrop:
		t.w.giveUp, t.w.idle = "the source does not serve the shard: "+why, true
	case purpose.Cancel:
		t.w.cancel = Begun
	case purpose.Stray:
		t.done(c)
	case purpose.Delete:
		t.done(c) // it has obeyed something later: nobody else can have given that
	case purpose.Join, purpose.Leave:
		t.w.lapsed = append(t.w.lapsed, acknowledgement{c.to.Owner, c.order})
	case purpose.StopTarget, purpose.DropSource, purpose.TakeAway, purpose.Demote, purpose.StepBack, purpose.Members:
	}
}

// acknowledged notes that the primary serves, and tells the world.
func (t *task) acknowledged() {
	w := t.w
	w.served, w.idle, w.takeAway, w.gains, w.regain = true, false, false, 0, shard.Instant{}
	t.publishShard(t.a, t.at)
	if len(t.row.Secondaries) != t.a.replicas(t.at)-1 || t.known(t.row.Primary).leaves() {
		t.a.plan.Want(t.now, solveSoon) // nothing was planned for it until now
	}
	t.keeper.Served(t.now, t.a.charge(t.at, shard.Primary))
	if _, pending := t.a.staged[t.at]; t.row.Open == nil && !pending {
		t.grantDone(t.a, t.at, w)
	}
}
