package placement_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/placement"
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
			{Server: "s0005.kv", Rank: 1, Why: "it would be at 100 % of its fair share with one more average shard"},
			{Server: "s0000.kv", Rank: 2, Utilisation: 200, Why: "it would be at 300 % of its fair share with one more average shard"},
			{Server: "s0001.kv", Binds: "accepts", Why: "it is being drained"},
			{Server: "s0002.kv", Binds: "capacity.shards", Why: "it has 0 of shards left, of 0; the shard needs 1"},
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
