package resolve_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// written is a policy as a spec keeps it.
func written(t testing.TB, text string) []byte {
	t.Helper()
	p := new(pb.Policy)
	if _, err := config.ParseMessage("kv.yaml", []byte(text), 1<<20, p, "a policy"); err != nil {
		t.Fatal(err)
	}
	contents, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// resolver is one for a cluster with these defaults; empty: none.
func resolver(t testing.TB, defaults string) *resolve.Resolver {
	t.Helper()
	var cluster *policy.Source
	if defaults != "" {
		var err error
		if cluster, err = policy.Parse("cluster.yaml", []byte(defaults), policy.Known{}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := resolve.New(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// app is an app with four servers: two in eu, with and without a disk label, and two in us.
func app(t testing.TB, text string) placement.Input {
	t.Helper()
	server := func(id, region, host string, labels map[string]string) placement.Server {
		return placement.Server{
			ID: shard.ServerID(id + ".kv"), Locality: shard.Locality{Region: region, Zone: "1", Host: host}, Labels: labels, Accepts: true,
			Capacity: map[string]int64{"disk": 100},
		}
	}
	in := placement.Input{
		App: "kv", Policy: placement.Policy{Replicas: 2, Primary: true, Moves: 64, MovesPerServer: 8},
		Servers: []placement.Server{
			server("a", "eu", "h1", map[string]string{"disk": "ssd", "power": "1"}), server("b", "eu", "h2", map[string]string{"power": "2"}),
			server("c", "us", "h3", map[string]string{"disk": "hdd", "power": "1"}), server("d", "us", "", map[string]string{"disk": "ssd"}),
		},
	}
	if text != "" {
		in.Policy.Written = written(t, text)
	}
	for i, id := range []shard.ID{"eu-1", "eu-2", "us-1", "us-2"} {
		in.Shards = append(in.Shards, placement.Shard{Index: shard.Index(i), ID: id})
	}
	return in
}

// others is where other apps are, by app and shard.
type others map[string][]resolve.Place

func (o others) Places(app shard.App, id shard.ID) ([]resolve.Place, bool) {
	places, ok := o[string(app)+"/"+string(id)]
	return places, ok
}

func allowed(f *terms.Fence, servers int) (list []int) {
	for i := range servers {
		if f.Has(i) {
			list = append(list, i)
		}
	}
	return list
}

func TestNoPolicyIsNoTerms(t *testing.T) {
	in := app(t, "")
	if notes := resolver(t, "").Resolve(t.Context(), &in, nil); in.Terms != nil || notes != nil {
		t.Errorf("terms %v, notes %v", in.Terms, notes)
	}
	// Defaults alone are terms, and what they say of the app itself does not hold for it.
	notes := resolver(t, "moves: {app: 9}\nconstraints:\n- dependency: {app: kv, domain: zone}\n- exclusion: {domain: host}\n").Resolve(t.Context(), &in, nil)
	if in.Terms == nil || len(in.Terms.Classes) != 1 || in.Terms.AppMoves != 9 || in.Terms.ServerMoves != 8 || len(notes) != 0 {
		t.Fatalf("terms %+v, notes %v", in.Terms, notes)
	}
	if r := in.Terms.Classes[0].Relations; len(r) != 1 || !r[0].Each || !r[0].Not || in.Terms.Classes[0].Group != "kv" {
		t.Errorf("class %+v", in.Terms.Classes[0])
	}
}

func TestTerms(t *testing.T) {
	in := app(t, `
metrics: [{name: disk, during: false}]
constraints:
- {name: feeds, spread: {label: power, at_least_domains: 2}}
- {name: zones, spread: {domain: zone, at_most: 1}}
- {name: fence, eligibility: {expression: 'server.labels[?"disk"].orValue("") == "ssd" && server.capacity["disk"] >= 100'}}
goals:
- {tier: 2, utilization: {metric: disk, percent: 80}}
- {tier: 1, weight: 7, region_preference: {regions: [us, eu]}}
- {tier: 3, cost: {price_label: disk, server_micros_per_hour: {ssd: 500, hdd: 20}, traffic_metric: disk, clients: {eu: 3}, traffic: [{from: eu, to: us, micros_per_gb: 9}]}}
- {tier: 4, balance: {metric: disk, scope: region, kind: sum-of-squares}}
- {tier: 5, balance: {metric: shards, kind: ratio, other_metric: disk, target_milli: 2000}}
- {tier: 6, parallel_failover: {label: power}}
- {tier: 7, movement: {metric: disk, regions: [{from: eu, to: us, weight: 5}]}}
- {tier: 8, latency: {clients: {eu: 60, us: 40}, replicas: all}}
moves: {server: 3, shard: 2}
shards:
- prefix: us-
  group: far
  constraints: [{name: us only, eligibility: {expression: server.region == "us"}}]
- id: us-2
  moves: 4
  constraints: [{name: kept, pin: {servers: [d.kv, gone.kv]}}]
`)
	notes := resolver(t, "").Resolve(t.Context(), &in, nil)
	if len(notes) != 1 || !strings.Contains(notes[0], "constraint kept: pinned to server gone.kv, which is not there") {
		t.Errorf("notes %q", notes)
	}
	got := in.Terms
	if diff := cmp.Diff([]terms.Metric{{Name: "disk"}}, got.Metrics) + cmp.Diff([]int32{0, 0, 1, 2}, got.Of); diff != "" || got.ServerMoves != 3 || got.AppMoves != 64 {
		t.Fatalf("caps %d, %d: %s", got.AppMoves, got.ServerMoves, diff)
	}
	if diff := cmp.Diff([]terms.Label{{Key: "power", Domain: []int32{0, 1, 0, 2}, Values: []string{"1", "2", ""}}}, got.Labels); diff != "" {
		t.Error(diff)
	}
	base, us, one := got.Classes[0], got.Classes[1], got.Classes[2]
	if diff := cmp.Diff([]terms.Spread{{Name: "feeds", AtLeast: 2}, {Name: "zones", Over: terms.Over{Width: locality.Zone}, AtMost: 1}}, base.Spreads); diff != "" {
		t.Error(diff)
	}
	if len(base.Fences) != 1 || base.Fences[0].Name != "fence" || !slices.Equal(allowed(&base.Fences[0], 4), []int{0, 3}) {
		t.Errorf("fences %+v", base.Fences)
	}
	if len(us.Fences) != 2 || !slices.Equal(allowed(&us.Fences[1], 4), []int{2, 3}) || us.Group != "far" || us.Moves != 2 || len(us.Pins) != 0 {
		t.Errorf("us: %+v", us)
	}
	if diff := cmp.Diff([]terms.Pin{{Name: "kept", Servers: []int32{3}}}, one.Pins); diff != "" || one.Moves != 4 || one.Group != "far" || len(one.Fences) != 2 {
		t.Errorf("us-2: %+v: %s", one, diff)
	}
	want := []terms.Goal{
		{Name: "region preference", Kind: terms.Preference, Tier: 1, Weight: 7, Primaries: true, Regions: []string{"us", "eu"}},
		{Name: "utilization of disk", Kind: terms.Utilization, Tier: 2, Weight: 1, Metric: "disk", Percent: 80},
		{Name: "cost", Kind: terms.Cost, Tier: 3, Weight: 1, Metric: "disk", Clients: map[string]int64{"eu": 3}, Price: []int64{500, 0, 20, 500}, Traffic: []terms.Route{{From: "eu", To: "us", Cost: 9}}},
		{Name: "balance of disk, in each region, sum of squares", Kind: terms.Balance, Tier: 4, Weight: 1, Metric: "disk", Percent: 10, Regional: true},
		{Name: "balance of shards, global, ratio to disk", Kind: terms.Balance, Tier: 5, Weight: 1, Metric: "shards", Other: "disk", Milli: 2000},
		{Name: "parallel failover", Kind: terms.Failover, Tier: 6, Weight: 1, Spread: terms.Spread{Name: "parallel failover"}},
		{Name: "movement", Kind: terms.Movement, Tier: 7, Weight: 1, Metric: "disk", Moves: []terms.Route{{From: "eu", To: "us", Cost: 5}}},
		{Name: "latency of all replicas", Kind: terms.Latency, Tier: 8, Weight: 1, Clients: map[string]int64{"eu": 60, "us": 40}},
	}
	if diff := cmp.Diff(want, base.Goals); diff != "" {
		t.Error(diff)
	}
}

func TestRelations(t *testing.T) {
	text := `
constraints:
- {name: not beside batch, exclusion: {app: batch, domain: host}}
- {name: with names, dependency: {app: names, shard: n1, label: power}}
- {name: nobody, exclusion: {app: noone, domain: host}}
- {name: needs nobody, dependency: {app: nobody, domain: host}}
shards:
- {id: eu-1, constraints: [{name: apart, exclusion: {shard: us-1, domain: rack}}, {name: where, dependency: {shard: lost, domain: rack}}]}
`
	in := app(t, text)
	notes := resolver(t, "").Resolve(t.Context(), &in, others{
		"batch/":   {{Locality: shard.Locality{Region: "eu", Zone: "1", Host: "h2"}}, {Locality: shard.Locality{Region: "us", Zone: "1"}}}, // the second is on a host of its own
		"names/n1": {{Locality: shard.Locality{Region: "us"}, Labels: map[string]string{"power": "1"}}, {}},
	})
	want := []terms.Relation{
		{Name: "not beside batch", Over: terms.Over{Width: locality.Host}, Not: true, With: "batch", On: []int32{1}},
		{Name: "with names", With: "names/n1", On: []int32{0, 2, 3}}, // d has no label, as the second server of names
		{Name: "needs nobody", Over: terms.Over{Width: locality.Host}, With: "nobody"},
	}
	if diff := cmp.Diff(want, in.Terms.Classes[0].Relations); diff != "" {
		t.Error(diff)
	}
	if len(in.Terms.Classes) != 2 || !slices.Equal(in.Terms.Of, []int32{1, 0, 0, 0}) {
		t.Fatalf("classes of shards %v", in.Terms.Of)
	}
	want = append(want, terms.Relation{Name: "apart", Over: terms.Over{Width: locality.Rack}, Not: true, With: "kv/us-1", Shards: []int32{2}},
		terms.Relation{Name: "where", Over: terms.Over{Width: locality.Rack}, With: "kv/lost"})
	if diff := cmp.Diff(want, in.Terms.Classes[1].Relations); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"constraint nobody: there is no app noone", "constraint needs nobody: there is no app nobody", "constraint where: there is no shard kv/lost"} {
		if !slices.Contains(notes, part) {
			t.Errorf("notes %q lack %q", notes, part)
		}
	}
}

// An expression without a value for some servers keeps them out, one that costs too much keeps all out, and both are told by name.
func TestFencesFailClosed(t *testing.T) {
	in := app(t, "constraints: [{eligibility: {expression: 'server.labels.disk == \"ssd\"'}}]")
	notes := resolver(t, "").Resolve(t.Context(), &in, nil)
	f := in.Terms.Classes[0].Fences[0]
	if !slices.Equal(allowed(&f, 4), []int{0, 3}) || !slices.Equal(f.Invalid, []int{1}) || f.Name != "policy of app kv: constraints[0]" {
		t.Errorf("fence %+v", f)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "no value for 1 of 4 servers") || !strings.Contains(notes[0], "b.kv") {
		t.Errorf("notes %q", notes)
	}
	list := strings.Repeat("1,", 50) + "1"
	in = app(t, fmt.Sprintf("constraints: [{name: slow, eligibility: {expression: '[%s].all(a, [%s].all(b, [%s].all(c, a == b || server.id != \"\")))'}}]", list, list, list))
	notes = resolver(t, "").Resolve(t.Context(), &in, nil)
	if f := in.Terms.Classes[0].Fences[0]; len(allowed(&f, 4)) != 0 || f.Name != "slow" {
		t.Errorf("fence %+v", f)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "no server is allowed") || !strings.Contains(notes[0], "cost limit") {
		t.Errorf("notes %q", notes)
	}
}

// What cannot be read allows nothing: a policy of a later version, or one that lost a metric that the cluster declared.
func TestUnreadablePoliciesAllowNothing(t *testing.T) {
	in := app(t, "goals: [{tier: 1, utilization: {metric: cpu, percent: 5}}]")
	r := resolver(t, "")
	notes := r.Resolve(t.Context(), &in, nil)
	if in.Terms == nil || len(allowed(&in.Terms.Classes[0].Fences[0], 4)) != 0 || len(in.Terms.Of) != 4 {
		t.Errorf("terms %+v", in.Terms)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], `unknown metric "cpu"`) {
		t.Errorf("notes %q", notes)
	}
	in.Policy.Written = []byte{0xff}
	if notes = r.Resolve(t.Context(), &in, nil); len(notes) != 1 || !strings.Contains(notes[0], "policy of app kv") {
		t.Errorf("notes %q", notes)
	}
}

// A conflict with the cluster's defaults leaves those as they are, and is told with both places.
func TestConflictsAreTold(t *testing.T) {
	in := app(t, "constraints: [{spread: {domain: zone, at_most: 2}}]\nmoves: {app: 100}")
	in.Policy.PreferRegions = []string{"us"}
	notes := resolver(t, "constraints: [{name: zones, spread: {domain: zone, at_most: 1}}]\nmoves: {app: 5, server: 6}\ngoals: [{tier: 1, region_preference: {regions: [eu]}}, {tier: 2, drain: {}}]").
		Resolve(t.Context(), &in, nil)
	if len(notes) != 1 || !strings.Contains(notes[0], "policy of app kv: constraints[0]: conflict with cluster.yaml:1: constraints[0]") {
		t.Errorf("notes %q", notes)
	}
	c := in.Terms.Classes[0]
	if len(c.Spreads) != 1 || c.Spreads[0].AtMost != 1 || in.Terms.AppMoves != 100 || in.Terms.ServerMoves != 6 {
		t.Errorf("terms %+v", in.Terms)
	}
	if len(c.Goals) != 1 || c.Goals[0].Kind != terms.Drain {
		t.Errorf("goals %+v: the spec prefers regions, which is a later word than the cluster's", c.Goals)
	}
}

// What was made is made again when, and only when, something changed that it was made of.
func TestTermsAreKept(t *testing.T) {
	r := resolver(t, "")
	in := app(t, "constraints: [{eligibility: {expression: 'server.region == \"eu\"'}}]")
	resolved := func() *terms.Terms {
		t.Helper()
		r.Resolve(t.Context(), &in, nil)
		return in.Terms
	}
	first := resolved()
	in.Servers[0].Moves = 3
	if resolved() != first {
		t.Error("terms were made again, for nothing")
	}
	in.Servers = slices.Clone(in.Servers)
	in.Servers[2].Locality.Region = "eu"
	if next := resolved(); next == first || !next.Classes[0].Fences[0].Has(2) || first.Classes[0].Fences[0].Has(2) {
		t.Error("a server came into the region, and the fence did not see it")
	}
	in.Shards = append(slices.Clone(in.Shards), placement.Shard{Index: 4, ID: "x"})
	if next := resolved(); len(next.Of) != 5 || len(first.Of) != 4 {
		t.Error("a shard came, and has no class")
	}
	in.Policy.Written = written(t, "constraints: [{eligibility: {expression: 'server.region == \"us\"'}}]")
	if next := resolved(); next.Classes[0].Fences[0].Has(0) || !next.Classes[0].Fences[0].Has(3) {
		t.Error("the policy changed, and the fence did not")
	}
}
