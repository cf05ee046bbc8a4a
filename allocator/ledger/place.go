package ledger

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// requestPlans asks placement for what is due: at once for shards whose owner is gone, soon for the rest, never twice at a time.
func (l *Ledger) requestPlans() {
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		if a.plan.Asked && l.after(a.plan.Last, solvePatience) {
			a.plan.Asked = false
			l.trace(Decision{What: "plan lost", App: name, Why: "placement did not answer in " + solvePatience.String()})
		}
		if !a.plan.Asked && !a.removed && (l.emergency(a) || a.plan.Due(l.now)) {
			l.requestPlan(a)
		}
	}
}

// emergency reports whether unplaced shards can wait no longer. Those that never had an owner wait for servers that join together.
func (l *Ledger) emergency(a *app) bool {
	return len(a.unplaced) > 0 && a.plan.Retry.Passed(l.now) && (a.lost > 0 || l.after(a.plan.Joined, joinSettle))
}

func (l *Ledger) requestPlan(a *app) {
	in, targets := l.planInput(a)
	l.scale(a, &in)
	a.plan.Begin()
	if targets == 0 {
		l.planFailed(a)
		return
	}
	a.plan.Asked, a.plan.Last = true, l.now
	l.out.Solve = append(l.out.Solve, in)
}

// planFailed backs off while unplaced shards find no target; a change of membership ends that.
func (l *Ledger) planFailed(a *app) {
	a.plan.Failures++
	a.plan.Retry = l.now.Add(timing.Backoff(a.plan.Failures + 1))
}

// planInput is the app as placement sees it, changes under way included. This is the one step whose cost grows with the app.
func (l *Ledger) planInput(a *app) (placement.Input, int) {
	in := placement.Input{App: a.spec.Name, Shards: make([]placement.Shard, len(a.rows)), Policy: a.spec.Policy(), Still: l.events.Underway(a.spec.Name)}
	places := map[*life]int{}
	targets := 0
	for _, id := range l.order {
		s := l.servers[id]
		f := s.present()
		if f == nil || f.app != a.spec.Name {
			continue
		}
		ok := l.accepts(f)
		if ok {
			targets++
		}
		places[f] = len(in.Servers)
		in.Servers = append(in.Servers, placement.Server{ID: id, Incarnation: f.Incarnation, Locality: s.info.Locality,
			Capacity: s.info.Capacity, Labels: s.info.Labels, Accepts: ok, Leaving: f.draining() || f.work == event.All, Demotes: f.work == event.Demote, Yields: f.work == event.Primaries,
			Planned: l.events.Planned(id), Moves: f.moves})
	}
	replicas := make([]placement.Replica, 0, len(in.Shards)*in.Policy.Replicas) // one piece of memory for all of them
	a.plan.Missing = 0
	for i := range in.Shards {
		first := len(replicas)
		in.Shards[i], replicas = l.planShard(a, shard.Index(i), places, replicas)
		in.Shards[i].Replicas = replicas[first:len(replicas):len(replicas)]
		if len(in.Shards[i].Replicas) < a.replicas(shard.Index(i)) && !in.Shards[i].Backoff {
			a.plan.Missing++
		}
	}
	return in, targets
}

