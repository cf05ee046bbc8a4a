package placement

import (
	"slices"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// put adds a replica that the plan makes, charged from here on, and explains it.
func (s *state) put(i, to int, kind Kind, reason Reason, why string) {
	r := replica{on: -1, at: to, role: shard.Secondary}
	if kind == Grant {
		r.role = shard.Primary
	}
	r.move, r.decision = s.propose(Move{Shard: s.in.Shards[i].Index, Kind: kind, To: s.serverID(to), Reason: reason}, why)
	s.replicas[i] = append(s.replicas[i], r)
	s.weigh(i, len(s.replicas[i])-1, load.Vector.Add)
	s.moved[i], s.filled = true, true
	s.refresh(to)
}

// change changes one replica, and keeps the sums.
func (s *state) change(i, k int, to func(r *replica)) {
	r := &s.replicas[i][k]
	before := r.at
	s.weigh(i, k, load.Vector.Sub)
	to(r)
	s.weigh(i, k, load.Vector.Add)
	s.moved[i] = true
	s.refresh(before)
	s.refresh(r.at)
	s.refresh(r.on)
}

// migrate moves a replica to another server. It is charged at both from here on.
func (s *state) migrate(i, k, to int, reason Reason, why string) {
	on := s.replicas[i][k].on
	move, decision := s.propose(Move{Shard: s.in.Shards[i].Index, Kind: Migrate, From: s.serverID(on), To: s.serverID(to), Reason: reason}, why)
	s.change(i, k, func(r *replica) { r.at, r.move, r.decision = to, move, decision })
	s.under(on, to)
}

// under counts a move under the caps.
func (s *state) under(from, to int) {
	s.open++
	s.moves[from]++
	s.moves[to]++
}

// grantHere makes a secondary the primary: the shard has none, so no cap holds it back.
func (s *state) grantHere(i, k int, kind Kind, reason Reason, why string) {
	to := s.replicas[i][k].at
	move, decision := s.propose(Move{Shard: s.in.Shards[i].Index, Kind: kind, To: s.serverID(to), Reason: reason}, why)
	s.change(i, k, func(r *replica) { r.role, r.move, r.decision = shard.Primary, move, decision })
}

// promote lets a primary and one of its secondaries change roles.
func (s *state) promote(i, from, to int, reason Reason, why string) {
	a, b := s.replicas[i][from].on, s.replicas[i][to].on
	move, decision := s.propose(Move{Shard: s.in.Shards[i].Index, Kind: Promote, From: s.serverID(a), To: s.serverID(b), Reason: reason}, why)
	s.change(i, from, func(r *replica) { r.role = shard.Secondary })
	s.change(i, to, func(r *replica) { r.role, r.move, r.decision = shard.Primary, move, decision })
	s.under(a, b)
}

// drop removes a replica. It stays charged: the plan does not count on its end.
func (s *state) drop(i, k int, why string) {
	on := s.replicas[i][k].on
	move, decision := s.propose(Move{Shard: s.in.Shards[i].Index, Kind: Drop, From: s.serverID(on), Reason: Replicas}, why)
	s.change(i, k, func(r *replica) { r.leaving, r.move, r.decision = true, move, decision })
}

// propose appends a move and its decision to the plan, and returns their positions.
func (s *state) propose(m Move, why string) (move, decision int) {
	s.plan.Moves = append(s.plan.Moves, m)
	s.plan.Decisions = append(s.plan.Decisions, Decision{Shard: m.Shard, Kind: m.Kind, From: m.From, To: m.To, Reason: m.Reason, Why: why})
	return len(s.plan.Moves) - 1, len(s.plan.Decisions) - 1
}

// retarget gives a replica that the plan adds another target. Every prefix of the plan still keeps the constraints: what is charged only grows along
// the plan, and there is room at its end.
func (s *state) retarget(i, k, to int) {
	r := &s.replicas[i][k]
	s.change(i, k, func(r *replica) { r.at = to })
	s.plan.Moves[r.move].To, s.plan.Decisions[r.decision].To = s.serverID(to), s.serverID(to)
}

// withdraw takes back what the plan adds, as nothing permits it. A shard whose primary has no place gets no other replicas.
func (s *state) withdraw(i, k int, binds, why string) {
	r := &s.replicas[i][k]
	d := &s.plan.Decisions[r.decision]
	s.plan.Moves[r.move].Kind = 0
	d.To, d.Why, d.Binds = "", why, binds
	primary := r.role == shard.Primary
	s.change(i, k, func(r *replica) { r.at, r.leaving, r.move = -1, true, -1 })
	for other := range s.replicas[i] {
		if primary && s.replicas[i][other].added() {
			s.withdraw(i, other, binds, "its primary has no place: "+why)
		}
	}
}

// forget leaves out what was withdrawn, as if the plan had never added it.
func (s *state) forget() {
	moves := map[shard.Index]bool{}
	for _, m := range s.plan.Moves {
		moves[m.Shard] = moves[m.Shard] || m.Kind != 0
	}
	for i := range s.replicas {
		had := len(s.in.Shards[i].Replicas)
		kept := slices.DeleteFunc(s.replicas[i][had:], func(r replica) bool { return r.at < 0 })
		if had+len(kept) < len(s.replicas[i]) {
			s.replicas[i], s.moved[i] = s.replicas[i][:had+len(kept)], moves[s.in.Shards[i].Index]
		}
	}
}

// stuck explains what is wanted and cannot be done.
func (s *state) stuck(i int, kind Kind, from int, reason Reason, binds, why string) {
	d := Decision{Shard: s.in.Shards[i].Index, Kind: kind, Reason: reason, Why: why, Binds: binds}
	if from >= 0 {
		d.From = s.serverID(from)
	}
	s.plan.Decisions = append(s.plan.Decisions, d)
}
