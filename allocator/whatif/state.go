package whatif

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// maxReplicas is more than a spec can ask for.
const maxReplicas = 1000

// StateToProto converts what placement sees of an app, but for its policies.
func StateToProto(in placement.Input) *pb.PlacementState {
	p := in.Policy
	out := &pb.PlacementState{App: string(in.App), Latencies: wire.LatenciesToProto(in.Apart), Wants: &pb.PlacementWants{
		Replicas: count(p.Replicas), Primary: p.Primary, Spread: pb.FaultDomain(p.Spread), PreferredRegions: slices.Clone(p.PreferRegions),
		MaxConcurrentMoves: count(p.Moves), MaxConcurrentMovesPerServer: count(p.MovesPerServer), BalanceTolerancePercent: count(p.TolerancePercent),
	}}
	for region, n := range p.Regions {
		if out.Wants.RegionReplicas == nil {
			out.Wants.RegionReplicas = map[string]uint32{}
		}
		out.Wants.RegionReplicas[region] = count(n)
	}
	for _, s := range in.Servers {
		out.Servers = append(out.Servers, &pb.PlacementServer{
			Id: string(s.ID), Incarnation: uint64(s.Incarnation), Locality: wire.LocalityToProto(s.Locality), Capacity: cloned(s.Capacity),
			Accepts: s.Accepts, Leaving: s.Leaving, Moves: count(s.Moves), Labels: cloned(s.Labels),
		})
	}
	for i := range in.Shards {
		s := &in.Shards[i]
		sh := &pb.PlacementShard{
			Index: uint32(s.Index), Id: string(s.ID), Load: cloned(s.Load), Pinned: s.Pinned, Avoid: stringsOf(s.Avoid), Urgent: s.Urgent, Backoff: s.Backoff,
			Wanted: count(s.Wanted),
		}
		for _, r := range s.Replicas {
			sh.Replicas = append(sh.Replicas, &pb.PlacementReplica{
				On: count(r.On + 1), To: count(r.To + 1), Role: pb.Role(r.Role), Settled: r.Settled, Leaving: r.Leaving,
			})
		}
		out.Shards = append(out.Shards, sh)
	}
	return out
}

// StateFromProto converts it back, and refuses what no allocator has written: its errors are *wire.FieldError.
func StateFromProto(p *pb.PlacementState) (placement.Input, Policies, error) {
	in, err := stateFromProto(p)
	if err != nil {
		return in, Policies{}, err
	}
	with, err := policiesFromProto(p, &in)
	return in, with, err
}

func stateFromProto(p *pb.PlacementState) (placement.Input, error) {
	in := placement.Input{App: shard.App(p.GetApp()), Apart: wire.LatenciesFromProto(p.GetLatencies())}
	if p.GetApp() == "" {
		return in, wrong("app", "the name of an app")
	}
	var err error
	if in.Policy, err = wantsFromProto(p.GetWants()); err != nil {
		return in, err
	}
	for i, s := range p.GetServers() {
		field := fmt.Sprintf("servers[%d]", i)
		if s.GetId() == "" || i > 0 && s.GetId() <= p.GetServers()[i-1].GetId() {
			return in, wrong(field+".id", "the ids of servers in order, each once, not %q", s.GetId())
		}
		if err := notNegative(field+".capacity", s.GetCapacity()); err != nil {
			return in, err
		}
		in.Servers = append(in.Servers, placement.Server{
			ID: shard.ServerID(s.GetId()), Incarnation: shard.Incarnation(s.GetIncarnation()), Locality: wire.LocalityFromProto(s.GetLocality()),
			Capacity: s.GetCapacity(), Accepts: s.GetAccepts(), Leaving: s.GetLeaving(), Moves: number(s.GetMoves()), Labels: s.GetLabels(),
		})
	}
	for i, s := range p.GetShards() {
		if i > 0 && s.GetIndex() <= p.GetShards()[i-1].GetIndex() {
			return in, wrong(fmt.Sprintf("shards[%d].index", i), "the indexes of shards in order, each once, not %d", s.GetIndex())
		}
		sh, err := shardFromProto(fmt.Sprintf("shards[%d]", i), s, len(in.Servers))
		if err != nil {
			return in, err
		}
		in.Shards = append(in.Shards, sh)
	}
	return in, nil
}

