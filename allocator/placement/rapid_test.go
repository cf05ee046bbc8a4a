package placement_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// inputs draws clusters of any shape: several metrics, tight capacities, any geography, drains, suspects, moves in progress, avoidances,
// and replicas that break what the policy wants.
func inputs(t *rapid.T) placement.Input {
	n := rapid.IntRange(0, 6).Draw(t, "servers")
	in := build(n)
	in.Policy = drawPolicy(t)
	for i := range in.Servers {
		s := &in.Servers[i]
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			s.Accepts, s.Leaving = false, true
		case 1:
			s.Accepts = false
		}
		s.Locality = drawLocality(t)
		s.Capacity = map[string]int64{}
		for _, metric := range []string{placement.MetricShards, placement.MetricPrimaries, "cpu"} {
			if rapid.IntRange(0, 2).Draw(t, "limited") == 0 {
				s.Capacity[metric] = rapid.Int64Range(0, 60).Draw(t, metric)
			}
		}
	}
	if rapid.Bool().Draw(t, "measured") {
		for _, pair := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "c"}} {
			ms := time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond // 0: not known
			in.Apart = in.Apart.Else(latency.Of([]latency.Pair{{From: pair[0], To: pair[1], Estimate: latency.Estimate{Median: ms}}}))
		}
	}
	for i := range rapid.IntRange(0, 24).Draw(t, "shards") {
		in.Shards = append(in.Shards, drawShard(t, in, i))
	}
	return in
}

func drawPolicy(t *rapid.T) placement.Policy {
	p := placement.Policy{
		Replicas: rapid.IntRange(1, 4).Draw(t, "replicas"), Primary: rapid.IntRange(0, 3).Draw(t, "primary") > 0,
		Spread:           locality.Domain(rapid.IntRange(0, 4).Draw(t, "width")),
		Moves:            rapid.IntRange(0, 12).Draw(t, "moves"),
		MovesPerServer:   rapid.IntRange(0, 6).Draw(t, "moves per server"),
		TolerancePercent: rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "tolerance"),
		PreferRegions:    rapid.SampledFrom([][]string{nil, nil, {"a"}, {"b", "a"}, {"mars"}}).Draw(t, "preferred"),
	}
	if rapid.IntRange(0, 2).Draw(t, "regions") == 0 {
		p.Regions = map[string]int{"a": rapid.IntRange(0, p.Replicas).Draw(t, "in a")}
		p.Regions["b"] = rapid.IntRange(0, p.Replicas-p.Regions["a"]).Draw(t, "in b")
	}
	return p
}

func drawLocality(t *rapid.T) shard.Locality {
	return shard.Locality{
		Region: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "region"), Zone: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "zone"),
		Rack: rapid.SampledFrom([]string{"", "r"}).Draw(t, "rack"), Host: rapid.SampledFrom([]string{"", "h", "i"}).Draw(t, "host"),
	}
}

func drawShard(t *rapid.T, in placement.Input, i int) placement.Shard {
	n := len(in.Servers)
	s := placement.Shard{Index: shard.Index(i), Load: map[string]int64{placement.MetricShards: 1}}
	s.Load["cpu"] = rapid.Int64Range(0, 20).Draw(t, "cpu")
	if in.Policy.Replicas > 1 && rapid.Bool().Draw(t, "scaled") {
		s.Wanted = max(2, in.Policy.Regions["a"]+in.Policy.Regions["b"]) + rapid.IntRange(0, 2).Draw(t, "wanted")
	}
	s.Urgent, s.Backoff = rapid.Bool().Draw(t, "urgent"), rapid.IntRange(0, 9).Draw(t, "backoff") == 0
	if n == 0 {
		return s
	}
	if rapid.IntRange(0, 5).Draw(t, "avoids") == 0 {
		s.Avoid = []shard.ServerID{in.Servers[rapid.IntRange(0, n-1).Draw(t, "avoid")].ID}
	}
	free := rapid.Permutation(positions(n)).Draw(t, "places")
	for range rapid.IntRange(0, min(n, in.Policy.Replicas+1)).Draw(t, "has") {
		r := placement.Replica{On: free[0], To: -1, Role: shard.Secondary, Settled: rapid.IntRange(0, 5).Draw(t, "unsettled") > 0}
		free = free[1:]
		if len(s.Replicas) == 0 && in.Policy.Primary && rapid.IntRange(0, 5).Draw(t, "lost") > 0 {
			r.Role = shard.Primary
		}
		switch what := rapid.IntRange(0, 14).Draw(t, "what"); {
		case what == 0 && len(free) > 0:
			r.To, s.Pinned = free[0], s.Pinned || r.Role == shard.Primary
			free = free[1:]
		case what == 1 && r.Role == shard.Secondary:
			r.Leaving = true
		case what == 2:
			r.On, r.Settled, s.Pinned = -1, false, true
		}
		s.Replicas = append(s.Replicas, r)
		if len(free) == 0 {
			break
		}
	}
	return s
}

