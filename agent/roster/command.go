package roster

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/agent/receiver"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// entry is one shard: what is held, what was decided last, what waits.
//
// Invariant: held.Max never goes down; at most one call of a shard is under way, beside one of UpdateMembership.
type entry struct {
	held  shard.Held
	under shard.Order // the phase was entered under; zero: taken over from the application
	// The newest command that was taken and what became of it: what a duplicate is answered. Kind 0: taken over from the application
	// after a restart; it remembers, the roster does not.
	last    Kind
	outcome Status // 0: under way
	running *task
	queue   []*task
	waiting bool // in Roster.ready
	lane    lane
}

// task is one command on its way.
type task struct {
	cmd      Command
	received shard.Instant
	call     CallID
	step     CallKind
}

func (r *Roster) command(now shard.Instant, c Command, out *Effects) {
	if !r.link.up || c.Stream != r.link.stream {
		return // the leader asks again on the new stream
	}
	switch {
	case r.life != Live || c.ID.Incarnation != r.saved.Incarnation:
		r.answer(c.ID, Stale, "not this incarnation: "+r.saved.Incarnation.String()+" is "+r.life.String(), out)
		return
	case c.ID.Epoch.Compare(r.highest) < 0:
		r.answer(c.ID, Stale, "epoch "+c.ID.Epoch.String()+" is older than "+r.highest.String(), out)
		return
	}
	r.highest = c.ID.Epoch
	if c.ID.Kind == UpdateMembership {
		r.updateMembership(c, out)
		return
	}
	e, ok := r.shards[c.ID.Shard]
	if !ok {
		e = &entry{held: shard.Held{Shard: c.ID.Shard, Phase: shard.None}}
		r.shards[c.ID.Shard] = e
	}
	if e.repeats(c) {
		return
	}
	if len(e.queue) >= MaxQueue {
		r.answer(c.ID, Failed, fmt.Sprintf("%d commands wait for this shard already", MaxQueue), out)
		return
	}
	if t := e.running; t != nil && t.step == CallPrepareAdd && c.ID.Order.Compare(t.cmd.ID.Order) > 0 {
		out.Cancels = append(out.Cancels, t.call) // what it loads is of no use any more, and may take minutes
	}
	e.queue = append(e.queue, &task{cmd: c, received: now})
	r.advance(now, e, out)
}

// tasks are those on their way, in order.
func (e *entry) tasks() []*task {
	return slices.DeleteFunc(append([]*task{e.running}, e.queue...), func(t *task) bool { return t == nil })
}

// repeats reports that a command is on its way already; its answer will carry the newer name.
func (e *entry) repeats(c Command) bool {
	for _, t := range e.tasks() {
		if t.cmd.ID.Kind == c.ID.Kind && t.cmd.ID.Order == c.ID.Order {
			t.cmd.ID.Epoch, t.cmd.Stream = c.ID.Epoch, c.Stream
			return true
		}
	}
	return false
}

// advance takes up what waits for a shard, in order, until a call is under way or nothing is left.
func (r *Roster) advance(now shard.Instant, e *entry, out *Effects) {
	for e.running == nil && len(e.queue) > 0 {
		t := e.queue[0]
		v := receiver.State{Held: e.held, Under: e.under, Last: e.last, Outcome: e.outcome}.Judge(t.cmd.ID, t.cmd.Role)
		if v == receiver.Take && len(r.calls) >= MaxRunning {
			if !e.waiting {
				e.waiting = true
				r.ready = append(r.ready, e.held.Shard)
			}
			return
		}
		e.queue = e.queue[1:]
		r.decide(now, e, t, v, out)
	}
}

