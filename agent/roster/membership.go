package roster

import (
	"fmt"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// lane is where the memberships of a shard go, past its other commands: a hand-over may wait for a write, which waits for a secondary that
// died, until the membership without that secondary has come through. Only the newest matters.
//
// Invariant: newest never goes down while the shard is held; running is at newest.
type lane struct {
	newest  shard.Order // that was taken; zero: none, or only the application remembers
	done    bool        // the newest was
	running *task
}

// writes reports whether the application has the right to write at term, or is being given it.
func (e *entry) writes(term shard.Term) bool {
	if (e.held.Phase == shard.Serving || e.held.Phase == shard.Prepared) && e.held.Term == term {
		return true
	}
	return e.held.Max.Term == term && (e.last == 0 || e.last == AddShard && e.outcome != Done)
}

// updateMembership passes a membership on at once, and lets go of the one under way. Whether it fits the application says itself, which
// alone knows what it was told with Activate.
func (r *Roster) updateMembership(c Command, out *Effects) {
	e, id := r.shards[c.ID.Shard], c.ID
	if e == nil || !e.writes(id.Order.Term) {
		r.answer(id, Stale, "the shard has no primary of that term here", out)
		return
	}
	l := &e.lane
	switch older := id.Order.Compare(l.newest); {
	case older < 0:
		r.answer(id, Stale, fmt.Sprintf("order %s is older than %s", id.Order, l.newest), out)
		return
	case older == 0 && l.running != nil:
		l.running.cmd.ID.Epoch, l.running.cmd.Stream = id.Epoch, c.Stream // its answer will carry the newer name
		return
	case older == 0 && l.done:
		r.answer(id, Done, "", out)
		return
	case l.running == nil && len(r.lanes) >= MaxMemberships:
		r.answer(id, Failed, fmt.Sprintf("%d memberships are under way already", MaxMemberships), out)
		return
	}
	r.endMembership(e, "a newer one has taken its place", out)
	deadline := c.Deadline
	if deadline <= 0 {
		deadline = r.settings.StepDeadline
	}
	l.newest, l.done, l.running = id.Order, false, &task{cmd: c, step: CallUpdateMembership}
	r.lanes[r.callFor(l.running, deadline, out)] = e
}

// endMembership gives up on the membership under way, if there is one.
func (r *Roster) endMembership(e *entry, why string, out *Effects) {
	t := e.lane.running
	if t == nil {
		return
	}
	delete(r.lanes, t.call)
	e.lane.running = nil
	out.Cancels = append(out.Cancels, t.call)
	r.answer(t.cmd.ID, Stale, why, out)
}

// leaveMembership ends what belongs to a term at which the application writes no more.
func (r *Roster) leaveMembership(e *entry, out *Effects) {
	if t := e.lane.running; t != nil && !e.writes(t.cmd.ID.Order.Term) {
		r.endMembership(e, "the shard is not primary at that term any more", out)
	}
	if e.held.Phase == shard.None && e.lane.running == nil {
		e.lane = lane{}
	}
}

func (r *Roster) membershipDone(ev CallDone, out *Effects) {
	e, ok := r.lanes[ev.ID]
	if !ok {
		return
	}
	delete(r.lanes, ev.ID)
	t := e.lane.running
	e.lane.running = nil
	status := Failed
	switch ev.Outcome {
	case CallOK:
		status, e.lane.done = Done, true
	case CallStale: // while it is given the right to write, it may have heard of the membership first: the leader asks again
		if !e.writes(t.cmd.ID.Order.Term) {
			status = Stale
		}
	case CallBusy, CallNotBegun, CallBegun, CallFailed:
	}
	r.answer(t.cmd.ID, status, ev.Err, out)
}
