package whatif

import (
	"context"
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Policies are what the policy of an app is resolved with.
type Policies struct {
	Cluster *policy.Source     // defaults; nil: none
	Others  resolve.Neighbours // where other apps are; nil: nowhere
}

func (p Policies) others() resolve.Neighbours {
	if p.Others == nil {
		return saved(nil)
	}
	return p.Others
}

// neighbour is another app, or one shard of it.
type neighbour struct {
	app shard.App
	id  shard.ID
}

// saved are neighbours from a file, or those that were asked for.
type saved map[neighbour][]resolve.Place

// Places implements resolve.Neighbours.
func (s saved) Places(app shard.App, id shard.ID) ([]resolve.Place, bool) {
	places, ok := s[neighbour{app, id}]
	return places, ok
}

// seen remembers the neighbours that were asked for.
type seen struct {
	resolve.Neighbours
	list []*pb.PlacementNeighbour
}

// Places implements resolve.Neighbours.
func (s *seen) Places(app shard.App, id shard.ID) ([]resolve.Place, bool) {
	places, ok := s.Neighbours.Places(app, id)
	n := &pb.PlacementNeighbour{App: string(app), Shard: string(id), Known: ok}
	for _, p := range places {
		n.Places = append(n.Places, &pb.NeighbourPlace{Locality: wire.LocalityToProto(p.Locality), Labels: p.Labels})
	}
	s.list = append(s.list, n)
	return places, ok
}

// save puts into a state all that the policies of an app need.
func (p Policies) save(ctx context.Context, in placement.Input, resolver *resolve.Resolver, state *pb.PlacementState) {
	asked := &seen{Neighbours: p.others()}
	resolver.Resolve(ctx, &in, asked)
	state.Policy, state.Neighbours = appspec.Policy(in.Policy.Written), asked.list
	if p.Cluster != nil {
		state.ClusterPolicy = p.Cluster.Policy()
	}
}

// policiesFromProto reads what save wrote.
func policiesFromProto(p *pb.PlacementState, in *placement.Input) (Policies, error) {
	others := saved{}
	for _, n := range p.GetNeighbours() {
		if !n.GetKnown() {
			continue
		}
		at := neighbour{shard.App(n.GetApp()), shard.ID(n.GetShard())}
		others[at] = []resolve.Place{}
		for _, place := range n.GetPlaces() {
			others[at] = append(others[at], resolve.Place{Locality: wire.LocalityFromProto(place.GetLocality()), Labels: place.GetLabels()})
		}
	}
	with := Policies{Others: others}
	var err error
	if p.GetClusterPolicy() != nil {
		if with.Cluster, err = policy.New(p.GetClusterPolicy(), policy.Known{}); err != nil {
			return with, wrong("cluster_policy", "a sound policy: %v", err)
		}
	}
	if in.Policy.Written, err = appspec.Written(p.GetPolicy()); err != nil {
		return with, wrong("policy", "a policy: %v", err)
	}
	return with, nil
}

// otherPolicy is the app with another policy, once that is admitted.
func (p Policies) otherPolicy(in *placement.Input, base placement.Policy, written *pb.Policy) (*placement.Policy, error) {
	app := &pb.AppSpec{Name: string(in.App), Replicas: count(base.Replicas), Replication: pb.Replication_REPLICATION_SECONDARY_ONLY, Policy: written}
	if base.Primary {
		app.Replication = pb.Replication_REPLICATION_PRIMARY_SECONDARY
	}
	if err := p.admit("changes.policy", app); err != nil {
		return nil, err
	}
	var err error
	if base.Written, err = appspec.Written(written); err != nil {
		return nil, &wire.FieldError{Field: "changes.policy", Expected: fmt.Sprintf("a policy: %v", err)}
	}
	return &base, nil
}

// admit refuses a spec with a policy that the allocator would refuse.
func (p Policies) admit(field string, app *pb.AppSpec) error {
	if _, err := (policy.Admission{Cluster: p.Cluster}).Admit(app); err != nil {
		return &wire.FieldError{Field: field, Expected: fmt.Sprintf("a policy that is admitted: %v", err)}
	}
	return nil
}