func (r *Roster) decide(now shard.Instant, e *entry, t *task, v receiver.Verdict, out *Effects) {
	id := t.cmd.ID
	switch v {
	case receiver.AnswerDone:
		r.answer(id, Done, "", out)
	case receiver.AnswerNotBegun:
		r.answer(id, NotBegun, "", out)
	case receiver.AnswerBegun:
		r.answer(id, Begun, "", out)
	case receiver.Refuse:
		why := fmt.Sprintf("order %s at phase %s with highest order %s", id.Order, e.held.Phase, e.held.Max)
		r.answer(id, Stale, why, out)
	case receiver.Take:
		left := r.left(t, now)
		if left <= 0 {
			r.answer(id, Failed, "its deadline passed while earlier commands of the shard ran", out)
			return
		}
		if id.Kind != CancelMove || id.Order.Compare(e.held.Max) > 0 { // a question leaves the memory of what it asks about alone
			e.last, e.outcome = id.Kind, 0
		}
		e.held.Max = id.Order // nothing below it is taken
		e.running = t
		t.step = r.firstStep(e, t.cmd)
		r.callShard(e, t, left, out)
	}
}

func (r *Roster) left(t *task, now shard.Instant) time.Duration {
	deadline := t.cmd.Deadline
	if deadline <= 0 {
		deadline = r.settings.StepDeadline
	}
	return deadline - t.received.PermissionAge(now)
}

func (r *Roster) firstStep(e *entry, c Command) CallKind {
	switch c.ID.Kind {
	case AddShard:
		if c.Role != shard.Secondary && r.app.Activate && !(e.held.Activated && e.held.Term == c.ID.Order.Term) {
			return CallActivate // raise the storage's term before anything is served (R9)
		}
		return CallAddShard
	case DropShard:
		return CallDropShard
	case PrepareAddShard:
		return CallPrepareAdd
	case PrepareDropShard:
		return CallPrepareDrop
	case CancelMove:
		return CallCancelMove
	case UpdateMembership:
		return CallUpdateMembership
	}
	panic(fmt.Sprintf("roster: unknown kind %d", c.ID.Kind))
}

func (r *Roster) callShard(e *entry, t *task, deadline time.Duration, out *Effects) {
	r.calls[r.callFor(t, deadline, out)] = e
}

// callFor makes the call of a task's present step.
func (r *Roster) callFor(t *task, deadline time.Duration, out *Effects) CallID {
	id, role := t.cmd.ID, shard.Role(0)
	if t.step == CallAddShard {
		role = max(t.cmd.Role, shard.Primary)
	}
	t.call = r.call(Call{
		Kind: t.step, Shard: id.Shard, Order: id.Order, Role: role, Peer: t.cmd.Peer, Members: t.cmd.Members, Deadline: deadline,
	}, out)
	return t.call
}

func (r *Roster) call(c Call, out *Effects) CallID {
	r.last++
	c.ID, c.Host = r.last, r.app.HostAddress
	if c.Incarnation == 0 {
		c.Incarnation = r.saved.Incarnation
	}
	out.Calls = append(out.Calls, c)
	return c.ID
}

func (r *Roster) answer(id CommandID, status Status, why string, out *Effects) {
	r.send(out, Result{ID: id, Status: status, Err: why})
	weight := Detail
	if status == Stale || status == Failed {
		weight = Trouble
	}
	out.Trace = append(out.Trace, Decision{
		What:   [...]string{"", "add shard", "drop shard", "prepare add", "prepare drop", "cancel move", "update membership"}[id.Kind] + status.Suffix(),
		Weight: weight, Incarnation: id.Incarnation, Shard: id.Shard, Order: id.Order, Why: why,
	})
}

func (r *Roster) callDone(now shard.Instant, ev CallDone, out *Effects) {
	switch {
	case r.end.calling != 0 && ev.ID == r.end.calling:
		r.endAnswered(now, ev, out)
		return
	case r.loads.calling != 0 && ev.ID == r.loads.calling:
		r.loadsCollected(now, ev, out)
		return
	}
	e, ok := r.calls[ev.ID]
	if !ok { // of an incarnation that ended, or a membership
		r.membershipDone(ev, out)
		return
	}
	delete(r.calls, ev.ID)
	t := e.running
	if t.step == CallActivate && ev.Outcome == CallOK {
		t.step = CallAddShard
		e.held.Phase, e.held.Term, e.held.Peer, e.held.Activated = shard.Prepared, t.cmd.ID.Order.Term, shard.Peer{}, true
		e.under = t.cmd.ID.Order
		r.leaveMembership(e, out)
		r.callShard(e, t, max(r.left(t, now), time.Second), out)
		return
	}
	e.running = nil
	status := e.conclude(t, ev.Outcome)
	r.leaveMembership(e, out)
	r.answer(t.cmd.ID, status, ev.Err, out)
	r.advance(now, e, out)
	r.fill(now, out)
}

