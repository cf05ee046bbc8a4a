package placement

import (
	"fmt"
	"math"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/balance"
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
	task    balance.Task
	servers []int   // positions of those that accept, in the order of the task
	at      []int32 // their order, by position; -1: not in the task
	refs    []ref   // replicas of the task
	classes map[confines]int32
}

// confines are the regions that a replica stays within. Two that are alike are one class.
type confines struct {
	region int // -1: any
	rank   int // the largest; -1: any
	exact  bool
	left   int // the shard whose Left it is not to go back to; -1: none
}

// even lets the engine balance what loads servers, and relieve those that have more than they can take.
func (s *state) even() {
	overfull := false
	for server := range s.in.Servers {
		overfull = overfull || s.overfull(server)
	}
	if s.full() || !overfull && !s.uneven() {
		return
	}
	e := &evening{state: s, at: make([]int32, len(s.in.Servers)), classes: map[confines]int32{}}
	e.task = balance.Task{Average: s.average, Tolerance: int64(s.in.Policy.TolerancePercent), Tie: -1, Moves: atMost(s.in.Policy.Moves - s.open)}
	if s.promoted(s.primaries) {
		e.task.Tie = s.primaries
	}
	for i := range e.at {
		e.at[i] = -1
		if s.in.Servers[i].Accepts {
			e.at[i] = int32(len(e.servers))
			e.servers = append(e.servers, i)
			e.task.Servers = append(e.task.Servers, balance.Server{Capacity: s.capacity[i], Charged: s.charged[i], Settled: s.settled[i], Share: s.share[i],
				Moves: atMost(s.in.Policy.MovesPerServer - s.moves[i])})
		}
	}
	e.gather()
	if len(e.refs) == 0 {
		return
	}
	e.stateDomains()
	steps := int64(maxSteps)
	if s.filled {
		steps = maxUrgentSteps
	}
	places, err := e.task.Solve(steps)
	if err != nil {
		s.plan.Notes = append(s.plan.Notes, "not balanced: "+err.Error())
		return
	}
	e.carryOut(places)
}

func atMost(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// lowest is by group of servers the least relative load in a metric.
func (s *state) lowest(m int) map[int]int64 {
	least := map[int]int64{}
	for server := range s.in.Servers {
		if s.share[server][m] == 0 {
			continue
		}
		g, r := s.group(server, m), s.relative(server, m)
		if v, ok := least[g]; !ok || r < v {
			least[g] = r
		}
	}
	return least
}

// uneven reports whether any two servers that share a metric differ by more than the tolerance.
func (s *state) uneven() bool {
	for m := range s.metrics.Len() {
		if s.promoted(m) {
			continue
		}
		least := s.lowest(m)
		for server := range s.in.Servers {
			if s.share[server][m] > 0 && s.relative(server, m)-least[s.group(server, m)] > s.tolerance() {
				return true
			}
		}
	}
	return false
}

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

// gather lists the replicas that may move: one of each shard at most does, and shards that are changing stay as they are. Additions of this
// plan may go elsewhere; where a lost primary waits for the plan, nothing else does.
func (e *evening) gather() {
	for i := range e.in.Shards {
		if len(e.in.Shards[i].Avoid) > 0 || len(e.replicas[i]) > 1 && e.distinct(i, e.spread) < e.count(i) || slices.ContainsFunc(e.replicas[i], e.changing) {
			continue
		}
		adds := slices.ContainsFunc(e.replicas[i], func(r replica) bool { return r.added() })
		if len(e.replicas[i]) == 0 || !adds && (e.urgent || e.restless(i)) {
			continue
		}
		for k, r := range e.replicas[i] {
			e.refs = append(e.refs, ref{i, k})
			e.task.Replicas = append(e.task.Replicas, balance.Replica{Group: int32(e.task.Groups), At: e.at[r.at], Class: e.class(ref{i, k}), Load: e.load(i, r.role),
				Added: r.added(), Pinned: !r.added() && (adds || !r.movable() || !e.in.Servers[r.on].Accepts)})
		}
		e.stateApart(i)
		e.task.Groups++
	}
}

// changing reports whether a replica is about to be elsewhere, or gone, so that its shard is left alone.
func (e *evening) changing(r replica) bool {
	return r.leaving || r.at < 0 || e.at[r.at] < 0 || !r.added() && r.at != r.on
}

// class is where a replica may be: in its region, if that needs it, a primary nowhere less preferred, and none where it was lately, unless its server
// has more than it can take.
func (e *evening) class(r ref) int32 {
	rep := &e.replicas[r.i][r.k]
	c := confines{-1, -1, false, -1}
	if !e.spare(r.i, r.k) {
		c.region = e.where.InRegion[rep.at]
	}
	if rep.role == shard.Primary && len(e.where.Ranks) > 0 {
		c.rank, c.exact = e.where.Rank(rep.at), e.in.Policy.Replicas <= 1
	}
	left := e.in.Shards[r.i].Left
	if len(left) > 0 && !e.overfull(rep.at) {
		c.left = r.i
	}
	class, ok := e.classes[c]
	if !ok {
		class = int32(len(e.task.Eligible))
		e.classes[c] = class
		bits := make([]uint64, (len(e.servers)+63)/64)
		for t, server := range e.servers {
			rank := e.where.Rank(server)
			if c.left >= 0 && server != rep.at && slices.Contains(left, e.serverID(server)) {
				continue
			}
			if (c.region < 0 || e.where.InRegion[server] == c.region) && (c.rank < 0 || rank == c.rank || rank < c.rank && !c.exact) {
				bits[t/64] |= 1 << (t % 64)
			}
		}
		e.task.Eligible = append(e.task.Eligible, bits)
	}
	return class
}

// stateDomains states what is in one domain, by width.
func (e *evening) stateDomains() {
	for width := locality.Host; width <= locality.Region; width++ {
		level, seen := make([]int32, len(e.servers)), map[int]int32{}
		for t, server := range e.servers {
			first := e.where.Domains[width][server].From
			if _, ok := seen[first]; !ok {
				seen[first] = int32(len(seen))
			}
			level[t] = seen[first]
		}
		e.task.Domains = append(e.task.Domains, level)
	}
}

// stateApart keeps the replicas of a shard in as many domains as they are: of the widest width at which each has its own, which says it of all
// narrower ones, and of those wider.
func (e *evening) stateApart(i int) {
	if len(e.replicas[i]) < 2 {
		return
	}
	for width := locality.Region; width >= locality.Host; width-- {
		n := e.distinct(i, width)
		if n > 1 {
			e.task.Spreads = append(e.task.Spreads, problem.Spread{Group: e.task.Groups, Level: int(width - locality.Host), Min: n})
		}
		if n == e.count(i) {
			return
		}
	}
}

// carryOut proposes what the engine found.
func (e *evening) carryOut(places []int32) {
	for r, t := range places {
		if t == e.task.Replicas[r].At {
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
