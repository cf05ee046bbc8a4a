package placement_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	in := build(6, 0, 0, -1)
	in.Servers[1].Accepts, in.Servers[1].Leaving = false, true
	in.Servers[2].Capacity = map[string]int64{placement.MetricShards: 0}
	in.Servers[3].Accepts = false
	in.Shards[2].Avoid = []shard.ServerID{"s0004.kv"}
	got, ok := placement.Explain(in, 2)
	if !ok {
		t.Fatal("the shard is not found")
	}
	want := placement.Explanation{
		Shard: 2,
		Decisions: []placement.Decision{{Shard: 2, Kind: placement.Grant, To: "s0005.kv", Reason: placement.Place,
			Why: "s0005.kv is the least utilised server with room: 0 % of its fair share before"}},
		Candidates: []placement.Candidate{
			{Server: "s0005.kv", Rank: 1, Why: "it would be at 100 % of its fair share with one more average replica"},
			{Server: "s0000.kv", Rank: 2, Utilisation: 200, Why: "it would be at 300 % of its fair share with one more average replica"},
			{Server: "s0001.kv", Binds: "accepts", Why: "it is being drained"},
			{Server: "s0002.kv", Binds: "capacity.shards", Why: "it has 0 of shards left, of 0; the replica needs 1"},
			{Server: "s0003.kv", Binds: "accepts", Why: "it is not attached, or is suspected"},
			{Server: "s0004.kv", Binds: "avoid", Why: "callbacks for the shard failed there lately"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := placement.Explain(in, 3); ok {
		t.Error("a shard that does not exist is explained")
	}
}

func TestExplainReplicas(t *testing.T) {
	t.Parallel()
	policy := placement.Policy{Replicas: 2, Primary: true, Spread: locality.Zone, PreferRegions: []string{"eu"}, Regions: map[string]int{"us": 1}}
	in := city(policy, "us/1 us/1 us/2 eu/1 ap/1", "0 4s", "0")
	for _, c := range []struct {
		shard shard.Index
		want  []string
	}{
		{0, []string{ // its primary would move
			"s0001.kv 1: region us is none of the preferred ones; it would be at 100 % of its fair share with one more average replica",
			"s0002.kv 2: region us is none of the preferred ones; it would be at 100 % of its fair share with one more average replica",
			"s0000.kv 0 held: it has a replica of the shard, or is to get one",
			"s0003.kv 0 region_replicas.us: region us must keep 1 replicas and has no more",
			"s0004.kv 0 held: it has a replica of the shard, or is to get one",
		}},
		{1, []string{ // it lacks a secondary
			"s0003.kv 1: it would be at 100 % of its fair share with one more average replica",
			"s0004.kv 2: it would be at 200 % of its fair share with one more average replica",
			"s0002.kv 3: in the same region as another replica; it would be at 100 % of its fair share with one more average replica",
			"s0000.kv 0 held: it has a replica of the shard, or is to get one",
			"s0001.kv 0 spread zone: it is in the same zone as the replica on s0000.kv",
		}},
	} {
		e, _ := placement.Explain(in, c.shard)
		var got []string
		for _, k := range e.Candidates {
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s %d %s", k.Server, k.Rank, k.Binds))+": "+k.Why)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("shard %d: %s", c.shard, diff)
		}
	}
}

// Where no preferred region has room, it says how far the others are.
func TestExplainHowFar(t *testing.T) {
	t.Parallel()
	in := apart(city(placement.Policy{Replicas: 1, Primary: true, PreferRegions: []string{"eu"}}, "ap/1 eu/1! us/1", ""), 200, 90, 300)
	e, _ := placement.Explain(in, 0)
	for i, want := range []string{"region us is none of the preferred ones, and 90ms from eu", "region ap is none of the preferred ones, and 200ms from eu"} {
		if got := e.Candidates[i].Why; !strings.HasPrefix(got, want) {
			t.Errorf("candidate %d: %q, expected %q", i, got, want)
		}
	}
}
