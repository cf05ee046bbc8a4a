package explain

import (
	"cmp"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// others is an input with the moves of a plan under way, but for those of one shard: what the plan does with that is right beside what it does
// with the others.
func others(in placement.Input, plan placement.Plan, but shard.Index) placement.Input {
	places := make(map[shard.ServerID]int, len(in.Servers))
	for i := range in.Servers {
		places[in.Servers[i].ID] = i
	}
	own := map[int]bool{}
	in.Shards = slices.Clone(in.Shards)
	for _, m := range plan.Moves {
		i, found := slices.BinarySearchFunc(in.Shards, m.Shard, func(s placement.Shard, at shard.Index) int { return cmp.Compare(s.Index, at) })
		if m.Shard == but || !found {
			continue
		}
		s := &in.Shards[i]
		if !own[i] {
			own[i], s.Replicas = true, slices.Clone(s.Replicas)
		}
		begin(s, m, places)
	}
	return in
}

// begin makes a move of a shard be under way.
func begin(s *placement.Shard, m placement.Move, places map[shard.ServerID]int) {
	on := func(id shard.ServerID) *placement.Replica {
		at, known := places[id]
		for k := range s.Replicas {
			if known && s.Replicas[k].On == at {
				return &s.Replicas[k]
			}
		}
		return nil
	}
	from, to := on(m.From), on(m.To)
	switch m.Kind {
	case placement.Grant:
		if to == nil {
			s.Replicas = append(s.Replicas, placement.Replica{On: -1, To: places[m.To], Role: shard.Primary})
		} else {
			to.Role = shard.Primary
		}
	case placement.Add:
		s.Replicas = append(s.Replicas, placement.Replica{On: -1, To: places[m.To], Role: shard.Secondary})
	case placement.Migrate:
		if from != nil {
			from.To = places[m.To]
		}
	case placement.Drop:
		if from != nil {
			from.Leaving = true
		}
	case placement.Promote:
		if p := s.Primary(); p != nil {
			p.Role = shard.Secondary
		}
		if to != nil {
			to.Role = shard.Primary
		}
	}
}
