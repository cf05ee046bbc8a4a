package placement

import (
	"fmt"
	"math"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
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

// evening states balance for the engine: the sum of squares of what each server has above or below its fair share, beyond the tolerance, in
// as few moves as it takes. What may not move is not in the problem; it takes room and share from the server where it is.
type evening struct {
	*state
	p       problem.Problem
	servers []int   // positions of those that accept, in the order of the problem
	at      []int32 // their order, by position; -1: not in the problem
	refs    []ref   // replicas of the problem
	classes map[confines]int32
	scale   []int64 // by metric: units of the problem for one of ours, so that small numbers have fractions
}

const (
	mostLoad = math.MaxInt64 / 8 // of anything in the problem
	fine     = 1000              // units of the problem that an average load has at least
)

// scaled is an amount of a metric in units of the problem.
func (e *evening) scaled(m int, v int64) int64 {
	most := mostLoad / e.scale[m]
	return min(max(v, -most), most) * e.scale[m]
}

// confines are the regions that a replica stays within. Two that are alike are one class.
type confines struct {
	region int // -1: any
	rank   int // the largest; -1: any
	exact  bool
}

// even lets the engine balance what loads servers.
func (s *state) even() {
	overfull := false
	for server := range s.in.Servers {
		overfull = overfull || s.overfull(server)
	}
	if s.full() || !overfull && !s.uneven() {
		return
	}
	e := &evening{state: s, at: make([]int32, len(s.in.Servers)), classes: map[confines]int32{}}
	for i := range e.at {
		e.at[i] = -1
		if s.in.Servers[i].Accepts {
			e.at[i] = int32(len(e.servers))
			e.servers = append(e.servers, i)
		}
	}
	for _, average := range s.average {
		e.scale = append(e.scale, fine/min(max(average, 1), fine))
	}
	e.gather()
	if len(e.refs) == 0 {
		return
	}
	e.stateServers()
	e.stateSpread()
	e.stateCaps()
	search, err := engine.NewSearch(&e.p, engine.Options{})
	if err != nil {
		s.plan.Notes = append(s.plan.Notes, "not balanced: "+err.Error())
		return
	}
	steps := int64(maxSteps)
	if s.filled {
		steps = maxUrgentSteps
	}
	search.Step(steps)
	places, _, _ := search.Best(nil)
	e.carryOut(places)
}

// uneven reports whether any two servers that share a metric differ by more than the tolerance.
func (s *state) uneven() bool {
	tolerance := load.MulDiv(fair, int64(s.in.Policy.TolerancePercent), 100)
	type group struct{ metric, of int }
	least, most := map[group]int64{}, map[group]int64{}
	for server := range s.in.Servers {
		for m, share := range s.share[server] {
			if share == 0 || s.promoted(m) {
				continue
			}
			g, r := group{m, s.group(server, m)}, s.relative(server, m)
			if v, ok := least[g]; !ok || r < v {
				least[g] = r
			}
			if v, ok := most[g]; !ok || r > v {
				most[g] = r
			}
			if most[g]-least[g] > tolerance {
				return true
			}
		}
	}
	return false
}

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
func (s *state) promoted(m int) bool { return m == s.primaries && s.in.Policy.Replicas > 1 }

// group is the servers among which a metric is balanced: those with one rank where it follows the primaries, else all.
func (s *state) group(server, metric int) int {
	if s.follows(metric) {
		return s.where.Rank(server)
	}
	return len(s.where.Ranks)
}

// gather lists the replicas that may move: one of each shard at most does, and shards that are changing stay as they are. Additions of this
// plan may go elsewhere; where a lost primary waits for the plan, nothing else does.
func (e *evening) gather() {
	e.p.Eligible = [][]uint64{e.bits(func(int) bool { return true })}
	e.classes[confines{-1, -1, false}] = 0
	for i := range e.in.Shards {
		if len(e.in.Shards[i].Avoid) > 0 || len(e.replicas[i]) > 1 && e.distinct(i, e.spread) < e.count(i) || slices.ContainsFunc(e.replicas[i], e.changing) {
			continue
		}
		adds := slices.ContainsFunc(e.replicas[i], func(r replica) bool { return r.added() })
		if !adds && (e.urgent || e.restless(i)) {
			continue
		}
		for k, r := range e.replicas[i] {
			e.add(ref{i, k}, !r.added() && (adds || !r.movable() || !e.in.Servers[r.on].Accepts))
		}
	}
}

// changing reports whether a replica is about to be elsewhere, or gone, so that its shard is left alone.
func (e *evening) changing(r replica) bool {
	return r.leaving || r.at < 0 || e.at[r.at] < 0 || !r.added() && r.at != r.on
}

func (e *evening) add(r ref, pinned bool) {
	rep := &e.replicas[r.i][r.k]
	at := e.at[rep.at]
	if n := len(e.refs); n == 0 || e.refs[n-1].i != r.i {
		e.p.Groups++
		e.p.Exclusive = append(e.p.Exclusive, true)
	}
	e.refs = append(e.refs, r)
	e.p.Group = append(e.p.Group, int32(e.p.Groups-1))
	e.p.First = append(e.p.First, at)
	if rep.added() {
		at = problem.Unplaced
	}
	e.p.Start = append(e.p.Start, at)
	e.p.Pinned = append(e.p.Pinned, pinned)
	e.p.Class = append(e.p.Class, e.class(r))
	for m, l := range e.load(r.i, rep.role) {
		e.p.Load = append(e.p.Load, e.scaled(m, l))
	}
}

// class is where a replica may be: in its region, if that needs it, and a primary nowhere less preferred.
func (e *evening) class(r ref) int32 {
	rep := &e.replicas[r.i][r.k]
	c := confines{-1, -1, false}
	if !e.spare(r.i, r.k) {
		c.region = e.where.InRegion[rep.at]
	}
	if rep.role == shard.Primary && len(e.where.Ranks) > 0 {
		c.rank, c.exact = e.where.Rank(rep.at), e.in.Policy.Replicas <= 1
	}
	class, ok := e.classes[c]
	if !ok {
		class = int32(len(e.p.Eligible))
		e.classes[c] = class
		e.p.Eligible = append(e.p.Eligible, e.bits(func(server int) bool {
			rank := e.where.Rank(server)
			return (c.region < 0 || e.where.InRegion[server] == c.region) && (c.rank < 0 || rank == c.rank || rank < c.rank && !c.exact)
		}))
	}
	return class
}

func (e *evening) bits(ok func(server int) bool) []uint64 {
	list := make([]uint64, (len(e.servers)+63)/64)
	for t, server := range e.servers {
		if ok(server) {
			list[t/64] |= 1 << (t % 64)
		}
	}
	return list
}

// stateServers states capacities and shares, less what is on the servers and not in the problem.
func (e *evening) stateServers() {
	n := e.metrics.Len()
	e.p.Metrics, e.p.Servers, e.p.Replicas, e.p.Tiers = n, len(e.servers), len(e.refs), 4
	e.p.During = slices.Repeat([]bool{true}, n)
	e.p.Movement.Tier, e.p.Movement.ReplicaWeight, e.p.Movement.Replica = 2, 1, slices.Repeat([]int64{1}, len(e.refs))
	inside := make([]int64, len(e.servers)*n) // load of the problem's replicas
	for r, t := range e.p.First {
		for m := range n {
			inside[int(t)*n+m] += e.p.Load[r*n+m]
		}
	}
	for t, server := range e.servers {
		for m := range n {
			room := e.scaled(m, e.capacity[server][m]) - e.scaled(m, e.charged[server][m]) + inside[t*n+m]
			e.p.Capacity = append(e.p.Capacity, min(max(room, 0), mostLoad))
		}
	}
	for m := range n {
		b := problem.Balance{Metric: m, Goal: problem.Goal{Weight: 1}}
		if e.promoted(m) {
			b.Tier = 3 // no move is worth it, but of equal ones it decides
		}
		for t, server := range e.servers {
			share := e.scaled(m, e.share[server][m])
			b.Share = append(b.Share, share-e.scaled(m, e.settled[server][m])+inside[t*n+m])
			// No server can come nearer to its share than by half of what moves.
			b.Slack = append(b.Slack, load.MulDiv(share, int64(e.in.Policy.TolerancePercent), 200)+e.scaled(m, e.average[m])/2)
			b.Unit = append(b.Unit, max(1, share/1000))
			if share == 0 {
				b.Unit[t] = mostLoad
			}
		}
		if !e.promoted(m) { // what is above its share goes before what is below: that is where load is felt
			b.Above = true
			e.p.Balances = append(e.p.Balances, b)
			b.Above, b.Tier = false, 1
		}
		e.p.Balances = append(e.p.Balances, b)
	}
}

// stateSpread keeps replicas as far from each other as they are.
func (e *evening) stateSpread() {
	if e.p.Groups == len(e.refs) {
		return
	}
	for width := locality.Host; width <= locality.Region; width++ {
		level, seen := make([]int32, len(e.servers)), map[int]int32{}
		for t, server := range e.servers {
			first := e.where.Domains[width][server].From
			if _, ok := seen[first]; !ok {
				seen[first] = int32(len(seen))
			}
			level[t] = seen[first]
		}
		e.p.Domains = append(e.p.Domains, level)
	}
	for r := 0; r < len(e.refs); {
		i := e.refs[r].i
		e.stateApart(i, int(e.p.Group[r]))
		for ; r < len(e.refs) && e.refs[r].i == i; r++ {
		}
	}
}

// stateApart states in how many domains the replicas of a shard are: of the widest width at which each has its own, which says it of all
// narrower ones, and of those wider.
func (e *evening) stateApart(i, group int) {
	if len(e.replicas[i]) < 2 {
		return
	}
	for width := locality.Region; width >= locality.Host; width-- {
		n := e.distinct(i, width)
		if n > 1 {
			e.p.Spreads = append(e.p.Spreads, problem.Spread{Group: group, Level: int(width - locality.Host), Min: n})
		}
		if n == e.count(i) {
			return
		}
	}
}

// stateCaps states how many more moves there may be.
func (e *evening) stateCaps() {
	e.p.Caps.Total, e.p.Caps.Group = int32(min(e.in.Policy.Moves-e.open, math.MaxInt32)), 1
	for _, server := range e.servers {
		e.p.Caps.Server = append(e.p.Caps.Server, int32(min(max(0, e.in.Policy.MovesPerServer-e.moves[server]), math.MaxInt32)))
	}
}

// carryOut proposes what the engine found.
func (e *evening) carryOut(places []int32) {
	for r, t := range places {
		if t == e.p.First[r] {
			continue
		}
		i, k, to := e.refs[r].i, e.refs[r].k, e.servers[t]
		from := e.replicas[i][k].at
		c := e.worst(from, to, i, k)
		high, low := e.relative(from, c), e.relative(to, c)
		if e.replicas[i][k].added() {
			e.retarget(i, k, to)
			e.plan.Decisions[e.replicas[i][k].decision].Why = fmt.Sprintf("%s keeps the balance of %s: %d %% of its fair share before",
				e.serverID(to), e.metrics.Name(c), percent(low))
			continue
		}
		reason := Balance
		if e.overfull(from) {
			reason = Repair
		}
		e.migrate(i, k, to, reason, "")
		e.plan.Decisions[e.replicas[i][k].decision].Why = e.whyBalance(c, from, to, high, low)
	}
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
