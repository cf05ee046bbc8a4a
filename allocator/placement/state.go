package placement

import (
	"iter"
	"slices"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// fair is a relative load of 1: a server that carries exactly its fair share of a metric.
const fair = 1_000_000

// state is a solve under way: the input as vectors, and what the plan so far adds to it.
//
// Two sums are kept for each server. charged counts a shard in motion at both places and decides what still fits. settled counts it only
// where it will be and decides what is balanced.
type state struct {
	in       *Input
	metrics  load.Metrics
	on, to   []int         // by position in in.Shards: where the primary is and where its open move takes it; -1: nowhere
	loads    []load.Vector // by position in in.Shards
	average  load.Vector   // mean load of a shard
	capacity []load.Vector // by server
	charged  []load.Vector
	settled  []load.Vector
	share    []load.Vector   // fair share; 0: the server has no part in balancing this metric
	tree     *tree           // accepting servers; keys: relative load per metric, then score
	open     int             // moves under the caps, those in progress included
	moves    []int           // by server, likewise
	moved    []bool          // by shard: in the plan
	planned  map[int]planned // by shard in the plan
	taken    int             // moves of the plan that were taken back: their To is empty until finish
	scratch  []int64
	plan     Plan
}

// planned is where a shard of the plan goes, and which entries of the plan say so.
type planned struct{ to, move, decision int }

func newState(in *Input) *state {
	s := &state{in: in, plan: Plan{App: in.App}, moved: make([]bool, len(in.Shards)), moves: make([]int, len(in.Servers)),
		planned: map[int]planned{}}
	s.metrics = load.MetricsOf(everyLoad(in))
	s.loads = vectors(len(in.Shards), s.metrics.Len())
	s.on, s.to = make([]int, len(in.Shards)), make([]int, len(in.Shards))
	s.capacity = vectors(len(in.Servers), s.metrics.Len())
	s.charged, s.settled = vectors(len(in.Servers), s.metrics.Len()), vectors(len(in.Servers), s.metrics.Len())
	for i, server := range in.Servers {
		s.metrics.Fill(s.capacity[i], server.Capacity, load.Unlimited)
		s.moves[i] = server.Moves
	}
	for i := range in.Shards {
		s.charge(i)
	}
	s.shareOut()
	s.scratch = make([]int64, s.metrics.Len()+1)
	s.tree = newTree(len(in.Servers), s.metrics.Len()+1, s.metrics.Len())
	for i := range in.Servers {
		s.refresh(i)
	}
	return s
}

func everyLoad(in *Input) iter.Seq[map[string]int64] {
	return func(yield func(map[string]int64) bool) {
		for i := range in.Servers {
			if !yield(in.Servers[i].Capacity) {
				return
			}
		}
		for i := range in.Shards {
			if !yield(in.Shards[i].Load) {
				return
			}
		}
	}
}

// vectors makes n vectors in one piece of memory.
func vectors(n, length int) []load.Vector {
	all, list := make([]int64, n*length), make([]load.Vector, n)
	for i := range list {
		list[i] = all[i*length : (i+1)*length : (i+1)*length]
	}
	return list
}

// charge counts a shard of the input where it is and where it goes.
func (s *state) charge(i int) {
	sh, l := &s.in.Shards[i], s.loads[i]
	s.metrics.Fill(l, sh.Load, 0)
	on, to := -1, -1
	if r := sh.Primary(); r != nil {
		on, to = r.On, r.To
	}
	s.on[i], s.to[i] = on, to
	if on >= 0 {
		s.charged[on].Add(l)
	}
	if to < 0 {
		if on >= 0 {
			s.settled[on].Add(l)
		}
		return
	}
	s.settled[to].Add(l)
	if to != on {
		s.charged[to].Add(l)
	}
	if on >= 0 {
		s.open++
	}
}

// shareOut gives every accepting server its fair share of all that should end up on accepting servers: by capacity where all of them
// limit the metric, else equally.
func (s *state) shareOut() {
	n := s.metrics.Len()
	total, weight := make(load.Vector, n), make(load.Vector, n)
	s.average = make(load.Vector, n)
	for i := range s.in.Shards {
		if !s.stays(i) {
			total.Add(s.loads[i])
		}
		s.average.Add(s.loads[i])
	}
	for m := range n {
		s.average[m] = load.MulDiv(s.average[m], 1, int64(max(1, len(s.in.Shards))))
	}
	weights := vectors(len(s.in.Servers), n)
	for m := range n {
		limited := s.everyoneLimits(m)
		for i, server := range s.in.Servers {
			switch {
			case !server.Accepts:
			case limited:
				weights[i][m] = max(0, s.capacity[i][m])
			default:
				weights[i][m] = 1
			}
		}
	}
	for _, w := range weights {
		weight.Add(w)
	}
	s.share = weights
	for i := range s.share {
		for m, w := range s.share[i] {
			if w > 0 {
				s.share[i][m] = max(1, load.MulDiv(total[m], w, weight[m]))
			}
		}
	}
}

func (s *state) everyoneLimits(m int) bool {
	for i, server := range s.in.Servers {
		if server.Accepts && s.capacity[i][m] == load.Unlimited {
			return false
		}
	}
	return true
}

// stays reports whether a shard will be on a server that takes part in no balancing: it neither accepts nor is it being left.
func (s *state) stays(i int) bool {
	at := s.to[i]
	if at < 0 {
		at = s.on[i]
	}
	return at >= 0 && !s.in.Servers[at].Accepts && !s.in.Servers[at].Leaving
}

// relative is the load of a server in a metric relative to its fair share, in parts of fair.
func (s *state) relative(server, metric int) int64 {
	return load.MulDiv(s.settled[server][metric], fair, s.share[server][metric])
}

// score is the relative load that a server would have after it got one more average shard, in its worst metric: the best place for the
// next shard is where it is least.
func (s *state) score(server int) int64 {
	worst := int64(0)
	for m, share := range s.share[server] {
		if share > 0 {
			worst = max(worst, load.MulDiv(s.settled[server][m]+s.average[m], fair, share))
		}
	}
	return min(worst, never-1)
}

// refresh brings the tree up to date with a server.
func (s *state) refresh(server int) {
	if !s.in.Servers[server].Accepts {
		return
	}
	n := s.metrics.Len()
	for m := range n {
		s.scratch[m] = never
		if s.share[server][m] > 0 {
			s.scratch[m] = min(s.relative(server, m), never-1)
		}
	}
	s.scratch[n] = s.score(server)
	s.tree.set(server, s.scratch, s.room(server))
}

// room is what is left of a server's capacity.
func (s *state) room(server int) load.Vector {
	free := slices.Clone(s.capacity[server])
	free.Sub(s.charged[server])
	return free
}

// move puts one move into the plan. The shard is charged at both places from here on.
func (s *state) move(i, to int, reason Reason, why string) {
	sh := &s.in.Shards[i]
	m, on := Move{Shard: sh.Index, Kind: Grant, To: s.in.Servers[to].ID, Reason: reason}, s.on[i]
	if on >= 0 {
		m.Kind, m.From = Migrate, s.in.Servers[on].ID
		s.settled[on].Sub(s.loads[i])
		s.moves[on]++
		s.moves[to]++
		s.open++
	}
	s.settled[to].Add(s.loads[i])
	s.charged[to].Add(s.loads[i])
	s.moved[i], s.planned[i] = true, planned{to, len(s.plan.Moves), len(s.plan.Decisions)}
	s.refresh(to)
	if on >= 0 {
		s.refresh(on)
	}
	s.plan.Moves = append(s.plan.Moves, m)
	s.plan.Decisions = append(s.plan.Decisions, Decision{Shard: m.Shard, Kind: m.Kind, From: m.From, To: m.To, Reason: reason, Why: why})
}

// retarget gives a move of the plan another target, or takes it back where that is where the shard is. Every prefix of the plan still
// keeps the constraints: what is charged only grows along the plan, and there is room at its end.
func (s *state) retarget(i, to int) {
	on, p := s.on[i], s.planned[i]
	from := p.to
	s.settled[from].Sub(s.loads[i])
	s.charged[from].Sub(s.loads[i])
	s.settled[to].Add(s.loads[i])
	if on >= 0 {
		s.moves[from]--
	}
	d := &s.plan.Decisions[p.decision]
	d.To = s.in.Servers[to].ID
	if to == on {
		s.moves[to]--
		s.open--
		s.taken++
		s.moved[i], s.plan.Moves[p.move].To, d.To = false, "", ""
		delete(s.planned, i)
	} else {
		s.charged[to].Add(s.loads[i])
		if on >= 0 {
			s.moves[to]++
		}
		p.to = to
		s.planned[i], s.plan.Moves[p.move].To = p, d.To
	}
	s.refresh(from)
	s.refresh(to)
}

// finish is the plan without what was taken back.
func (s *state) finish() Plan {
	if s.taken > 0 {
		s.plan.Moves = slices.DeleteFunc(s.plan.Moves, func(m Move) bool { return m.To == "" })
		s.plan.Decisions = slices.DeleteFunc(s.plan.Decisions, func(d Decision) bool { return d.To == "" && d.Binds == "" })
	}
	return s.plan
}

// stuck explains a shard for which no place was found.
func (s *state) stuck(i int, reason Reason, binds, why string) {
	d := Decision{Shard: s.in.Shards[i].Index, Kind: Grant, Reason: reason, Why: why, Binds: binds}
	if on := s.on[i]; on >= 0 {
		d.Kind, d.From = Migrate, s.in.Servers[on].ID
	}
	s.plan.Decisions = append(s.plan.Decisions, d)
}

// avoids reports whether callbacks for the shard failed lately at a server.
func (s *state) avoids(i, server int) bool {
	return slices.Contains(s.in.Shards[i].Avoid, s.in.Servers[server].ID)
}

// capped reports whether a server has as many moves as it may have.
func (s *state) capped(server int) bool { return s.moves[server] >= s.in.Policy.MovesPerServer }

// full reports whether the app has as many moves as it may have.
func (s *state) full() bool { return s.open >= s.in.Policy.Moves }

// utilisation of a server in percent of its fair share of its worst metric, for people.
func (s *state) utilisation(server int) (percent int64) {
	for m := range s.metrics.Len() {
		if r := s.relative(server, m) / (fair / 100); s.share[server][m] > 0 {
			percent = max(percent, r)
		}
	}
	return percent
}

// serverID names a server by position.
func (s *state) serverID(i int) shard.ServerID { return s.in.Servers[i].ID }

// movable reports whether the primary of a shard may be moved now.
func (s *state) movable(i int) bool {
	sh := &s.in.Shards[i]
	if sh.Pinned || s.on[i] < 0 || s.to[i] >= 0 {
		return false
	}
	r := sh.Primary()
	return r != nil && r.Settled
}