// planShard is one shard but for its replicas, which it appends to a list.
func (l *Ledger) planShard(a *app, at shard.Index, places map[*life]int, replicas []placement.Replica) (placement.Shard, []placement.Replica) {
	row, pending := a.rows[at], false
	if next, ok := a.staged[at]; ok {
		next.Primary = cmp.Or(next.Primary, row.Primary) // given back: its room is free once that is durable, or a new leader might find both there (PROTOCOL R24)
		row, pending = next, true
	}
	sh := placement.Shard{Index: at, ID: a.id(at), Load: a.loads.Of(at), Avoid: a.avoid.Of(at, l.now), Left: a.left.Of(at, l.now), Wanted: a.scaler.Wanted(at, 0), Backoff: l.keeper.Quarantined(a.spec.Name, at) != ""}
	lost, free := a.unplaced[at]
	if row.ID == "" && a.spec.Space.Named || row.Deleting {
		sh.Backoff, sh.Pinned = true, true // nothing to place
		return sh, replicas
	}
	sh.Urgent, sh.Pinned = lost, !free && (pending || row.Open != nil)
	first := len(replicas)
	if a.spec.Replication.Primaries() && !free {
		primary := l.planPrimary(a, at, &row, places)
		sh.Pinned = sh.Pinned || !primary.Settled
		replicas = append(replicas, primary)
	}
	replicas = l.planSecondaries(&row, places, replicas, first)
	return sh, l.planCopies(&row, places, replicas, first)
}

func (l *Ledger) planPrimary(a *app, at shard.Index, row *Row, places map[*life]int) placement.Replica {
	owner, primary := l.known(row.Primary), placement.Replica{On: -1, To: -1, Role: shard.Primary}
	if on, ok := places[owner]; ok {
		primary.On = on
	}
	if row.Open != nil && row.Open.Phase == Opened {
		if to, ok := places[l.known(row.Open.To)]; ok {
			primary.To = to
		}
	}
	primary.Settled = primary.On >= 0 && a.work[at].settled() && owner.attached() && owner.alive()
	return primary
}

// planSecondaries appends the secondaries of a row to its primary, which stands at first, if there is one. A newcomer that replaces
// somebody is where that replica moves to.
func (l *Ledger) planSecondaries(row *Row, places map[*life]int, replicas []placement.Replica, first int) []placement.Replica {
	place := func(o Owner) int {
		if on, ok := places[l.known(o)]; ok {
			return on
		}
		return -1
	}
	replaces := func(s *Secondary) bool {
		return s.Replaces.Incarnation != 0 && (s.Replaces == row.Primary || row.SecondaryOf(s.Replaces) != nil)
	}
	at := make(map[Owner]int, len(row.Secondaries))
	if len(replicas) > first {
		at[row.Primary] = first
	}
	for i := range row.Secondaries {
		s := &row.Secondaries[i]
		if replaces(s) || row.Open != nil && row.Open.Phase == Opened && row.Open.To == s.Owner {
			continue
		}
		f := l.known(s.Owner)
		at[s.Owner] = len(replicas)
		replicas = append(replicas, placement.Replica{On: place(s.Owner), To: -1, Role: shard.Secondary, Leaving: s.State == Leaving,
			Settled: s.State == InSync && f.attached() && f.alive()})
	}
	for i := range row.Secondaries {
		if s := &row.Secondaries[i]; replaces(s) {
			if k, ok := at[s.Replaces]; ok {
				replicas[k].To = place(s.Owner)
			}
		}
	}
	return replicas
}

// planCopies appends the copy of a move that is neither its primary nor one to be, and is there until the move is done: of the source that
// forwards still, or of a target that is given up. It is charged (promise 5).
func (l *Ledger) planCopies(row *Row, places map[*life]int, replicas []placement.Replica, first int) []placement.Replica {
	on, ok := places[l.known(row.Beside())]
	if !ok || slices.ContainsFunc(replicas[first:], func(r placement.Replica) bool { return r.On == on || r.To == on }) {
		return replicas
	}
	return append(replicas, placement.Replica{On: on, To: -1, Role: shard.Secondary, Leaving: true})
}

