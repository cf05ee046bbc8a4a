package placement

import (
	"iter"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/field"
	"github.com/shardmanager/shardmanager/allocator/placement/promotions"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// fair is a relative load of 1: a server that carries exactly its fair share of a metric.
const fair = promotions.Fair

// state is a solve under way: the input as vectors, and what the plan so far adds to it.
//
// Two sums are kept for each server. charged counts a replica in motion at both places and decides what still fits. settled counts it
// only where it will be and decides what is balanced.
type state struct {
	in        *Input
	where     *field.Map
	spread    locality.Domain
	metrics   load.Metrics
	primaries int           // position of MetricPrimaries; −1: nothing depends on it
	base      []load.Vector // of a secondary, by position in in.Shards
	primary   []load.Vector // of a primary; the same where primaries do not matter
	average   load.Vector   // mean load of a replica, as a primary
	replicas  [][]replica   // by position in in.Shards, as the plan so far leaves them
	capacity  []load.Vector // by server
	charged   []load.Vector
	settled   []load.Vector
	share     []load.Vector // fair share; 0: the server has no part in balancing this metric
	tree      *field.Tree   // accepting servers; keys: the scores of both roles
	open      int           // moves under the caps, those in progress included
	moves     []int         // by server, likewise
	moved     []bool        // by shard: in the plan
	choosers  []bool        // by shard: see choosy
	filled    bool          // the plan fills up what is missing
	planned   bool          // a planned event is taking servers down: nothing is evened out, it would be moved again
	scratch   []int64
	spans     [2][]field.Span
	plan      Plan
}

// replica is one replica as the plan so far leaves it.
type replica struct {
	on, at    int        // where it is, and where it will be; −1: nowhere, or a server that is not in the input
	was, role shard.Role // what it is, and what it will be; was is 0 for one that the plan adds
	settled   bool
	leaving   bool
	move      int // position in the plan of the move that changes it; −1: none
	decision  int // likewise
}

func newState(in *Input) *state {
	s := &state{in: in, where: newMap(in), spread: max(in.Policy.Spread, locality.Host), plan: Plan{App: in.App},
		moved: make([]bool, len(in.Shards)), moves: make([]int, len(in.Servers))}
	s.plan.Notes = s.where.Empty(in.Policy.PreferRegions)
	if in.Terms != nil {
		s.choosers = in.Terms.Choosers()
		in.Policy.Moves, in.Policy.MovesPerServer = in.Terms.Caps(in.Policy.Moves, in.Policy.MovesPerServer)
		s.plan.Notes = append(s.plan.Notes, in.Terms.Unserved(in.loaded, in.Policy.Primary)...)
	}
	s.plan.MostMoves, s.plan.MostPerServer = in.Policy.Moves, in.Policy.MovesPerServer
	s.metrics = load.MetricsOf(everyLoad(in))
	n := s.metrics.Len()
	s.primaries = n - 1
	for s.primaries >= 0 && s.metrics.Name(s.primaries) != MetricPrimaries {
		s.primaries--
	}
	s.capacity, s.charged, s.settled = load.Vectors(len(in.Servers), n), load.Vectors(len(in.Servers), n), load.Vectors(len(in.Servers), n)
	for i, server := range in.Servers {
		s.metrics.Fill(s.capacity[i], server.Capacity, load.Unlimited)
		s.moves[i], s.planned = server.Moves, s.planned || server.Planned || in.Still
	}
	s.loadShards()
	s.shareOut(false)
	s.scratch = make([]int64, 2)
	s.tree = field.NewTree(len(in.Servers), 2, n)
	for i := range in.Servers {
		s.refresh(i)
	}
	return s
}

// loaded reports whether any shard has a load in a metric.
func (in *Input) loaded(metric string) bool {
	return slices.ContainsFunc(in.Shards, func(s Shard) bool { return s.Load[metric] > 0 })
}

// newMap lays out the servers of an input.
func newMap(in *Input) *field.Map {
	sites := make([]field.Site, len(in.Servers))
	for i, server := range in.Servers {
		sites[i] = field.Site{Locality: server.Locality, Accepts: server.Accepts}
	}
	var prefer [][]string
	if in.Policy.Primary && len(in.Policy.PreferRegions) > 0 {
		prefer = field.Preferences(in.Policy.PreferRegions, in.Apart.Ranks(in.Policy.PreferRegions[0]))
	}
	return field.NewMap(sites, in.Policy.Regions, prefer)
}

// everyLoad yields whatever names metrics.
func everyLoad(in *Input) iter.Seq[map[string]int64] {
	return func(yield func(map[string]int64) bool) {
		if in.Policy.Primary && in.Policy.Replicas > 1 && !yield(map[string]int64{MetricPrimaries: 1}) {
			return
		}
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

// loadShards takes the shards of the input: their loads, and their replicas charged where they are and where they go.
func (s *state) loadShards() {
	n, total := len(s.in.Shards), 0
	for i := range s.in.Shards {
		total += max(len(s.in.Shards[i].Replicas), s.in.Wanted(i))
	}
	s.base = load.Vectors(n, s.metrics.Len())
	s.primary, s.replicas = s.base, make([][]replica, n)
	if s.primaries >= 0 {
		s.primary = load.Vectors(n, s.metrics.Len())
	}
	all, used := make([]replica, total), 0
	for i := range s.in.Shards {
		sh := &s.in.Shards[i]
		s.metrics.Fill(s.base[i], sh.Load, 0)
		if s.primaries >= 0 {
			s.base[i][s.primaries] = 0
			copy(s.primary[i], s.base[i])
			s.primary[i][s.primaries] = 1
		}
		room := max(len(sh.Replicas), s.in.Wanted(i))
		s.replicas[i] = all[used : used : used+room]
		used += room
		for _, r := range sh.Replicas {
			at := r.To
			if at < 0 {
				at = r.On
			} else if r.On >= 0 {
				s.open++
			}
			s.replicas[i] = append(s.replicas[i], replica{on: r.On, at: at, was: r.Role, role: r.Role, settled: r.Settled,
				leaving: r.Leaving, move: -1, decision: -1})
			s.weigh(i, len(s.replicas[i])-1, load.Vector.Add)
		}
	}
}

// load is what a replica of a shard weighs in a role.
func (s *state) load(i int, role shard.Role) load.Vector {
	if role == shard.Primary {
		return s.primary[i]
	}
	return s.base[i]
}

// weigh adds a replica to the sums, or takes it away.
func (s *state) weigh(i, k int, change func(load.Vector, load.Vector)) {
	r := &s.replicas[i][k]
	if r.on >= 0 {
		role := r.was
		if r.on == r.at && r.role == shard.Primary {
			role = r.role
		}
		change(s.charged[r.on], s.load(i, role))
	}
	if r.at >= 0 && r.at != r.on {
		change(s.charged[r.at], s.load(i, r.role))
	}
	if r.at >= 0 && !r.leaving {
		change(s.settled[r.at], s.load(i, r.role))
	}
}

// relative is the load of a server in a metric relative to its fair share, in parts of fair.
func (s *state) relative(server, metric int) int64 {
	return load.MulDiv(s.settled[server][metric], fair, s.share[server][metric])
}

// score is the relative load that a server would have after it got one more average replica, in its worst metric: the best place for the
// next replica is where it is least. How many primaries a server has is nothing to a secondary.
func (s *state) score(server int, role shard.Role) int64 {
	worst := int64(0)
	for m, share := range s.share[server] {
		if share > 0 && (m != s.primaries || role == shard.Primary) {
			worst = max(worst, load.MulDiv(s.settled[server][m]+s.average[m], fair, share))
		}
	}
	return min(worst, field.Never-1)
}

// byScore is the key of the tree that orders servers as places for a role.
func (s *state) byScore(role shard.Role) int {
	if role == shard.Primary {
		return 0
	}
	return 1
}

// refresh brings the tree up to date with a server.
func (s *state) refresh(server int) {
	if server < 0 || !s.in.Servers[server].Accepts {
		return
	}
	s.scratch[0], s.scratch[1] = s.score(server, shard.Primary), s.score(server, shard.Secondary)
	s.tree.Set(s.where.Leaf[server], s.scratch, s.room(server))
}

// room is what is left of a server's capacity.
func (s *state) room(server int) load.Vector {
	free := slices.Clone(s.capacity[server])
	free.Sub(s.charged[server])
	return free
}

// count is how many replicas a shard has and will keep.
func (s *state) count(i int) (n int) {
	for k := range s.replicas[i] {
		if !s.replicas[i][k].leaving {
			n++
		}
	}
	return n
}

// primaryOf is the position of a shard's primary among its replicas; −1: it has none.
func (s *state) primaryOf(i int) int {
	return slices.IndexFunc(s.replicas[i], func(r replica) bool { return r.role == shard.Primary && !r.leaving })
}

// held reports whether replicas of a shard stay where they are: it is pinned, or lacks the primary that replicas catch up with.
func (s *state) held(i int) bool {
	return s.in.Shards[i].Pinned || (s.in.Policy.Primary && s.primaryOf(i) < 0)
}

// restless reports whether a shard may not be touched by the goals: held, backing off, or in the plan already.
func (s *state) restless(i int) bool { return s.held(i) || s.in.Shards[i].Backoff || s.moved[i] }

// movable reports whether a replica may be moved now, as far as the shard allows.
func (r *replica) movable() bool { return r.settled && !r.leaving && r.on >= 0 && r.at == r.on }

// added reports whether a replica is one that the plan makes.
func (r *replica) added() bool { return r.on < 0 && r.move >= 0 }

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
