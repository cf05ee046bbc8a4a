package roster

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// drain is the wish to lose every shard; it ends with the incarnation. It may be asked for before the incarnation is live: the leader hears of it when
// the server attaches.
type drain struct {
	on    bool
	known bool // the leader has said what is left
	left  int
}

func (r *Roster) drainAsked(ev Drain, out *Effects) {
	if r.life == Waiting || r.life == Ending || r.drain.on == ev.On {
		return
	}
	r.drain = drain{on: ev.On}
	r.trace(out, Notable, map[bool]string{true: "drain asked for", false: "drain taken back"}[ev.On], "")
	r.send(out, DrainRequested(ev))
}

func (r *Roster) drainProgress(ev DrainProgress, out *Effects) {
	if !r.drain.on || !r.link.up || ev.Stream != r.link.stream {
		return
	}
	if r.drain.known && r.drain.left == ev.Remaining {
		return
	}
	r.drain.known, r.drain.left = true, ev.Remaining
	r.trace(out, Detail, "drain progress", "")
}

// rest is a planned restart of the agent on its way (R19): a long lease is asked for, then the application must pull it.
type rest struct {
	request RequestID
	asked   question
	until   shard.Instant
	granted bool
}

func (r *Roster) restAsked(now shard.Instant, ev Rest, out *Effects) {
	switch {
	case r.life == Waiting || r.life == Resuming:
		out.Replies = append(out.Replies, Reply{Request: ev.Request, Remaining: MaxRest}) // nothing of ours serves
		return
	case r.life != Live:
		out.Replies = append(out.Replies, Reply{Request: ev.Request, Refusal: RefusedRest, Why: "the server is " + r.life.String()})
		return
	case !r.link.up && r.lease.remaining(now) < r.validity()/2:
		why := "no leader is attached, and what is left of the lease, " + r.lease.remaining(now).String() + ", is too short for a restart: ask again"
		out.Replies = append(out.Replies, Reply{Request: ev.Request, Refusal: RefusedRest, Why: why})
		return
	}
	r.restRefused("asked for again", out)
	if !r.link.up { // nobody can make the lease longer: the one that there is must do
		r.rest = rest{request: ev.Request, until: now.Add(r.settings.RestWait), granted: true}
		out.Hints = append(out.Hints, HintPull)
		return
	}
	length := ev.Length
	if length <= 0 || length > MaxRest {
		length = MaxRest
	}
	r.link.sequence++
	r.rest = rest{
		request: ev.Request, asked: question{sequence: r.link.sequence, asked: now}, until: now.Add(r.settings.RestWait),
	}
	r.send(out, RestRequested{Sequence: r.link.sequence, Length: length})
}

func (r *Roster) restGranted(now shard.Instant, ev RestGranted, out *Effects) {
	if r.rest.request == 0 || r.rest.granted || !r.link.up || ev.Stream != r.link.stream || ev.Sequence != r.rest.asked.sequence {
		return
	}
	if ev.Remaining <= 0 {
		r.restRefused("the leader grants no rest lease now", out)
		return
	}
	r.vouched(now, r.rest.asked.asked, ev.Remaining, ByLeader, out)
	r.rest.granted, r.rest.until = true, now.Add(r.settings.RestWait)
	r.trace(out, Notable, "rest lease granted", ev.Remaining.String())
	out.Hints = append(out.Hints, HintPull)
}

// restPulled: the application knows its long lease.
func (r *Roster) restPulled(now shard.Instant, out *Effects) {
	if r.rest.granted {
		r.restDone(now, out)
	}
}

func (r *Roster) restDone(now shard.Instant, out *Effects) {
	out.Replies = append(out.Replies, Reply{Request: r.rest.request, Remaining: r.lease.remaining(now)})
	r.rest = rest{}
}

func (r *Roster) restRefused(why string, out *Effects) {
	if r.rest.request != 0 {
		out.Replies = append(out.Replies, Reply{Request: r.rest.request, Refusal: RefusedRest, Why: why})
		r.rest = rest{}
	}
}

func (r *Roster) tickRest(now shard.Instant, out *Effects) {
	if r.rest.request == 0 || !due(r.rest.until, now) {
		return
	}
	if r.rest.granted { // it is not pulled: the application serves on with the lease it knows
		r.trace(out, Trouble, "rest lease not pulled", "the application did not ask in time")
		r.restDone(now, out)
		return
	}
	r.restRefused("the leader did not answer in time", out)
}

// loads is what the application measures and the leader has not heard yet.
type loads struct {
	at      shard.Instant
	calling CallID
	load.Changes
}

func newLoads() loads { return loads{Changes: load.NewChanges()} }

func (l *loads) take() (list []ShardLoad) {
	l.Take(func(id shard.ID, measured map[string]int64) {
		list = append(list, ShardLoad{Shard: id, Load: measured})
	})
	return list
}

func (r *Roster) tickLoads(now shard.Instant, out *Effects) {
	l := &r.loads
	if !r.app.Load || len(r.shards) == 0 || l.calling != 0 || (!l.at.IsZero() && !l.at.Passed(now)) {
		return
	}
	l.at = now.Add(r.settings.LoadInterval)
	l.calling = r.call(Call{Kind: CallCollectLoad, Deadline: min(r.settings.LoadInterval, 2*time.Second)}, out)
}

// loadsCollected keeps the loads of shards that are here, and forgets the others. The first ones are told at once: an agent that was replaced
// has forgotten what its predecessor told, and the leader may be about to even out by loads of long ago.
func (r *Roster) loadsCollected(now shard.Instant, ev CallDone, out *Effects) {
	l := &r.loads
	l.calling = 0
	if ev.Outcome != CallOK {
		r.trace(out, Detail, "loads not collected", ev.Err)
		return
	}
	here := make(map[shard.ID]map[string]int64, len(ev.Loads))
	for _, measured := range ev.Loads {
		if _, ok := r.shards[measured.Shard]; ok {
			here[measured.Shard] = measured.Load
		}
	}
	first := l.Empty()
	l.Measured(here)
	if first && !l.Empty() {
		r.link.renewAt = now
	}
}