// planReady checks every proposal again and stages those that still hold.
func (l *Ledger) planReady(ev PlanReady) {
	a := l.apps[ev.Plan.App]
	if a == nil || !a.plan.Asked {
		return
	}
	a.plan.Made(l.now)
	a.plan.Moves, a.plan.AtServer = ev.Plan.MostMoves, ev.Plan.MostPerServer
	if notes := strings.Join(ev.Plan.Notes, "; "); notes != a.plan.Notes {
		a.plan.Notes = notes
		l.trace(Decision{What: "notes of placement", App: a.spec.Name, Why: notes})
	}
	why := make(map[placement.Move]string, len(ev.Plan.Decisions))
	for _, d := range ev.Plan.Decisions {
		why[placement.Move{Shard: d.Shard, Kind: d.Kind, From: d.From, To: d.To, Reason: d.Reason}] = d.Why
		if d.To == "" && d.Binds != "" && a.plan.Failures == 0 && int(d.Shard) < len(a.ids) {
			l.trace(Decision{What: "not moved", App: a.spec.Name, Shard: a.id(d.Shard), Server: d.From, Why: d.Binds + ": " + d.Why})
		}
	}
	opened, postponed := 0, false
	for rest := ev.Plan.Moves; len(rest) > 0; {
		moves := together(rest)
		rest = rest[len(moves):]
		if at := moves[0].Shard; int(at) >= len(a.rows) {
			continue
		} else if _, pending := a.staged[at]; pending {
			postponed = true // one change of a row at a time
			continue
		}
		if l.propose(a, moves, why) {
			opened++
			if m := moves[0]; m.Kind == placement.Migrate && m.Reason == placement.Balance {
				a.left.Keep(m.Shard, m.From, l.now.Add(timing.NoReturn))
			}
		}
	}
	if opened > 0 {
		a.plan.Failures = 0
		a.plan.Want(l.now, timing.SolvePause)
	}
	if postponed {
		a.plan.Want(l.now, solveSoon)
	}
	if a.plan.Missing > 0 {
		a.plan.Want(l.now, solveMissing) // a server may be avoided no longer, or have room
	}
	if a.scaler.Pending() {
		a.plan.Want(l.now, timing.SolvePause) // a cooldown ends
	}
	if len(a.unplaced) > 0 {
		l.planFailed(a)
	}
}

// together is the first move of a list, with those after it that are made with the same change: secondaries that a shard lacks.
func together(list []placement.Move) []placement.Move {
	n := 1
	for first := list[0]; first.Kind == placement.Add && n < len(list) && list[n].Kind == placement.Add && list[n].Shard == first.Shard; {
		n++
	}
	return list[:n]
}

// propose stages one proposal, or several that go together, if they hold now.
func (l *Ledger) propose(a *app, moves []placement.Move, reasons map[placement.Move]string) bool {
	m := moves[0]
	why := reasons[m]
	t := &task{l, a, m.Shard, &a.rows[m.Shard], a.work[m.Shard]}
	if m.Kind != placement.Drop && l.keeper.Quarantined(a.spec.Name, m.Shard) != "" {
		return false
	}
	switch m.Kind {
	case placement.Grant:
		to := t.target(m.To)
		return to != nil && t.proposeGrant(to, m, why)
	case placement.Migrate:
		to := t.target(m.To)
		return to != nil && t.proposeMigrate(to, m, why)
	case placement.Add:
		return t.proposeAdds(moves, reasons)
	case placement.Drop:
		return t.proposeDrop(m, why)
	case placement.Promote:
		return t.proposePromote(m, why)
	}
	return false
}

// target is the server of a proposal, if it takes shards of the app; nil: it does not.
func (t *task) target(id shard.ServerID) *life {
	s := t.servers[id]
	if s == nil {
		return nil
	}
	to := s.present()
	if to == nil || to.app != t.a.spec.Name || !t.accepts(to) {
		return nil
	}
	return to
}

func (t *task) proposeGrant(to *life, m placement.Move, why string) bool {
	lost, free := t.a.unplaced[t.at]
	if !free || !t.mayGrant() {
		return false
	}
	h := lazy
	if lost {
		h = urgent
	}
	t.grant(to, m.Reason, h, why)
	return true
}