func positions(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func TestEveryPrefixKeepsTheConstraints(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := inputs(t)
		if rapid.Bool().Draw(t, "policies") {
			drawTerms(t, &in)
		}
		plan := placement.Solve(in)
		if diff := cmp.Diff(plan, placement.Solve(in)); diff != "" {
			t.Fatalf("two solves of one input differ: %s", diff)
		}
		after, err := apply(in, plan)
		if err != nil {
			t.Fatal(err)
		}
		explained := map[shard.Index]bool{}
		for _, d := range plan.Decisions {
			explained[d.Shard] = true
		}
		for i, s := range after.Shards {
			missing := len(s.Replicas) < (&world{in: in}).wanted(&s) || in.Policy.Primary && s.Primary() == nil
			if missing && !in.Shards[i].Pinned && !explained[s.Index] {
				t.Fatalf("shard %d lacks something and nothing says why", s.Index)
			}
		}
	})
}

// Solving again and again comes to rest, and at rest no single move that is allowed makes the fullest of two servers lower.
func TestPlansComeToRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := inputs(t)
		in.Policy.Moves, in.Policy.MovesPerServer = max(4, in.Policy.Moves), max(4, in.Policy.MovesPerServer)
		for round := 0; ; round++ {
			plan := placement.Solve(in)
			if len(plan.Moves) == 0 {
				break
			}
			if round > 200 {
				t.Fatalf("still moving after %d solves: %s", round, short(plan))
			}
			next, err := apply(in, plan)
			if err != nil {
				t.Fatal(err)
			}
			in = next
		}
	})
}

// With room for everything and no caps in the way, one plan is enough: solving its result moves nothing.
func TestOnePlanIsEnough(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "servers")
		on := rapid.SliceOfN(rapid.IntRange(-1, n-1), 0, 60).Draw(t, "on")
		in := build(n, on...)
		in.Policy = placement.Policy{Replicas: 1, Primary: true, Moves: 1000, MovesPerServer: 1000, TolerancePercent: rapid.SampledFrom([]int{0, 10}).Draw(t, "tolerance")}
		if n > 1 && rapid.Bool().Draw(t, "drain") {
			in.Servers[0].Accepts, in.Servers[0].Leaving = false, true
		}
		if rapid.Bool().Draw(t, "unequal") {
			for i := range in.Servers {
				in.Servers[i].Capacity = map[string]int64{placement.MetricShards: rapid.Int64Range(100, 400).Draw(t, "capacity")}
			}
		}
		after, err := apply(in, placement.Solve(in))
		if err != nil {
			t.Fatal(err)
		}
		if again := placement.Solve(after); len(again.Moves) > 0 {
			t.Fatalf("solving the result moves %s", short(again))
		}
		for _, s := range after.Shards {
			if on := place(s); on < 0 || in.Servers[on].Leaving {
				t.Fatalf("shard %d is on %d", s.Index, on)
			}
		}
		if after.Servers[0].Capacity == nil && spread(counts(after)) > max(1, len(on)/10+1) {
			t.Fatalf("not balanced: %v", counts(after))
		}
	})
}

// oracle tries every assignment of shards of equal load to servers and returns, of those that place the most, the least spread and, of
// those, the fewest moves of placed shards.
func oracle(in placement.Input) (placed, least, moved int) {
	placed = -1
	at := make([]int, len(in.Shards))
	var try func(i int)
	try = func(i int) {
		if i < len(at) {
			for at[i] = -1; at[i] < len(in.Servers); at[i]++ {
				if at[i] >= 0 || place(in.Shards[i]) < 0 {
					try(i + 1)
				}
			}
			return
		}
		n, p, m := make([]int, len(in.Servers)), 0, 0
		for i, to := range at {
			if to >= 0 {
				n[to]++
				p++
			}
			if on := place(in.Shards[i]); on >= 0 && on != to {
				m++
			}
		}
		for s, count := range n {
			if c, ok := in.Servers[s].Capacity[placement.MetricShards]; ok && int64(count) > c {
				return
			}
		}
		s := spread(n)
		if p > placed || (p == placed && (s < least || (s == least && m < moved))) {
			placed, least, moved = p, s, m
		}
	}
	try(0)
	return placed, least, moved
}

func TestTinyCasesAreAsGoodAsTheOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "servers")
		in := build(n, rapid.SliceOfN(rapid.IntRange(-1, n-1), 0, 6).Draw(t, "on")...)
		in.Policy = placement.Policy{Replicas: 1, Primary: true, Moves: 100, MovesPerServer: 100}
		capacity := rapid.Int64Range(2, 7).Draw(t, "capacity")
		for i := range in.Servers {
			in.Servers[i].Capacity = map[string]int64{placement.MetricShards: capacity}
		}
		if slices.ContainsFunc(counts(in), func(n int) bool { return int64(n) > capacity }) {
			return // broken from the start
		}
		placed, least, moved := oracle(in)
		plan := placement.Solve(in)
		after, err := apply(in, plan)
		if err != nil {
			t.Fatal(err)
		}
		total, moves := 0, 0
		for _, c := range counts(after) {
			total += c
		}
		for _, m := range plan.Moves {
			if m.From != "" {
				moves++
			}
		}
		if total != placed || spread(counts(after)) != least || moves != moved {
			t.Fatalf("placed %d, spread %d, %d moves; the oracle placed %d, spread %d, %d moves: %s",
				total, spread(counts(after)), moves, placed, least, moved, short(plan))
		}
	})
}
