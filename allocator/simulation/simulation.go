// Package simulation says what placement would do with an app after changes: it is the pure what-if behind `shardmanager simulate`.
//
// It repeats the real solver on a copy of its input: it takes the moves of each plan as done, and solves again, until a plan is empty.
// Nothing of it is executed, and nothing that it is given is changed. Called by allocator/whatif; it keeps no state and reads no clock.
package simulation

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// maxExamples is how many shards a Block names.
const maxExamples = 20

// Result is what placement would do.
type Result struct {
	Rounds  [][]Count // what each plan moves, by kind and reason
	Stopped string    // what ended the simulation; empty: the last plan was empty
	Moves   int
	Arrived int              // replicas that begin on another server
	Moved   map[string]int64 // their loads
	Before  State            // before the changes, the moves under way done
	After   State
	End     placement.Input // what After is of
	Blocked []Block         // by kind, reason and constraint
	Goals   []tally.Change  // by the policy that holds after the changes, the most important first

	MostShard  shard.ID // of which most replicas begin on another server, and how many
	MostMoves  int
	MostGroup  string // likewise of the groups that policies name; else the app is one
	GroupMoves int

	Notes []string

	PrimariesLost int // shards whose primary is lost by the changes
	ShardsLost    int // shards of which the changes leave no replica
}

// Count is how many moves are of a kind and for a reason.
type Count struct {
	Kind   placement.Kind
	Reason placement.Reason
	Moves  int
}

// Block is what is wanted for some shards and one constraint forbids.
type Block struct {
	Kind     placement.Kind
	Reason   placement.Reason
	Binds    string
	Shards   int
	Examples []shard.ID // the first of them
	Why      string     // of the first
}

// Run simulates. It solves at most so many times, and not again once stop gives a reason; its error is a *ChangeError.
func Run(in placement.Input, c Changes, rounds int, stop func() string) (Result, error) {
	in = copied(in)
	settle(&in)
	was := copied(in)
	r := Result{Moved: map[string]int64{}}
	in, err := c.apply(in, &r)
	if err != nil {
		return Result{}, err
	}
	in.Terms, was.Terms = nil, nil
	old := was.Policy
	was.Policy = in.Policy // goals and constraints are those after the changes, before and after
	if c.Terms != nil {
		c.Terms(&was)
		r.Notes = append(r.Notes, c.Terms(&in)...)
	}
	before, byRegion := tally.New(&was), regional(in.Terms)
	m := mover{tally: tally.New(&in), shards: map[shard.Index]int{}, groups: map[string]int{}}
	r.Stopped = play(&in, &r, &m, rounds, stop)
	after := tally.New(&in)
	r.Goals = tally.Changes(before, after, m.all())
	m.most(&in, &r)
	was.Policy = old
	r.Before, r.After, r.End = stand(&was, byRegion), stand(&in, byRegion), in
	r.Before.Broken, r.After.Broken = before.Broken(), after.Broken()
	return r, nil
}

// Reached is what the goals of an app cost before the moves of a plan, and once all of them are done.
func Reached(in placement.Input, plan placement.Plan) []tally.Change {
	in = copied(in)
	settle(&in)
	was := copied(in)
	r := Result{Moved: map[string]int64{}}
	m := mover{tally: tally.New(&in), shards: map[shard.Index]int{}, groups: map[string]int{}}
	advance(&in, plan.Moves, &r, &m)
	return tally.Changes(tally.New(&was), tally.New(&in), m.all())
}

// play solves and moves until there is nothing to move, or says what ended it.
func play(in *placement.Input, r *Result, m *mover, rounds int, stop func() string) string {
	notes := r.Notes
	for {
		plan := placement.Solve(*in)
		r.Notes = append(slices.Clip(notes), plan.Notes...)
		if r.Blocked = blocked(in, plan); len(plan.Moves) == 0 {
			return ""
		}
		if len(r.Rounds) >= rounds {
			return fmt.Sprintf("the most rounds (%d) are over, and the next plan has %d moves", rounds, len(plan.Moves))
		}
		if why := stop(); why != "" {
			return why
		}
		advance(in, plan.Moves, r, m)
		r.Rounds = append(r.Rounds, counts(plan.Moves))
		r.Moves += len(plan.Moves)
	}
}

// counts sums up moves by kind and reason.
func counts(moves []placement.Move) (list []Count) {
	for _, m := range moves {
		i, found := slices.BinarySearchFunc(list, m, func(c Count, m placement.Move) int {
			return cmp.Or(cmp.Compare(c.Kind, m.Kind), cmp.Compare(c.Reason, m.Reason))
		})
		if !found {
			list = slices.Insert(list, i, Count{Kind: m.Kind, Reason: m.Reason})
		}
		list[i].Moves++
	}
	return list
}

// blocked sums up what a plan wants and cannot do, by what forbids it. A shard that lacks several replicas for one reason counts once.
func blocked(in *placement.Input, plan placement.Plan) (list []Block) {
	type cause struct {
		kind   placement.Kind
		reason placement.Reason
		binds  string
	}
	type instance struct {
		cause
		at shard.Index
	}
	at, told := map[cause]int{}, map[instance]bool{}
	for _, d := range plan.Decisions {
		i, ok := position(in, d.Shard)
		why := cause{d.Kind, d.Reason, d.Binds}
		if !ok || hole(&in.Shards[i]) || d.To != "" || d.Binds == "" || told[instance{why, d.Shard}] {
			continue
		}
		told[instance{why, d.Shard}] = true
		if _, known := at[why]; !known {
			at[why], list = len(list), append(list, Block{Kind: d.Kind, Reason: d.Reason, Binds: d.Binds, Why: d.Why})
		}
		b := &list[at[why]]
		if b.Shards++; len(b.Examples) < maxExamples {
			b.Examples = append(b.Examples, in.Shards[i].ID)
		}
	}
	slices.SortStableFunc(list, func(a, b Block) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Binds, b.Binds))
	})
	return list
}
