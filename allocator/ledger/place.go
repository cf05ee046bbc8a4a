package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// requestPlans asks placement for what is due: at once for shards whose owner is gone, soon for the rest, never twice at a time.
func (l *Ledger) requestPlans() {
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		if a.plan.asked && l.after(a.plan.last, solvePatience) {
			a.plan.asked = false
			l.trace(Decision{What: "plan lost", App: name, Why: "placement did not answer in " + solvePatience.String()})
		}
		if !a.plan.asked && !a.removed && (l.emergency(a) || a.plan.due(l.now)) {
			l.requestPlan(a)
		}
	}
}

func (p *planning) due(now shard.Instant) bool {
	return !p.at.IsZero() && p.at.Passed(now) || !p.settled.IsZero() && p.settled.Passed(now)
}

// emergency reports whether unplaced shards can wait no longer. Those that never had an owner wait for servers that join together.
func (l *Ledger) emergency(a *app) bool {
	return len(a.unplaced) > 0 && a.plan.retry.Passed(l.now) && (a.lost > 0 || l.after(a.plan.joined, joinSettle))
}

func (l *Ledger) requestPlan(a *app) {
	in, targets := l.planInput(a)
	a.plan.at, a.plan.settled, a.plan.since = shard.Instant{}, shard.Instant{}, shard.Instant{}
	if targets == 0 {
		l.planFailed(a)
		return
	}
	a.plan.asked, a.plan.last = true, l.now
	l.out.Solve = append(l.out.Solve, in)
}

// planFailed backs off while unplaced shards find no target; a change of membership ends that.
func (l *Ledger) planFailed(a *app) {
	a.plan.failures++
	a.plan.retry = l.now.Add(backoff(a.plan.failures + 1))
}

// planInput is the app as placement sees it, changes under way included. This is the one step whose cost grows with the app.
func (l *Ledger) planInput(a *app) (placement.Input, int) {
	in := placement.Input{App: a.spec.Name, Shards: make([]placement.Shard, len(a.rows)), Policy: a.policy()}
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
			Capacity: s.info.Capacity, Accepts: ok, Leaving: f.draining(), Moves: f.moves})
	}
	replicas := make([]placement.Replica, 0, len(in.Shards)) // one piece of memory for all of them
	for i := range in.Shards {
		first := len(replicas)
		in.Shards[i], replicas = l.planShard(a, shard.Index(i), places, replicas)
		in.Shards[i].Replicas = replicas[first:len(replicas):len(replicas)]
	}
	return in, targets
}

// planShard is one shard but for its replicas, which it appends to a list.
func (l *Ledger) planShard(a *app, at shard.Index, places map[*life]int, replicas []placement.Replica) (placement.Shard, []placement.Replica) {
	row, pending := a.rows[at], false
	if next, ok := a.staged[at]; ok {
		row, pending = next, true
	}
	sh := placement.Shard{Index: at, ID: a.id(at), Load: a.load(at), Avoid: a.avoided(at, l.now)}
	lost, free := a.unplaced[at]
	if free {
		sh.Urgent = lost
		return sh, replicas
	}
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
	sh.Pinned = pending || row.Open != nil || !primary.Settled
	return sh, append(replicas, primary)
}

func (a *app) avoided(at shard.Index, now shard.Instant) []shard.ServerID {
	if len(a.avoid[at]) == 0 {
		return nil
	}
	var list []shard.ServerID
	for _, id := range shard.SortedKeys(a.avoid[at]) {
		if a.avoid[at][id].Passed(now) {
			delete(a.avoid[at], id)
			continue
		}
		list = append(list, id)
	}
	if len(list) == 0 {
		delete(a.avoid, at)
	}
	return list
}

// policy is what the app's spec says, with the defaults filled in.
func (a *app) policy() placement.Policy {
	or := func(n, otherwise int) int {
		if n == 0 {
			return otherwise
		}
		return n
	}
	return placement.Policy{Replicas: 1, Primary: true, Moves: or(a.spec.MaxMoves, 64), MovesPerServer: or(a.spec.MaxMovesServer, 8),
		TolerancePercent: or(a.spec.TolerancePercent, 10)}
}

// planReady checks every proposal again and stages those that still hold.
func (l *Ledger) planReady(ev PlanReady) {
	a := l.apps[ev.Plan.App]
	if a == nil || !a.plan.asked {
		return
	}
	a.plan.asked, a.plan.capped = false, false
	why := make(map[shard.Index]string, len(ev.Plan.Decisions))
	for _, d := range ev.Plan.Decisions {
		why[d.Shard] = d.Why
		if d.To == "" && d.Binds != "" && a.plan.failures == 0 {
			l.trace(Decision{What: "not moved", App: a.spec.Name, Shard: l.shardID(a, d.Shard), Server: d.From, Why: d.Binds + ": " + d.Why})
		}
	}
	opened := 0
	for _, m := range ev.Plan.Moves {
		if int(m.Shard) < len(a.rows) && l.propose(a, m, why[m.Shard]) {
			opened++
		}
	}
	if opened > 0 {
		a.plan.failures = 0
		a.want(l.now, solvePause)
	}
	if len(a.unplaced) > 0 {
		l.planFailed(a)
	}
}

func (l *Ledger) shardID(a *app, at shard.Index) shard.ID {
	if int(at) < len(a.ids) {
		return a.ids[at]
	}
	return ""
}

// propose stages one proposal if it holds now: the target takes shards, and the shard is free (PROTOCOL R11) or its owner serves it.
func (l *Ledger) propose(a *app, m placement.Move, why string) bool {
	s := l.servers[m.To]
	if s == nil {
		return false
	}
	to := s.present()
	if to == nil || to.app != a.spec.Name || !l.accepts(to) {
		return false
	}
	if _, pending := a.staged[m.Shard]; pending {
		return false
	}
	t := &task{l, a, m.Shard, &a.rows[m.Shard], a.work[m.Shard]}
	switch m.Kind {
	case placement.Grant:
		return t.proposeGrant(to, m, why)
	case placement.Migrate:
		return t.proposeMigrate(to, m, why)
	case placement.Add, placement.Drop, placement.Promote: // no app has secondaries yet
	}
	return false
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

func (t *task) proposeMigrate(to *life, m placement.Move, why string) bool {
	if _, free := t.a.unplaced[t.at]; free {
		return false
	}
	from := t.known(t.row.Primary)
	if !t.w.settled() || t.row.Open != nil || from == nil || from == to || from.Server != m.From || !from.attached() || !from.alive() {
		return false
	}
	limits := t.a.policy()
	if t.a.moves >= limits.Moves || from.moves >= limits.MovesPerServer || to.moves >= limits.MovesPerServer {
		t.a.plan.capped = true
		return false
	}
	t.open(from, to, m.Reason, why)
	return true
}
