package placement

import (
	"fmt"
	"math"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/goals"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Bounds of the effort of one plan, in steps of the engine; what is left is done by the next solve.
const (
	maxSteps       = 4_000_000
	maxUrgentSteps = 400_000 // where the plan fills up what is missing, and is waited for
)

// evening gathers what may move, and where to, and carries out what the engine finds.
type evening struct {
	*state
	task    goals.Task
	servers []int   // positions of those in the task, in its order
	at      []int32 // their order, by position; -1: not in the task
	refs    []ref   // replicas of the task
	urgent  bool    // the plan gives lost primaries a place, and is waited for
}

// even lets the engine serve the goals of policies, balance what loads servers, and relieve those that have more than they can take.
func (s *state) even() {
	e := s.gathered()
	if len(e.refs) == 0 {
		return
	}
	steps := int64(maxSteps)
	if s.filled {
		steps = maxUrgentSteps
	}
	found, err := e.task.Solve(steps)
	if withdrawn := e.carryOut(found); withdrawn && !s.failsOver() { // nothing permits what the rest stood still for
		s.forget()
		s.even()
		return
	}
	if err != nil {
		s.plan.Notes = append(s.plan.Notes, "not balanced: "+err.Error())
	}
	e.later(found)
	e.unrepaired(found)
}

// failsOver reports whether the plan gives a lost primary a place.
func (s *state) failsOver() bool {
	return slices.ContainsFunc(s.plan.Moves, func(m Move) bool { return m.Reason == Failover && m.Kind != 0 })
}

// gathered states what the engine is to solve.
func (s *state) gathered() *evening {
	e := &evening{state: s, at: make([]int32, len(s.in.Servers)), urgent: s.failsOver()}
	e.task = goals.Task{Average: s.average, Tolerance: int64(s.in.Policy.TolerancePercent), Tie: -1, Moves: atMost(s.in.Policy.Moves - s.open), Terms: s.in.Terms,
		Latency: s.in.Apart}
	for m := range s.metrics.Len() {
		e.task.Metrics = append(e.task.Metrics, s.metrics.Name(m))
	}
	if s.promoted(s.primaries) {
		e.task.Tie = s.primaries
	}
	for i, server := range s.in.Servers {
		e.at[i] = -1
		if server.Accepts || s.in.Terms != nil {
			e.at[i] = int32(len(e.servers))
			e.servers = append(e.servers, i)
			e.task.Servers = append(e.task.Servers, goals.Server{Position: i, Region: server.Locality.Region, InRegion: s.where.InRegion[i], Rank: s.where.Rank(i),
				Accepts: server.Accepts, Capacity: s.capacity[i], Charged: s.charged[i], Settled: s.settled[i], Share: s.share[i],
				Moves: atMost(s.in.Policy.MovesPerServer - s.moves[i])})
		}
	}
	for width := locality.Host; width <= locality.Region; width++ {
		level := make([]int32, len(e.servers))
		for t, server := range e.servers {
			level[t] = int32(s.where.Domains[width][server].From)
		}
		e.task.Domains = append(e.task.Domains, level)
	}
	for i := range s.in.Shards {
		e.gather(i)
	}
	return e
}

func atMost(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// tolerance is by how much relative loads may differ.
func (s *state) tolerance() int64 { return load.MulDiv(fair, int64(s.in.Policy.TolerancePercent), 100) }

// overfull reports whether a server that accepts has more of a metric than it can take.
func (s *state) overfull(server int) bool {
	for m, used := range s.settled[server] {
		if used > s.capacity[server][m] && s.in.Servers[server].Accepts {
			return true
		}
	}
	return false
}

// promoted reports whether a metric is balanced by promotions instead of moves.
func (s *state) promoted(m int) bool { return m >= 0 && m == s.primaries && s.in.Policy.Replicas > 1 }

// group is the servers among which a metric is balanced: those with one rank where it follows the primaries, else all.
func (s *state) group(server, metric int) int {
	if s.follows(metric) {
		return s.where.Rank(server)
	}
	return len(s.where.Ranks)
}

// gather lists the replicas of a shard: one of each shard at most moves, and shards that are changing stay as they are. Additions of this plan may
// go elsewhere; where a lost primary waits for the plan, nothing else does. Without policies, what stays is no more than a load.
func (e *evening) gather(i int) {
	changing := len(e.in.Shards[i].Avoid) > 0 || slices.ContainsFunc(e.replicas[i], e.changing)
	adds := slices.ContainsFunc(e.replicas[i], func(r replica) bool { return r.added() })
	stays := changing && !e.choosy(i) || !adds && (e.urgent || e.planned || e.full() || e.restless(i))
	if stays && e.in.Terms == nil {
		return
	}
	group := int32(e.task.Groups)
	for _, k := range e.primaryLast(i) {
		r := e.replicas[i][k]
		if r.leaving || r.at < 0 || e.at[r.at] < 0 {
			continue
		}
		leaves := e.choosy(i) && r.on == r.at && e.in.Servers[r.on].Leaving
		stuck := !r.movable() || !leaves && !e.in.Servers[r.on].Accepts
		e.refs = append(e.refs, ref{i, k})
		e.task.Replicas = append(e.task.Replicas, goals.Replica{Group: group, Shard: i, At: e.at[r.at], Now: e.now(r), Class: e.task.Class(e.confines(i, k)), Load: e.load(i, r.role),
			Primary: r.role == shard.Primary, Ranked: e.choosy(i) && r.role == shard.Primary && len(e.where.Ranks) > 0, Added: r.added(), Free: r.added() && e.choosy(i), Leaves: leaves,
			Pinned: stays || !r.added() && (adds || stuck || e.pinnedAt(i, r.on))})
		e.task.Groups = int(group) + 1
	}
	if e.task.Groups == int(group) {
		return
	}
	if e.choosy(i) { // what is added has no place yet, so that no number of domains keeps it apart
		e.task.Spreads = append(e.task.Spreads, goals.Spread{Group: int(group), Width: e.width(i), Max: 1})
	}
	if !changing {
		e.stateApart(i, int(group))
	}
}

// now is where a replica is, in the order of the task.
func (e *evening) now(r replica) int32 {
	if r.on < 0 {
		return -1
	}
	return e.at[r.on]
}

// changing reports whether a replica is about to be elsewhere, or gone, so that its shard is left alone.
func (e *evening) changing(r replica) bool {
	return r.leaving || r.at < 0 || e.at[r.at] < 0 || !e.in.Servers[r.at].Accepts || !r.added() && r.at != r.on
}

// confines are where a replica may be: in its region, if that needs it, a primary nowhere less preferred, and none where it is not wanted.
func (e *evening) confines(i, k int) goals.Confines {
	rep := &e.replicas[i][k]
	c := goals.Confines{Region: -1, Rank: -1, Terms: e.class(i), Pin: -1, Left: -1}
	if !e.spare(i, k) {
		c.Region = e.where.InRegion[rep.at]
	}
	if rep.role == shard.Primary && len(e.where.Ranks) > 0 && !e.choosy(i) {
		c.Rank, c.Exact = e.where.Rank(rep.at), e.in.Policy.Replicas <= 1
	}
	if left := e.unwanted(i, k); len(left) > 0 {
		c.Left = len(e.task.Left)
		e.task.Left = append(e.task.Left, left)
	}
	if e.pinnedAt(i, rep.at) && rep.added() {
		c.Pin = rep.at
	}
	return c
}

// unwanted are the servers that a replica of a shard does not go to: those that another one is about to leave (and, until it has, those near to it), where
// callbacks for the shard failed lately and, unless its own server has more than it can take, that the shard left lately.
func (e *evening) unwanted(i, k int) (list []int32) {
	sh, at := &e.in.Shards[i], e.replicas[i][k].at
	if e.replicas[i][k].added() {
		at = -1 // it is not there yet
	}
	for other, r := range e.replicas[i] {
		switch {
		case other == k || r.on < 0 || r.on == at || r.on == r.at && !r.leaving:
		case r.leaving:
			list = append(list, int32(r.on))
		default:
			list = append(list, e.where.Beside(r.on, e.width(i))...)
		}
	}
	if len(sh.Left)+len(sh.Avoid) == 0 {
		return list
	}
	settles := !e.overfull(e.replicas[i][k].at)
	for server := range e.in.Servers {
		id := e.serverID(server)
		if server != at && (slices.Contains(sh.Avoid, id) || settles && slices.Contains(sh.Left, id)) {
			list = append(list, int32(server))
		}
	}
	return list
}

// stateApart wants the replicas of a shard in as many domains as there are, and keeps those that they have: of the widest width at which each has
// its own, which says it of all narrower ones, and of those wider.
func (e *evening) stateApart(i, group int) {
	if len(e.replicas[i]) < 2 {
		return
	}
	count := e.count(i)
	for width := locality.Region; width >= locality.Host; width-- {
		a := goals.Spread{Group: group, Width: width, Min: e.distinct(i, width), Want: min(count, e.where.Open[width])}
		if width <= e.width(i) {
			a.Max, a.Want = 1, 0
		}
		e.task.Spreads = append(e.task.Spreads, a)
		if a.Min == count || a.Max == 1 {
			return
		}
	}
}

// carryOut proposes what the engine found, and reports whether something was withdrawn that nothing permits.
func (e *evening) carryOut(found *goals.Outcome) (withdrawn bool) {
	for _, r := range found.Order {
		i, k, t := e.refs[r].i, e.refs[r].k, found.Places[r]
		added, from := e.replicas[i][k].added(), e.replicas[i][k].at
		switch {
		case t == problem.Unplaced && added:
			binds, why := found.Nowhere(int(r))
			e.withdraw(i, k, binds, why)
			withdrawn = withdrawn || binds != goals.Capped // else it only waits for room
			continue
		case t == e.task.Replicas[r].At || from < 0 || !added && e.crowds(i, k, e.servers[t]):
			continue
		}
		to := e.servers[t]
		c := e.worst(from, to, i, k)
		high, low := e.relative(from, c), e.relative(to, c)
		if added {
			e.retarget(i, k, to)
			e.plan.Decisions[e.replicas[i][k].decision].Why = fmt.Sprintf("%s keeps the balance of %s: %d %% of its fair share before",
				e.serverID(to), e.metrics.Name(c), percent(low))
			continue
		}
		reason, why := e.reason(found, int(r), from)
		e.migrate(i, k, to, reason, why)
		if why == "" {
			e.plan.Decisions[e.replicas[i][k].decision].Why = e.whyBalance(c, from, to, high, low)
		}
	}
	return withdrawn
}

// later says what waits for the moves of this plan, and what can be done in no order.
func (e *evening) later(found *goals.Outcome) {
	for _, w := range found.Waiting {
		e.wait(found, w)
	}
	for _, w := range found.Blocked {
		id := e.in.Shards[e.refs[w.Replica].i].ID
		e.plan.Notes = append(e.plan.Notes, fmt.Sprintf("shard %s cannot go from %s to %s, as no spare place makes room: %s", id, e.name(w.From), e.name(w.To), w.Binds))
	}
}

// wait says of a move of a later wave that it waits. The next plan makes it, if that is still what is best.
func (e *evening) wait(found *goals.Outcome, w goals.Waiting) {
	i := e.refs[w.Replica].i
	d := Decision{Shard: e.in.Shards[i].Index, Kind: Migrate, From: e.name(w.From), To: e.name(w.To), Reason: Repair, Wave: w.Wave,
		Why: fmt.Sprintf("wave %d: it waits until the moves before it are over", w.Wave)}
	if e.task.Replicas[w.Replica].Leaves {
		d.Reason = Drain
	}
	if way, ok := found.Way(w.Replica); ok && way.For != w.Replica {
		d.Why += "; " + e.whyRoom(way)
	}
	e.plan.Decisions = append(e.plan.Decisions, d)
}

// name is the id of a server of the task; empty: nowhere.
func (e *evening) name(server int32) shard.ServerID {
	if server < 0 {
		return ""
	}
	return e.serverID(e.servers[server])
}

func (e *evening) whyRoom(way goals.Way) string {
	return fmt.Sprintf("makes room for shard %s", e.in.Shards[e.refs[way.For].i].ID)
}

// unrepaired says what is broken on, or not left although it is to be, and why.
func (e *evening) unrepaired(found *goals.Outcome) {
	for r := len(e.refs) - 1; r >= 0; r-- {
		i, k := e.refs[r].i, e.refs[r].k
		reason := Repair
		binds, why := found.Broken(r)
		if e.task.Replicas[r].Leaves {
			reason = Drain
			binds, why = found.Nowhere(r)
		}
		if binds != "" && binds != goals.Capped && !e.restless(i) {
			e.stuck(i, Migrate, e.replicas[i][k].on, reason, binds, why)
			e.moved[i] = true // once is enough
		}
	}
}

// crowds reports whether a server shares a domain with another replica of the shard that it must not: what is broken is repaired, or left alone.
func (e *evening) crowds(i, k, server int) bool {
	for other, r := range e.replicas[i] {
		if other != k && !r.leaving && r.at >= 0 && e.where.Shared(server, r.at, e.width(i)) {
			return true
		}
	}
	return false
}

// reason is why the engine moves a replica; for balance the numbers are the caller's to tell.
func (e *evening) reason(found *goals.Outcome, r, from int) (reason Reason, why string) {
	if e.overfull(from) {
		return Repair, ""
	}
	if way, ok := found.Way(int32(r)); ok {
		if why = e.whyRoom(way); way.Through {
			why = "goes out of the way, as moves wait for each other; " + why
		}
		return Repair, why
	}
	d, ok := found.Decisive(r)
	switch {
	case e.task.Replicas[r].Leaves:
		return Drain, fmt.Sprintf("%s is to be left", e.serverID(from))
	case !ok || d.Kind == goals.Balance:
		return Balance, ""
	case d.Kind == goals.Broken:
		return Repair, fmt.Sprintf("%s forbids %s", d.Goal, e.serverID(from))
	case d.Kind == goals.Apart:
		reason = Spread
	default:
		reason = Preference
	}
	return reason, fmt.Sprintf("%s: it costs more on %s", d.Goal, e.serverID(from))
}

// worst is the metric that a move evens out most.
func (e *evening) worst(from, to, i, k int) int {
	best, most := 0, int64(math.MinInt64)
	for m, l := range e.load(i, e.replicas[i][k].role) {
		if l > 0 && !e.promoted(m) {
			if gap := e.relative(from, m) - e.relative(to, m); gap > most {
				best, most = m, gap
			}
		}
	}
	return best
}
