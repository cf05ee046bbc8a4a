package placement_test

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// world is a second, plain reading of an Input: it plays a plan move by move and checks the constraints after each.
type world struct {
	in      placement.Input
	charged []map[string]int64
	moves   []int
	open    int
}

func newWorld(in placement.Input) *world {
	w := &world{in: in, charged: make([]map[string]int64, len(in.Servers)), moves: make([]int, len(in.Servers))}
	w.in.Shards = clone(in.Shards)
	for i, s := range in.Servers {
		w.charged[i], w.moves[i] = map[string]int64{}, s.Moves
	}
	for _, s := range in.Shards {
		for _, r := range s.Replicas {
			w.charge(s, r.On)
			if r.To != r.On {
				w.charge(s, r.To)
			}
			if r.To >= 0 && r.On >= 0 {
				w.open++
			}
		}
	}
	return w
}

func (w *world) charge(s placement.Shard, at int) {
	if at < 0 {
		return
	}
	for metric, l := range s.Load {
		w.charged[at][metric] += l
	}
}

// clone copies shards down to their replicas.
func clone(shards []placement.Shard) []placement.Shard {
	list := slices.Clone(shards)
	for i := range list {
		list[i].Replicas = slices.Clone(list[i].Replicas)
	}
	return list
}

// place is where the primary of a shard is; −1: it has none.
func place(s placement.Shard) int {
	if r := s.Primary(); r != nil {
		return r.On
	}
	return -1
}

func (w *world) position(id shard.ServerID) int {
	return slices.IndexFunc(w.in.Servers, func(s placement.Server) bool { return s.ID == id })
}

// play performs one move, or says which constraint forbids it.
func (w *world) play(m placement.Move) error {
	s := &w.in.Shards[m.Shard]
	on, to := place(*s), w.position(m.To)
	target := w.in.Servers[to]
	switch {
	case on >= 0 && s.Replicas[0].To >= 0:
		return fmt.Errorf("shard %d is moved twice", m.Shard)
	case w.position(m.From) != on || (m.Kind == placement.Grant) != (on < 0):
		return fmt.Errorf("shard %d is not on %q", m.Shard, m.From)
	case to == on:
		return fmt.Errorf("shard %d moves to where it is", m.Shard)
	case !target.Accepts:
		return fmt.Errorf("%s does not accept", m.To)
	case s.Pinned || s.Backoff:
		return fmt.Errorf("shard %d may not move now", m.Shard)
	case slices.Contains(s.Avoid, m.To):
		return fmt.Errorf("shard %d avoids %s", m.Shard, m.To)
	}
	w.charge(*s, to)
	for metric, l := range s.Load {
		if capacity, ok := target.Capacity[metric]; ok && l > 0 && w.charged[to][metric] > capacity {
			return fmt.Errorf("%s: %s %d of %d", m.To, metric, w.charged[to][metric], capacity)
		}
	}
	if on < 0 {
		s.Replicas = []placement.Replica{{On: -1, Role: shard.Primary, Settled: true}}
	} else {
		w.open++
		w.moves[on]++
		w.moves[to]++
		if limit := w.in.Policy; w.open > limit.Moves || w.moves[on] > limit.MovesPerServer || w.moves[to] > limit.MovesPerServer {
			return fmt.Errorf("shard %d: too many moves: %d, %d, %d", m.Shard, w.open, w.moves[on], w.moves[to])
		}
	}
	s.Replicas[0].To = to
	return nil
}

// settle finishes every move and returns the input of the next solve.
func (w *world) settle() placement.Input {
	next := w.in
	next.Shards = clone(w.in.Shards)
	next.Servers = slices.Clone(w.in.Servers)
	for i := range next.Servers {
		next.Servers[i].Moves = 0
	}
	for i := range next.Shards {
		s := &next.Shards[i]
		for k := range s.Replicas {
			if r := &s.Replicas[k]; r.To >= 0 {
				r.On, r.To, s.Pinned, s.Urgent = r.To, -1, false, false
			}
		}
	}
	return next
}

func apply(in placement.Input, plan placement.Plan) (placement.Input, error) {
	w := newWorld(in)
	for i, m := range plan.Moves {
		if err := w.play(m); err != nil {
			return placement.Input{}, fmt.Errorf("move %d of %d: %w", i, len(plan.Moves), err)
		}
	}
	return w.settle(), nil
}

// counts is how many shards each accepting server has.
func counts(in placement.Input) []int {
	n := make([]int, len(in.Servers))
	for _, s := range in.Shards {
		for _, r := range s.Replicas {
			if r.On >= 0 {
				n[r.On]++
			}
		}
	}
	var list []int
	for i, s := range in.Servers {
		if s.Accepts {
			list = append(list, n[i])
		}
	}
	return list
}

func spread(list []int) int { return slices.Max(list) - slices.Min(list) }

// build makes servers named a, b, … and shards on them: on[i] is the server of shard i, −1 for none; every load is 1 shard.
func build(servers int, on ...int) placement.Input {
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
	for i := range servers {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID(fmt.Sprintf("s%04d.kv", i)), Accepts: true})
	}
	for i, at := range on {
		s := placement.Shard{Index: shard.Index(i), Load: map[string]int64{placement.MetricShards: 1}}
		if at >= 0 {
			s.Replicas = []placement.Replica{{On: at, To: -1, Role: shard.Primary, Settled: true}}
		}
		in.Shards = append(in.Shards, s)
	}
	return in
}
