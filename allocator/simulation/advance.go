package simulation

import (
	"cmp"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// copied is an input that may be changed: loads and capacities are still shared, and are replaced, never written to.
func copied(in placement.Input) placement.Input {
	in.Servers, in.Shards = slices.Clone(in.Servers), slices.Clone(in.Shards)
	for i := range in.Shards {
		in.Shards[i].Replicas = slices.Clone(in.Shards[i].Replicas)
	}
	return in
}

// position of a shard by its index.
func position(in *placement.Input, at shard.Index) (int, bool) {
	return slices.BinarySearchFunc(in.Shards, at, func(s placement.Shard, at shard.Index) int { return cmp.Compare(s.Index, at) })
}

// hole reports whether there is nothing to place at an index: it has no name at present, or its shard is being deleted.
func hole(s *placement.Shard) bool { return s.Backoff && s.Pinned && len(s.Replicas) == 0 }

// settle ends every move: who is on the way arrives and is in sync, who leaves is gone, and the caps are free again. Only servers that are
// not there, or are silent, are still waited for.
func settle(in *placement.Input) {
	for i := range in.Servers {
		in.Servers[i].Moves = 0
	}
	for i := range in.Shards {
		s := &in.Shards[i]
		if hole(s) {
			continue
		}
		s.Replicas = slices.DeleteFunc(s.Replicas, func(r placement.Replica) bool { return r.Leaving })
		for k := range s.Replicas {
			r := &s.Replicas[k]
			if r.To >= 0 {
				r.On, r.To = r.To, -1
			}
			if r.On >= 0 {
				at := &in.Servers[r.On]
				r.Settled = r.Settled || at.Accepts || at.Leaving
			}
		}
		primary := s.Primary()
		s.Pinned = primary != nil && !primary.Settled
		s.Urgent = s.Urgent && primary == nil
	}
}

// advance makes the moves of a plan, and counts what they move.
func advance(in *placement.Input, moves []placement.Move, r *Result, count *mover) {
	places := make(map[shard.ServerID]int, len(in.Servers))
	for i := range in.Servers {
		places[in.Servers[i].ID] = i
	}
	place := func(id shard.ServerID) int {
		if at, ok := places[id]; ok && id != "" {
			return at
		}
		return -1
	}
	for _, m := range moves {
		if i, ok := position(in, m.Shard); ok && move(&in.Shards[i], m.Kind, place(m.From), place(m.To)) {
			r.Arrived++
			count.moved(in, i, roleAt(&in.Shards[i], place(m.To)), place(m.From), place(m.To))
			for metric, n := range in.Shards[i].Load {
				r.Moved[metric] = load.Plus(r.Moved[metric], n)
			}
		}
	}
	settle(in)
}

// roleAt is the role of the replica on a server; 0: there is none.
func roleAt(s *placement.Shard, server int) shard.Role {
	for _, r := range s.Replicas {
		if r.On == server {
			return r.Role
		}
	}
	return 0
}

// move makes one move, and reports whether a replica begins on another server by it.
func move(s *placement.Shard, kind placement.Kind, from, to int) (arrives bool) {
	on := func(server int) int {
		return slices.IndexFunc(s.Replicas, func(r placement.Replica) bool { return r.On == server && server >= 0 && !r.Leaving })
	}
	arrival := placement.Replica{On: to, To: -1, Role: shard.Secondary, Settled: true}
	switch kind {
	case placement.Grant:
		if k := on(to); k >= 0 {
			s.Replicas[k].Role = shard.Primary
			return false
		}
		arrival.Role = shard.Primary
		s.Replicas = append(s.Replicas, arrival)
		return true
	case placement.Add:
		s.Replicas = append(s.Replicas, arrival)
		return true
	case placement.Migrate:
		if k := on(from); k >= 0 {
			s.Replicas[k].On = to
			return true
		}
	case placement.Drop:
		if k := on(from); k >= 0 {
			s.Replicas = slices.Delete(s.Replicas, k, k+1)
		}
	case placement.Promote:
		if p := s.Primary(); p != nil {
			p.Role = shard.Secondary
		}
		if k := on(to); k >= 0 {
			s.Replicas[k].Role = shard.Primary
		}
	}
	return false
}
