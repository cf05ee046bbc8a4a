package allocator

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// A replica that stays is explained by the goals of its app's policy, the most important first: servers are paid for, so it stays with the others.
func TestExplainedByTheGoalsOfThePolicy(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	policy := &pb.Policy{Goals: []*pb.Goal{
		{Tier: 1, Kind: &pb.Goal_Cost{Cost: &pb.CostGoal{PriceLabel: "name", ServerMicrosPerHour: map[string]uint64{"x": 1_000_000, "y": 2_500_000}}}},
		{Tier: 4, Kind: &pb.Goal_Balance{Balance: &pb.BalanceGoal{Metric: "shards"}}},
		{Tier: 5, Kind: &pb.Goal_Movement{Movement: &pb.MovementGoal{}}},
	}}
	if _, err := n.admin.CreateApp(t.Context(), &pb.CreateAppRequest{Spec: withPolicy("kv", 8, policy)}); err != nil {
		t.Fatal(err)
	}
	x := c.agent("x", "kv", 1, n)
	eventually(t, "all shards at x", func() bool { return placed(8, x) })
	y := c.agent("y", "kv", 1, n)
	var answer *pb.ExplainResponse
	eventually(t, "y to be a candidate", func() bool {
		answer = explained(t, n, "kv")
		return len(answer.GetCandidates()) == 2 && answer.GetCandidates()[1].GetRank() == 2
	})
	if places := answer.GetPlaces(); len(places) != 1 || places[0].GetServer() != "x.kv" || places[0].GetBetterElsewhere() ||
		places[0].GetVerdict() != "stays: the best other place, y.kv, costs more: cost +2.5 an hour" {
		t.Errorf("places %v", places)
	}
	here, there := answer.GetCandidates()[0], answer.GetCandidates()[1]
	if !here.GetHere() || len(here.GetCosts()) != 0 || answer.GetCandidatesOf() != "x.kv" {
		t.Errorf("here %v, candidates of %s", here, answer.GetCandidatesOf())
	}
	costs := there.GetCosts()
	if len(costs) != 3 || costs[0].GetTier() != 1 || costs[0].GetGoal() != "cost" || costs[0].GetAmount() != 2_500_000 || costs[1].GetTier() != 4 || costs[2].GetUnit() != "moves" {
		t.Errorf("costs %v", costs)
	}
	if !placed(0, y) {
		t.Error("a shard went to y")
	}
	_, err := n.admin.Explain(t.Context(), &pb.ExplainRequest{App: "kv", Shard: "0", Replica: "y.kv"})
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), `(x.kv), not "y.kv"`) {
		t.Errorf("a server without a replica: %v", err)
	}
}
