package whatif_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/whatif"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// written is a policy from YAML.
func written(t *testing.T, known policy.Known, text string) *policy.Source {
	t.Helper()
	s, err := policy.Parse("p.yaml", []byte(text), known)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// batch is another app, in one zone.
type batch struct{}

func (batch) Places(app shard.App, _ shard.ID) ([]resolve.Place, bool) {
	return []resolve.Place{{Locality: shard.Locality{Region: "eu", Zone: "1"}}}, app == "batch"
}

// plain is an app of one shard, on the second of three servers.
func plain(t *testing.T, text string) placement.Input {
	t.Helper()
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
	for i, zone := range []string{"1", "2", "3"} {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID("s" + zone), Accepts: true, Locality: shard.Locality{Region: "eu", Zone: zone},
			Labels: map[string]string{"disk": []string{"ssd", "hdd", "ssd"}[i]}})
	}
	in.Shards = []placement.Shard{{ID: "0", Load: map[string]int64{"shards": 1}, Replicas: []placement.Replica{{On: 1, To: -1, Role: shard.Primary, Settled: true}}}}
	if text != "" {
		var err error
		if in.Policy.Written, err = appspec.Written(written(t, policy.Known{App: "kv"}, text).Policy()); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

const (
	fence     = "constraints: [{name: fence, eligibility: {expression: 'server.labels.disk == \"ssd\"'}}]"
	notBeside = "constraints: [{name: not beside batch, exclusion: {app: batch, domain: zone}}]"
)

// Simulations heed the policies of the cluster, of the app and of the change, live and from a saved state alike.
func TestPoliciesAreSimulated(t *testing.T) {
	t.Parallel()
	cluster := written(t, policy.Known{}, notBeside)
	for _, c := range []struct {
		name    string
		in      placement.Input
		with    whatif.Policies
		changes *pb.SimulatedChanges
		want    shard.ServerID
	}{
		{name: "no policy", in: plain(t, ""), want: "s2"},
		{name: "a fence of the app", in: plain(t, fence), want: "s1"},
		{name: "and what the cluster says", in: plain(t, fence), with: whatif.Policies{Cluster: cluster, Others: batch{}}, want: "s3"},
		{name: "another policy", in: plain(t, fence), changes: &pb.SimulatedChanges{Policy: written(t, policy.Known{App: "kv"}, "goals: [{tier: 1, drain: {}}]").Policy()}, want: "s2"},
		{name: "a fence that another spec has", in: plain(t, ""), changes: &pb.SimulatedChanges{Spec: &pb.AppSpec{Name: "kv",
			KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 1}}}, Policy: written(t, policy.Known{App: "kv"}, fence).Policy()}}, want: "s1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &pb.SimulateRequest{Changes: c.changes, WithState: true}
			answer, err := whatif.Answer(t.Context(), c.in, c.with, r)
			if err != nil {
				t.Fatal(err)
			}
			if moved, want := answer.GetReplicasMoved() == 1, c.want != "s2"; moved != want || !answer.GetAtRest() {
				t.Errorf("moved %v, expected %v: %v", moved, want, answer)
			}
			text, err := protojson.Marshal(answer.GetState())
			if err != nil {
				t.Fatal(err)
			}
			state := new(pb.PlacementState)
			if err := protojson.Unmarshal(text, state); err != nil {
				t.Fatal(err)
			}
			in, with, err := whatif.StateFromProto(state)
			if err != nil {
				t.Fatal(err)
			}
			again, err := whatif.Answer(t.Context(), in, with, r)
			if err != nil || !proto.Equal(answer, again) {
				t.Errorf("from the saved state: %v, %v; live: %v", again, err, answer)
			}
			// Where it ends: every other server is lost, and nothing has to move.
			lose := &pb.SimulatedChanges{Spec: c.changes.GetSpec(), Policy: c.changes.GetPolicy()}
			for _, s := range in.Servers {
				if s.ID != c.want {
					lose.LoseServers = append(lose.LoseServers, string(s.ID))
				}
			}
			if alone, err := whatif.Answer(t.Context(), in, with, &pb.SimulateRequest{Changes: lose}); err != nil || alone.GetAfter().GetUnplaced() > 0 {
				t.Errorf("it may not be on %s: %v, %v", c.want, alone, err)
			}
		})
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	t.Parallel()
	contradiction := &pb.Policy{Constraints: []*pb.Constraint{{Kind: &pb.Constraint_Spread{Spread: &pb.Spread{
		Over: &pb.Spread_Domain{Domain: pb.FaultDomain_FAULT_DOMAIN_ZONE}, Limit: &pb.Spread_AtLeastDomains{AtLeastDomains: 3}}}}}}
	unread := &pb.Policy{Constraints: []*pb.Constraint{{Kind: &pb.Constraint_Eligibility{Eligibility: &pb.Eligibility{Expression: "server.x"}}}}}
	for name, p := range map[string]*pb.Policy{"more domains than replicas": contradiction, "an expression without a meaning": unread} {
		_, err := whatif.Answer(t.Context(), plain(t, ""), whatif.Policies{}, &pb.SimulateRequest{Changes: &pb.SimulatedChanges{Policy: p}})
		var bad *wire.FieldError
		if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), "changes.policy:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	state := whatif.StateToProto(plain(t, ""))
	state.ClusterPolicy = unread
	if _, _, err := whatif.StateFromProto(state); err == nil || !strings.HasPrefix(err.Error(), "cluster_policy:") {
		t.Errorf("%v", err)
	}
}