func wantsFromProto(p *pb.PlacementWants) (placement.Policy, error) {
	policy := placement.Policy{
		Replicas: number(p.GetReplicas()), Primary: p.GetPrimary(), Spread: locality.Domain(min(max(p.GetSpread(), 0), pb.FaultDomain_FAULT_DOMAIN_REGION)),
		PreferRegions: p.GetPreferredRegions(), Moves: number(p.GetMaxConcurrentMoves()), MovesPerServer: number(p.GetMaxConcurrentMovesPerServer()),
		TolerancePercent: number(p.GetBalanceTolerancePercent()),
	}
	if policy.Replicas < 1 || policy.Replicas > maxReplicas {
		return policy, wrong("wants.replicas", "1 to %d, not %d", maxReplicas, p.GetReplicas())
	}
	sum := 0
	for region, n := range p.GetRegionReplicas() {
		if policy.Regions == nil {
			policy.Regions = map[string]int{}
		}
		policy.Regions[region] = number(n)
		sum += min(number(n), maxReplicas+1)
	}
	if sum > policy.Replicas {
		return policy, wrong("wants.region_replicas", "a sum of at most replicas, which is %d", policy.Replicas)
	}
	return policy, nil
}

func shardFromProto(field string, p *pb.PlacementShard, servers int) (placement.Shard, error) {
	s := placement.Shard{
		Index: shard.Index(p.GetIndex()), ID: shard.ID(p.GetId()), Load: p.GetLoad(), Pinned: p.GetPinned(), Urgent: p.GetUrgent(), Backoff: p.GetBackoff(),
		Wanted: number(p.GetWanted()),
	}
	if s.Wanted > maxReplicas {
		return s, wrong(field+".wanted", "at most %d, not %d", maxReplicas, p.GetWanted())
	}
	if p.GetLoad()[placement.MetricShards] != 1 {
		return s, wrong(field+".load.shards", "1, not %d", p.GetLoad()[placement.MetricShards])
	}
	if err := notNegative(field+".load", p.GetLoad()); err != nil {
		return s, err
	}
	for _, id := range p.GetAvoid() {
		s.Avoid = append(s.Avoid, shard.ServerID(id))
	}
	taken, primaries := map[int]bool{}, 0
	for k, r := range p.GetReplicas() {
		at := fmt.Sprintf("%s.replicas[%d]", field, k)
		to := placement.Replica{
			On: number(r.GetOn()) - 1, To: number(r.GetTo()) - 1, Role: shard.Role(min(max(r.GetRole(), 0), pb.Role_ROLE_SECONDARY)), Settled: r.GetSettled(), Leaving: r.GetLeaving(),
		}
		switch {
		case to.On >= servers || to.To >= servers:
			return s, wrong(at, "positions of %d servers, not %d and %d", servers, r.GetOn(), r.GetTo())
		case to.Role == 0:
			return s, wrong(at+".role", "primary or secondary")
		case to.On >= 0 && taken[to.On]:
			return s, wrong(at+".on", "a server that has no other replica of the shard")
		case to.Role == shard.Primary && primaries > 0:
			return s, wrong(at+".role", "one primary of a shard")
		}
		taken[to.On] = true
		if to.Role == shard.Primary {
			primaries++
		}
		s.Replicas = append(s.Replicas, to)
	}
	return s, nil
}

func notNegative(field string, m map[string]int64) error {
	for _, metric := range shard.SortedKeys(m) {
		if m[metric] < 0 {
			return wrong(field+"."+metric, "0 or more, not %d", m[metric])
		}
	}
	return nil
}

func wrong(field, format string, args ...any) error {
	return &wire.FieldError{Field: field, Expected: fmt.Sprintf(format, args...)}
}
