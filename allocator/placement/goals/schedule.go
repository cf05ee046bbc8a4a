package goals

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/ejection"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/waves"
)

// Schedule is what begins now, and what does not.
type Schedule struct {
	Places  []int32 // of the replicas once the moves that begin now are over; problem.Unplaced: a new one has no place, or waits for it
	Order   []int32 // of the replicas: in that order their moves begin
	Waiting []Waiting
	Blocked []Waiting // moves that cannot be made, whatever goes before
	ways    map[int32]Way
}

// Waiting is a move that does not begin now.
type Waiting struct {
	Replica  int32
	From, To int32
	Wave     int    // until the moves of those before are over, from 2
	Binds    string // what keeps it if it is blocked
}

// Way is what a replica moves for, other than a goal of its own.
type Way struct {
	For     int32 // the replica that room is made for, which may be itself
	Through bool  // it goes on, to another server
}

const (
	mostHeld  = 64      // replicas for which room is made
	roomSteps = 500_000 // of the search for it
)

// Way says for whom room is made by a replica's move; false: for nobody.
func (s *Schedule) Way(replica int32) (Way, bool) {
	w, ok := s.ways[replica]
	return w, ok
}

// schedule says what may begin now. The search only moves what can be under way side by side, so all of it may, if everything is charged at both places
// during a move and no shard needs another one to be where it still is. What that leaves broken, or on servers that are to be left, for want of room alone, is brought where room is made for it first.
func (o *Outcome) schedule() error {
	s := o.stated
	if slices.Contains(s.Problem.During, false) || len(s.Problem.Relations) > 0 {
		plan, err := s.arrange(o.target)
		if err == nil {
			o.Schedule = plan
		}
		return err
	}
	held := o.held()
	if len(held) == 0 {
		return nil
	}
	best, err := o.settle(held, o.target)
	if err != nil {
		return err
	}
	if !slices.Equal(o.target, s.Start) { // else the search would take back, for less, what a wave before began, or fill the room that it is to make
		alone, err := o.settle(held, s.Start)
		if err != nil {
			return err
		}
		if alone.found && alone.after.Less(&best.before, alone.tiers) && !(best.found && best.after.Less(&alone.after, max(best.tiers, alone.tiers))) {
			best = alone
		}
	}
	if best.found {
		o.Schedule = best.Schedule
	}
	if best.found || len(best.Blocked) > 0 {
		o.ways, o.Blocked = best.ways, best.Blocked
	}
	return nil
}

// settlement is how those that are held get to where room is made for them first.
type settlement struct {
	Schedule
	found         bool // there is a way for one of them, at least
	before, after assignment.Vector
	tiers         int // in which it has to cost less
}

// settle brings those that are held where room is made for them first, of all that the search moved only what places say.
func (o *Outcome) settle(held, places []int32) (out settlement, err error) {
	s := o.stated
	free := s.Problem
	free.During, free.First = make([]bool, s.Problem.Metrics), places
	m, err := layout.New(&free)
	if err != nil {
		return out, err
	}
	e, ways, blocked := ejection.Search{State: assignment.New(m), Steps: roomSteps}, map[int32]Way{}, []Waiting(nil)
	out.before = e.Costs
	for _, r := range held {
		before := slices.Clone(e.Place)
		tiers := 1 // that of what is broken: a mere goal is not worth several waves
		if o.leaves(r) {
			tiers = m.Tiers
		}
		ejected, found := e.Settle(r, tiers)
		if !found {
			continue
		}
		plan, err := s.arrange(m.WithUnplaced(nil, e.Place))
		if err != nil {
			return out, err
		}
		if len(plan.Blocked) > 0 {
			blocked = append(blocked, plan.Blocked...)
			for q, t := range before {
				e.Apply(int32(q), t)
			}
			continue
		}
		for _, q := range append(ejected, r) {
			ways[q] = Way{For: r}
		}
		for q := range plan.ways {
			ways[q] = Way{For: r, Through: true}
		}
		out.Schedule, out.found, out.tiers = plan, true, max(out.tiers, tiers)
	}
	out.ways, out.Blocked, out.after = ways, blocked, e.Costs
	return out, nil
}

// held are the replicas that are where they should not be, and that nothing but room keeps from some server.
func (o *Outcome) held() (list []int32) {
	search, n := o.search, len(o.stated.Task.Replicas)
	if slices.ContainsFunc(o.stated.Task.Replicas, func(r Replica) bool { return r.Added }) {
		return nil // what is missing goes first, and is waited for
	}
	for r := range int32(n) {
		at := o.target[r]
		if at == problem.Unplaced || search.M.Pinned(r) || len(list) == mostHeld {
			continue
		}
		refused, _ := search.Breaks(r)
		if refused == assignment.Allowed && !o.leaves(r) && search.Goal[int(at)*search.M.Tiers] == 0 {
			continue
		}
		for t := range int32(len(o.stated.Task.Servers)) {
			if search.Judge(r, t).Refused == assignment.Full {
				list = append(list, r)
				break
			}
		}
	}
	return list
}

// leaves reports whether a replica is on a server that it is to leave.
func (o *Outcome) leaves(r int32) bool {
	return o.stated.Task.Replicas[r].Leaves && !o.stated.Task.Servers[o.target[r]].Accepts
}

// arrange orders the moves to where replicas are to be. What is charged at one place only makes room as soon as it begins to leave, but new replicas come
// before all moves of a plan: those that need such room wait.
func (s *stated) arrange(target []int32) (Schedule, error) {
	p, n := s.Problem, int32(len(s.Task.Replicas))
	p.Relations = slices.DeleteFunc(slices.Clone(p.Relations), func(d problem.Relation) bool { return s.shadows[d.On] }) // what they are for, waves do better
	steps, blocked, err := waves.Order(&p, target)
	if err != nil {
		return Schedule{}, err
	}
	plan, left := Schedule{Places: slices.Clone(s.Start[:n]), ways: map[int32]Way{}}, false
	begins := make([]bool, n)
	for _, step := range steps {
		r, isNew := step.Replica, step.From == problem.Unplaced
		if step.Wave > 1 || isNew && left {
			plan.Waiting = append(plan.Waiting, Waiting{Replica: r, From: step.From, To: step.To, Wave: max(2, step.Wave)})
			continue
		}
		left = left || !isNew
		plan.Places[r], begins[r] = step.To, true
		plan.Order = append(plan.Order, r)
		if step.Detour {
			plan.ways[r] = Way{For: r, Through: true}
		}
	}
	for r := range n {
		if !begins[r] {
			plan.Order = append(plan.Order, r)
		}
	}
	for _, b := range blocked {
		plan.Blocked = append(plan.Blocked, Waiting{Replica: b.Replica, From: s.Start[b.Replica], To: b.To, Binds: s.refusal(int(b.Replica), int(b.To), b.Verdict)})
	}
	return plan, nil
}