// proposeMigrate moves a replica. Where there are secondaries a newcomer is brought in sync first, and then takes its place.
func (t *task) proposeMigrate(to *life, m placement.Move, why string) bool {
	if _, free := t.a.unplaced[t.at]; free {
		return false
	}
	if t.a.spec.Replication.Secondaries() {
		for _, o := range t.row.Owners() {
			if o.Server == m.From && o.Incarnation != 0 {
				return t.proposeReplacement(to, o, m, why)
			}
		}
		return false
	}
	from := t.known(t.row.Primary)
	if !t.canHandOver(from, to) || from.Server != m.From || !t.underCaps(from, to) {
		return false
	}
	t.open(from, to, m.Reason, why, false)
	return true
}

// canHandOver reports whether the primary serves and both ends of a move are there.
func (t *task) canHandOver(from, to *life) bool {
	return t.w.settled() && t.row.Open == nil && from != nil && from != to && from.attached() && from.alive()
}

// underCaps reports whether one more move between two servers is allowed now; either may be nil.
func (t *task) underCaps(ends ...*life) bool {
	limits, plan := t.a.spec.Policy(), &t.a.plan
	if plan.Moves > 0 { // policies may say less than the spec
		limits.Moves, limits.MovesPerServer = min(limits.Moves, plan.Moves), min(limits.MovesPerServer, plan.AtServer)
	}
	full := t.a.moves >= limits.Moves
	for _, f := range ends {
		full = full || f != nil && f.moves >= limits.MovesPerServer
	}
	if full {
		t.a.plan.Capped = true
	}
	return !full
}

// mayJoin reports whether a secondary may be added now: there is somebody to follow, who does not change.
func (t *task) mayJoin() bool {
	spec := t.a.spec.Replication
	return spec.Secondaries() && t.row.Open == nil && (!spec.Primaries() || t.w.settled() && !t.known(t.row.Primary).gone())
}

// proposeAdds adds the secondaries that are missing, with one change, so that none waits for another. They are as urgent as a primary that is
// missing: caps are for moves of what is there.
func (t *task) proposeAdds(adds []placement.Move, why map[placement.Move]string) bool {
	if !t.mayJoin() {
		return false
	}
	e := t.edit()
	for _, m := range adds {
		if to := t.target(m.To); to != nil && (!t.grows() || len(e.why) == 0 && t.underCaps(to)) {
			e.join(to.Owner, Owner{}, why[m])
		}
	}
	return t.stageJoins(e, adds[0].Reason)
}

// proposeReplacement adds a secondary that takes the place of a replica once it is in sync.
func (t *task) proposeReplacement(to *life, of Owner, m placement.Move, why string) bool {
	if !t.mayJoin() || slices.Contains(t.row.Owners(), to.Owner) || !t.underCaps(t.known(of), to) {
		return false
	}
	e := t.edit()
	e.join(to.Owner, of, why)
	return t.stageJoins(e, m.Reason)
}

func (t *task) stageJoins(e *edit, reason placement.Reason) bool {
	if len(e.why) == 0 {
		return false
	}
	t.settledWork(t.a, t.at).reason = reason
	return e.stage()
}

// proposeDrop takes a secondary away that is one too many, or in the wrong place.
func (t *task) proposeDrop(m placement.Move, why string) bool {
	if t.row.Open != nil {
		return false
	}
	for _, s := range t.row.Secondaries {
		if s.Server == m.From && s.State != Leaving {
			e := t.edit()
			e.set(s.Owner, Leaving, "secondary to leave", why, lazy)
			return e.stage()
		}
	}
	return false
}

// proposePromote switches the primary role to a secondary that is in sync; who had it becomes a secondary.
func (t *task) proposePromote(m placement.Move, why string) bool {
	from := t.known(t.row.Primary)
	for _, s := range t.row.Secondaries {
		to := t.known(s.Owner)
		if s.Server != m.To || s.State != InSync || !t.canHandOver(from, to) || !to.attached() || !to.alive() || !t.underCaps(from, to) {
			continue
		}
		t.open(from, to, m.Reason, why, true)
		return true
	}
	return false
}