// conclude takes the application's answer in.
func (e *entry) conclude(t *task, outcome Outcome) Status {
	id := t.cmd.ID
	status := Failed
	switch outcome {
	case CallOK:
		status = Done
		e.settle(t)
	case CallStale:
		status = Stale
	case CallBusy:
		status = Busy
	case CallNotBegun:
		status = NotBegun
	case CallBegun:
		status = Begun
	case CallFailed:
	}
	switch {
	case id.Kind != CancelMove, status == NotBegun:
		e.last, e.outcome = id.Kind, status
	case e.last == CancelMove: // asked with a new order; a failed question may be asked again, one answered with begun is the application's to remember
		e.outcome = status
		if status == Begun {
			e.last = 0
		}
	}
	return status
}

// settle is the phase after a command that was done.
func (e *entry) settle(t *task) {
	term := t.cmd.ID.Order.Term
	if t.cmd.ID.Kind != CancelMove {
		e.under = t.cmd.ID.Order
	}
	switch t.cmd.ID.Kind {
	case PrepareAddShard:
		e.held.Phase, e.held.Term, e.held.Peer, e.held.Activated = shard.Prepared, term, t.cmd.Peer, false
	case PrepareDropShard:
		e.held.Phase, e.held.Peer = shard.Forwarding, t.cmd.Peer
	case AddShard:
		primary := t.cmd.Role != shard.Secondary
		e.held.Phase, e.held.Term, e.held.Peer, e.held.Activated = shard.Serving, term, shard.Peer{}, primary
		if !primary {
			e.held.Phase = shard.Following
		}
	case DropShard:
		e.held.Phase, e.held.Term, e.held.Peer, e.held.Activated = shard.None, 0, shard.Peer{}, false
	case CancelMove, UpdateMembership:
	}
}

// fill gives free places to the shards that wait.
func (r *Roster) fill(now shard.Instant, out *Effects) {
	for len(r.ready) > 0 && len(r.calls) < MaxRunning {
		e := r.shards[r.ready[0]]
		r.ready = r.ready[1:]
		e.waiting = false
		r.advance(now, e, out)
	}
}

// adopt takes over what the application says it holds: it is the authority, except for a shard with a call under way, whose answer will
// say. Orders only grow.
func (r *Roster) adopt(held []shard.Held) {
	for _, h := range held {
		e, ok := r.shards[h.Shard]
		if !ok {
			r.shards[h.Shard] = &entry{held: h}
			continue
		}
		if e.running != nil {
			continue
		}
		if h.Max.Compare(e.held.Max) < 0 {
			continue // told before what was done since
		}
		if h != e.held {
			e.held, e.under, e.last, e.outcome = h, shard.Order{}, 0, 0
		}
	}
}

// dropping reports that DropShard is on its way, or was taken last and failed: the application serves nothing of the shard any more.
func (e *entry) dropping() bool {
	tried := e.last == DropShard && (e.outcome == 0 || e.outcome == Failed)
	return tried || slices.ContainsFunc(e.tasks(), func(t *task) bool { return t.cmd.ID.Kind == DropShard })
}

// held lists every shard held or remembered, in the order of ids.
func (r *Roster) held() []shard.Held {
	list := make([]shard.Held, 0, len(r.shards))
	for _, id := range shard.SortedKeys(r.shards) {
		e, h := r.shards[id], r.shards[id].held
		if h.Phase == shard.Serving && e.dropping() {
			h = shard.Held{Shard: id, Phase: shard.None, Max: h.Max} // if an earlier stream asked for that, nobody will be told
		}
		list = append(list, h)
	}
	return list
}
