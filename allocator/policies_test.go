package allocator

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// eligible is a policy that lets an app on servers for which an expression holds.
func eligible(expression string) *pb.Policy {
	return &pb.Policy{Constraints: []*pb.Constraint{{Name: "fence", Kind: &pb.Constraint_Eligibility{Eligibility: &pb.Eligibility{Expression: expression}}}}}
}

func withPolicy(name string, shards uint32, p *pb.Policy) *pb.AppSpec {
	spec := appSpec(name, shards)
	spec.Policy = p
	return spec
}

// explained is what Explain says of an app's first shard.
func explained(t *testing.T, n *node, app string) *pb.ExplainResponse {
	t.Helper()
	answer, err := n.admin.Explain(t.Context(), &pb.ExplainRequest{App: app, Shard: "0"})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func mentions(notes []string, parts ...string) bool {
	return slices.ContainsFunc(notes, func(note string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(note, part) })
	})
}

// A policy is kept with its app, by the next leader too, and both tell for which servers an expression of it has no value.
func TestPoliciesAreKept(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	first := c.start("a1")
	c.leader(first)
	policy := eligible(`server.labels.name == "x" && server.labels.disk == "ssd"`)
	if _, err := first.admin.CreateApp(t.Context(), &pb.CreateAppRequest{Spec: withPolicy("kv", 8, policy)}); err != nil {
		t.Fatal(err)
	}
	second := c.start("a2")
	c.agent("x", "kv", 1, first, second)
	for _, n := range []*node{first, second} {
		c.leader(n)
		eventually(t, "the note of a server without a value", func() bool {
			return mentions(explained(t, n, "kv").GetNotes(), "no value for 1 of 1 servers", "x.kv", "no such key: disk")
		})
		got, err := n.admin.GetApp(t.Context(), &pb.GetAppRequest{Name: "kv"})
		if err != nil || !proto.Equal(got.GetSpec().GetPolicy(), policy) {
			t.Errorf("policy %v, %v", got.GetSpec().GetPolicy(), err)
		}
		holds, err := n.admin.GetPolicy(t.Context(), &pb.GetPolicyRequest{App: "kv", Shard: "0"})
		if err != nil || !proto.Equal(holds.GetEffective().GetConstraints()[0], policy.GetConstraints()[0]) || !mentions(holds.GetNotes(), "no value for 1 of 1 servers") {
			t.Errorf("holds %v, %v", holds, err)
		}
		if n == first {
			first.halt(t)
		}
	}
}

// syncBuffer is a log that goroutines write.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// What conflicts with the cluster's defaults is refused when an app is created or updated. Where the defaults came later, the allocator leads
// all the same, and says so.
func TestClusterDefaults(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte("moves: {app: 7}\nconstraints:\n- name: zones\n  spread: {domain: zone, at_most: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	looser := &pb.Policy{Constraints: []*pb.Constraint{{Kind: &pb.Constraint_Spread{Spread: &pb.Spread{
		Over: &pb.Spread_Domain{Domain: pb.FaultDomain_FAULT_DOMAIN_ZONE}, Limit: &pb.Spread_AtMost{AtMost: 2},
	}}}}}
	plain := c.start("a1")
	c.leader(plain)
	if _, err := plain.admin.CreateApp(t.Context(), &pb.CreateAppRequest{Spec: withPolicy("early", 4, looser)}); err != nil {
		t.Fatal(err)
	}
	c.agent("x", "early", 1, plain)
	plain.halt(t)

	var log syncBuffer
	cfg := fastConfig("a2", t.TempDir())
	cfg.Policy = path
	a, err := New(cfg, Deps{Store: c.store, Log: zerolog.New(&log).Level(zerolog.WarnLevel), Listener: c.listener(), AdminListener: c.listener(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	n := c.runNode(a)
	c.leader(n)
	both := []string{"policy.constraints[0]", "conflict with " + path + ":3: constraints[0]", "spread over zone"}
	for _, part := range []string{"early", path + ":3: constraints[0]"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("log %q lacks %q", log.String(), part)
		}
	}
	if notes := explained(t, n, "early").GetNotes(); !mentions(notes, "constraints[0]: conflict with "+path+":3: constraints[0]") {
		t.Errorf("notes %q", notes)
	}
	_, err = n.admin.CreateApp(t.Context(), &pb.CreateAppRequest{Spec: withPolicy("late", 4, looser)})
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, both...)
	spec := c.createApp(n, "late", 4)
	spec.Policy = looser
	_, err = n.admin.UpdateApp(t.Context(), &pb.UpdateAppRequest{Spec: spec})
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, both...)
	holds, err := n.admin.GetPolicy(t.Context(), &pb.GetPolicyRequest{App: "late"})
	if err != nil || holds.GetEffective().GetMoves().GetApp() != 7 || len(holds.GetOrigins()) != 2 || holds.GetOrigins()[1].GetOrigin() != path+":1: moves.app" {
		t.Errorf("holds %v, %v", holds, err)
	}
}

// A region that nothing is known of is refused, once any are known; one that is written down already is not.
func TestUnknownRegionsAreRefused(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	prefer := func(regions ...string) *pb.Policy {
		return &pb.Policy{Goals: []*pb.Goal{{Tier: 1, Kind: &pb.Goal_RegionPreference{RegionPreference: &pb.RegionPreference{Regions: regions}}}}}
	}
	created, err := n.admin.CreateApp(t.Context(), &pb.CreateAppRequest{Spec: withPolicy("kv", 4, prefer("mars"))})
	if err != nil {
		t.Fatalf("no region is known yet: %v", err)
	}
	x := c.agent("x", "kv", 1, n)
	eventually(t, "4 shards served", func() bool { return placed(4, x) })
	spec := created.GetSpec()
	spec.Policy = prefer("r1", "venus")
	_, err = n.admin.UpdateApp(t.Context(), &pb.UpdateAppRequest{Spec: spec})
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "policy.goals[0].region_preference.regions[1]", `unknown region "venus": there are mars, r1`)
	spec.Policy = prefer("r1", "mars")
	if _, err := n.admin.UpdateApp(t.Context(), &pb.UpdateAppRequest{Spec: spec}); err != nil {
		t.Error(err)
	}
}

// Shards are where the policy lets them be, and go elsewhere when it says otherwise.
func TestPoliciesArePlannedBy(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	created, err := n.admin.CreateApp(t.Context(), &pb.CreateAppRequest{Spec: withPolicy("kv", 8, eligible(`server.labels.name == "x"`))})
	if err != nil {
		t.Fatal(err)
	}
	x, y := c.agent("x", "kv", 1, n), c.agent("y", "kv", 1, n)
	eventually(t, "all shards at x", func() bool { return placed(8, x) && placed(0, y) })
	spec := created.GetSpec()
	spec.Policy = eligible(`server.labels.name == "y"`)
	if _, err := n.admin.UpdateApp(t.Context(), &pb.UpdateAppRequest{Spec: spec}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all shards at y", func() bool { return placed(8, y) && placed(0, x) })
	for _, s := range explained(t, n, "kv").GetCandidates() {
		if s.GetServer() == "x.kv" && s.GetBinds() != "fence" {
			t.Errorf("x is excluded by %q", s.GetBinds())
		}
	}
}
