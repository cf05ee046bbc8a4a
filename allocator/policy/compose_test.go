package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/eligibility"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// layers reads the cluster's defaults, an app's policy, and gives what that says of shard eu-1 too.
func layers(t *testing.T, cluster, app string) []*policy.Source {
	t.Helper()
	c := parsed(t, "cluster.yaml", cluster, policy.Known{})
	known := kv()
	known.Metrics = c.Metrics()
	a := parsed(t, "app.yaml", app, known)
	return append([]*policy.Source{c, a}, a.Shards("eu-1")...)
}

// lines shows what holds, a statement a line, with its place.
func lines(e policy.Effective) []string {
	text := func(m proto.Message) string {
		return strings.ReplaceAll(prototext.MarshalOptions{}.Format(m), "  ", " ") // prototext's white space differs between builds, on purpose
	}
	var list []string
	for _, m := range e.Metrics {
		list = append(list, fmt.Sprintf("%s | %s", text(m.Value), m.From))
	}
	for _, c := range e.Constraints {
		list = append(list, fmt.Sprintf("%s | %s", text(c.Value), c.From))
	}
	for _, g := range e.Goals {
		list = append(list, fmt.Sprintf("%s | %s", text(g.Value), g.From))
	}
	return append(list, fmt.Sprintf("moves %d %d %d | %s | %s | %s", e.AppMoves.Value, e.ServerMoves.Value, e.ShardMoves.Value, e.AppMoves.From, e.ServerMoves.From, e.ShardMoves.From),
		fmt.Sprintf("app %s, group %s", e.App, e.Group))
}

func TestCompose(t *testing.T) {
	for name, c := range map[string]struct {
		cluster, app string
		want         []string
	}{
		"nothing": {"{}", "{}", []string{"moves 64 8 1 |  |  | ", "app kv, group kv"}},
		"scalars": {
			"metrics: [{name: cpu, during: false}, {name: disk}, {name: net, during: false}]\nmoves: {app: 5, server: 4}\n",
			"metrics: [{name: cpu, during: true}, {name: net}]\nmoves: {app: 7}\ngroup: g\nshards:\n- {prefix: eu, group: h, moves: 3}\n- {id: eu-1, group: i}\n",
			[]string{
				`name:"cpu" during:true | app.yaml:1: metrics[0]`, `name:"disk" during:true | cluster.yaml:1: metrics[1]`, `name:"net" during:false | cluster.yaml:1: metrics[2]`,
				"moves 7 4 3 | app.yaml:2: moves.app | cluster.yaml:2: moves.server | app.yaml:5: shards[0].moves", "app kv, group i",
			},
		},
		"constraints add up": {
			"constraints:\n- spread: {domain: zone, at_most: 2}\n- eligibility: {expression: 'true'}\n- exclusion: {app: db}\n- exclusion: {app: kv}\n- dependency: {app: kv, domain: zone}\n",
			"constraints:\n- exclusion: {app: db, domain: host}\n- spread: {domain: zone, at_least_domains: 2}\n- spread: {domain: zone, at_most: 1}\n- eligibility: {expression: '1 == 1'}\n" +
				"shards:\n- id: eu-1\n  constraints:\n  - {name: x, eligibility: {expression: 'true'}}\n  - spread: {domain: zone, at_most: 1}\n  - pin: {}\n",
			[]string{
				`spread:{domain:FAULT_DOMAIN_ZONE at_most:1} | app.yaml:4: constraints[2]`, `eligibility:{expression:"true"} | cluster.yaml:3: constraints[1]`,
				`exclusion:{app:"db" domain:FAULT_DOMAIN_HOST} | cluster.yaml:4: constraints[2]`, `spread:{domain:FAULT_DOMAIN_ZONE at_least_domains:2} | app.yaml:3: constraints[1]`,
				`eligibility:{expression:"1 == 1"} | app.yaml:5: constraints[3]`, `pin:{} | app.yaml:11: shards[0].constraints[2]`, "moves 64 8 1 |  |  | ", "app kv, group kv",
			},
		},
		"each app of itself": {
			"constraints: [{name: one, exclusion: {domain: rack}}]", "{}",
			[]string{`name:"one" exclusion:{app:"kv" domain:FAULT_DOMAIN_RACK} | cluster.yaml:1: constraints[0]`, "moves 64 8 1 |  |  | ", "app kv, group kv"},
		},
		"goals": {
			"metrics: [{name: cpu}]\ngoals:\n- {tier: 4, region_preference: {regions: [us]}}\n- {tier: 3, utilization: {metric: cpu, percent: 90}}\n- {tier: 2, drain: {}}\n- {tier: 5, balance: {metric: cpu}}\n",
			"goals:\n- {tier: 3, weight: 5, utilization: {metric: cpu, percent: 90}}\n- {tier: 1, utilization: {metric: cpu, percent: 95}}\n- {tier: 5, replace: true, balance: {metric: cpu, tolerance_percent: 3}}\n" +
				"shards:\n- prefix: eu-\n  goals:\n  - {tier: 1, region_preference: {regions: [eu]}}\n",
			[]string{
				`name:"cpu" during:true | cluster.yaml:1: metrics[0]`,
				`tier:1 weight:1 region_preference:{regions:"eu"} | app.yaml:8: shards[0].goals[0]`,
				`tier:1 weight:1 utilization:{metric:"cpu" percent:95} | app.yaml:3: goals[1]`,
				`tier:2 weight:1 drain:{} | cluster.yaml:5: goals[2]`,
				`tier:3 weight:5 utilization:{metric:"cpu" percent:90} | app.yaml:2: goals[0]`,
				`tier:5 weight:1 replace:true balance:{metric:"cpu" scope:BALANCE_SCOPE_GLOBAL kind:BALANCE_KIND_LARGEST tolerance_percent:3} | app.yaml:4: goals[2]`,
				"moves 64 8 1 |  |  | ", "app kv, group kv",
			},
		},
		"defaults of goals": {
			"{}", "goals:\n- {tier: 1, parallel_failover: {}}\n- {tier: 1, balance: {metric: shards, kind: ratio, other_metric: primaries, target_milli: 1}}\n",
			[]string{
				`tier:1 weight:1 parallel_failover:{domain:FAULT_DOMAIN_HOST} | app.yaml:2: goals[0]`,
				`tier:1 weight:1 balance:{metric:"shards" scope:BALANCE_SCOPE_GLOBAL kind:BALANCE_KIND_RATIO other_metric:"primaries" target_milli:1} | app.yaml:3: goals[1]`,
				"moves 64 8 1 |  |  | ", "app kv, group kv",
			},
		},
	} {
		got, conflicts := policy.Compose(layers(t, c.cluster, c.app)...)
		if diff := cmp.Diff(c.want, lines(got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if len(conflicts) > 0 {
			t.Errorf("%s: %v", name, conflicts)
		}
	}
}

func TestConflicts(t *testing.T) {
	const metrics = "metrics: [{name: cpu}]\n"
	for name, c := range map[string]struct{ cluster, app, want, kept string }{
		"thresholds": {
			metrics + "goals:\n- {tier: 2, utilization: {metric: cpu, percent: 80}}\n", "goals:\n- {tier: 2, utilization: {metric: cpu, percent: 70}}\n",
			"app.yaml:2: goals[0]: conflict with cluster.yaml:3: goals[0]: utilization of cpu: thresholds of 80 and 70 percent in tier 2: with replace: true the later one takes the place of the earlier",
			"cluster.yaml:3: goals[0]",
		},
		"balances": {
			metrics + "goals:\n- {tier: 2, balance: {metric: cpu}}\n", "goals:\n- {tier: 2, balance: {metric: cpu, tolerance_percent: 5}}\n",
			"app.yaml:2: goals[0]: conflict with cluster.yaml:3: goals[0]: balance of cpu, global: two different goals in tier 2: with replace: true the later one takes the place of the earlier",
			"cluster.yaml:3: goals[0]",
		},
		"spreads as goals": {
			"goals:\n- {tier: 2, spread: {domain: zone, at_most: 1}}\n", "goals:\n- {tier: 2, spread: {domain: zone, at_most: 2}}\n",
			"app.yaml:2: goals[0]: conflict with cluster.yaml:2: goals[0]: spread over zone, replicas in one: two different goals in tier 2",
			"cluster.yaml:2: goals[0]",
		},
		"looser at most": {
			"constraints:\n- spread: {domain: zone, at_most: 1}\n", "constraints:\n- pin: {}\n- spread: {domain: zone, at_most: 2}\n",
			"app.yaml:3: constraints[1]: conflict with cluster.yaml:2: constraints[0]: spread over zone: at most 1 and at most 2 replicas in one: a later layer cannot loosen what must hold",
			"cluster.yaml:2: constraints[0]",
		},
		"looser at least": {
			"constraints:\n- spread: {label: power, at_least_domains: 2}\n", "constraints:\n- spread: {label: power, at_least_domains: 1}\n",
			"app.yaml:2: constraints[0]: conflict with cluster.yaml:2: constraints[0]: spread over label power: at least 2 and at least 1 domains: a later layer cannot loosen",
			"cluster.yaml:2: constraints[0]",
		},
		"excluded, then needed": {
			"constraints:\n- exclusion: {app: db, domain: zone}\n", "constraints:\n- dependency: {app: db, shard: a, domain: rack}\n",
			"app.yaml:2: constraints[0]: conflict with cluster.yaml:2: constraints[0]: no server can be in the same rack as shard a of app db and not in the same zone as app db",
			"cluster.yaml:2: constraints[0]",
		},
		"needed, then excluded": {
			"constraints:\n- dependency: {app: db, domain: host}\n", "constraints:\n- exclusion: {app: db}\n",
			"app.yaml:2: constraints[0]: conflict with cluster.yaml:2: constraints[0]: no server can be in the same host as app db and not in the same host as app db",
			"cluster.yaml:2: constraints[0]",
		},
		"itself of the cluster": {
			"constraints:\n- exclusion: {domain: zone}\n", "constraints:\n- pin: {}\nshards:\n- id: eu-1\n  constraints:\n  - dependency: {shard: eu-2, domain: host}\n",
			"app.yaml:6: shards[0].constraints[0]: conflict with cluster.yaml:2: constraints[0]: no server can be in the same host as shard eu-2 of app kv and not in the same zone as app kv",
			"cluster.yaml:2: constraints[0]",
		},
	} {
		got, conflicts := policy.Compose(layers(t, c.cluster, c.app)...)
		if len(conflicts) != 1 || !strings.HasPrefix(conflicts[0].String(), c.want) {
			t.Errorf("%s: got %v, want %s", name, conflicts, c.want)
			continue
		}
		var places []string
		for _, item := range got.Constraints {
			places = append(places, item.From.String())
		}
		for _, item := range got.Goals {
			places = append(places, item.From.String())
		}
		if !slices.Contains(places, c.kept) || slices.Contains(places, conflicts[0].Later.String()) {
			t.Errorf("%s: left are %v: want the earlier one, and not the later", name, places)
		}
	}
}

func TestNoConflict(t *testing.T) {
	for name, c := range map[string]struct{ cluster, app string }{
		"needed in a wider domain":   {"constraints: [{exclusion: {app: db, domain: host}}]", "constraints: [{dependency: {app: db, domain: zone}}]"},
		"another shard":              {"constraints: [{exclusion: {app: db, shard: a}}]", "constraints: [{dependency: {app: db, shard: b, domain: host}}]"},
		"any other shard":            {"constraints: [{exclusion: {app: db, shard: a}}]", "constraints: [{dependency: {app: db, domain: host}}]"},
		"label and domain":           {"constraints: [{exclusion: {app: db, label: cell}}]", "constraints: [{dependency: {app: db, domain: host}}]"},
		"another label":              {"constraints: [{exclusion: {app: db, label: cell}}]", "constraints: [{dependency: {app: db, label: power}}]"},
		"most and least":             {"constraints: [{spread: {domain: zone, at_most: 1}}]", "constraints: [{spread: {domain: zone, at_least_domains: 2}}]"},
		"other domains":              {"constraints: [{spread: {domain: zone, at_most: 1}}]", "constraints: [{spread: {domain: rack, at_most: 2}}]"},
		"thresholds in two tiers":    {"metrics: [{name: cpu}]\ngoals: [{tier: 1, utilization: {metric: cpu, percent: 90}}]", "goals: [{tier: 2, utilization: {metric: cpu, percent: 80}}]"},
		"the same goal":              {"goals: [{tier: 1, spread: {domain: zone, at_most: 1}}]", "goals: [{tier: 1, spread: {domain: zone, at_most: 1}}]"},
		"replaced":                   {"goals: [{tier: 1, spread: {domain: zone, at_most: 1}}]", "goals: [{tier: 1, replace: true, spread: {domain: zone, at_most: 2}}]"},
		"preferences of two kinds":   {"goals: [{tier: 1, region_preference: {regions: [eu]}}]", "goals: [{tier: 1, region_preference: {regions: [eu, us], replicas: all}}]"},
		"a preference in two layers": {"goals: [{tier: 1, region_preference: {regions: [eu]}}]", "goals: [{tier: 2, region_preference: {regions: [us]}}]"},
	} {
		if _, conflicts := policy.Compose(layers(t, c.cluster, c.app)...); len(conflicts) > 0 {
			t.Errorf("%s: %v", name, conflicts)
		}
	}
}

// What is said of one shard does not reach another one.
func TestSiblings(t *testing.T) {
	parsed(t, "p.yaml", "constraints: [{spread: {domain: zone, at_most: 3}}]\ngoals: [{tier: 1, region_preference: {regions: [eu]}}]\nshards:\n"+
		"- {id: a, constraints: [{spread: {domain: zone, at_most: 1}}], goals: [{tier: 1, region_preference: {regions: [us]}}]}\n"+
		"- {id: b, constraints: [{spread: {domain: zone, at_most: 2}}, {pin: {servers: [a.kv, b.kv]}}]}\n"+
		"- {id: c, constraints: [{spread: {domain: zone, at_most: 3}}, {pin: {servers: [c.kv, d.kv]}}]}\n", kv())
}

func TestShards(t *testing.T) {
	s := parsed(t, "p.yaml", "shards: [{id: eu-1, group: a}, {prefix: eu-, group: b}, {prefix: e, group: c}, {prefix: eu-1, group: d}, {id: us, group: e}]", kv())
	for id, want := range map[string]string{"eu-1": "c b d a", "eu-12": "c b d", "eu-2": "c b", "e": "c", "us": "e", "usa": "", "": ""} {
		var got []string
		for _, layer := range s.Shards(id) {
			e, _ := policy.Compose(layer)
			got = append(got, e.Group)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, want %s", id, got, want)
		}
	}
	if a, b := s.Shards("eu-2"), s.Shards("eu-3"); !slices.Equal(a, b) {
		t.Error("shards with the same entries have different layers")
	}
	if got := (*policy.Source)(nil).Shards("a"); got != nil {
		t.Errorf("nothing said: %v", got)
	}
}

func TestCheckOfWhatHolds(t *testing.T) {
	cluster := parsed(t, "cluster.yaml", "metrics: [{name: cpu}]\nconstraints:\n- spread: {domain: zone, at_least_domains: 4}\ngoals:\n- {tier: 1, utilization: {metric: cpu, percent: 80}}\n- {tier: 1, region_preference: {regions: [asia]}}\n", policy.Known{})
	known := kv()
	known.Metrics = []string{"gpu"}
	app := parsed(t, "app.yaml", "goals:\n- {tier: 1, utilization: {metric: gpu, percent: 80}}\nshards:\n- {id: a, constraints: [{pin: {servers: [a.kv, b.kv, c.kv]}}]}\n", known)
	e, _ := policy.Compose(append([]*policy.Source{cluster, app}, app.Shards("a")...)...)
	const want = `cluster.yaml:3: constraints[0].spread.at_least_domains: 4 domains cannot be reached: a shard has 3 replicas
cluster.yaml:6: goals[1].region_preference.regions[0]: unknown region "asia": there are eu, us
app.yaml:2: goals[0].utilization.metric: unknown metric "gpu": declare it in metrics`
	if err := e.Check(known); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	known.Replicas = 2
	if err := e.Check(known); err == nil || !strings.Contains(err.Error(), "app.yaml:4: shards[0].constraints[0].pin: with what is pinned before, pinned to 3 servers: a shard has 2 replicas") {
		t.Errorf("got %v", err)
	}
	if e, _ := policy.Compose(parsed(t, "p.yaml", whole, kv())); e.Check(kv()) != nil {
		t.Errorf("a sound one: %v", e.Check(kv()))
	}
}

func TestPredicates(t *testing.T) {
	all := layers(t, "constraints:\n- eligibility: {expression: \"server.region != 'us'\"}\n", "constraints:\n- eligibility: {expression: \"server.labels.disk == 'ssd'\"}\n")
	e, _ := policy.Compose(all...)
	env, err := eligibility.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.Predicates(env)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	servers := []eligibility.Server{{ID: "a.kv", Region: "eu", Labels: map[string]string{"disk": "ssd"}}, {ID: "b.kv", Region: "us"}}
	set, err := list[0].Eligible(t.Context(), servers)
	if err != nil || !set.Has(0) || set.Has(1) {
		t.Errorf("got %v, %v", set, err)
	}
	_, err = list[1].Eligible(t.Context(), servers)
	if err == nil || !strings.HasPrefix(err.Error(), "eligibility of app kv (app.yaml:2: constraints[0]): no value for 1 of 2 servers") {
		t.Errorf("got %v", err)
	}
}

// Layers are shared by many shards: composing them changes none of them.
func TestComposeChangesNothing(t *testing.T) {
	all := layers(t, "metrics: [{name: cpu}]\nconstraints: [{exclusion: {}}, {spread: {domain: zone, at_most: 2}}]", whole)
	var before []*pb.Policy
	for _, s := range all[:2] {
		before = append(before, s.Policy())
	}
	first, _ := policy.Compose(all...)
	again, _ := policy.Compose(all...)
	if diff := cmp.Diff(lines(first), lines(again)); diff != "" {
		t.Errorf("the second time:\n%s", diff)
	}
	for i, s := range all[:2] {
		if !proto.Equal(before[i], s.Policy()) {
			t.Errorf("layer %d has changed", i)
		}
	}
	if e, conflicts := policy.Compose(nil, nil); len(conflicts) > 0 || e.AppMoves.Value != 64 {
		t.Errorf("of nothing: %v, %v", e, conflicts)
	}
}

func BenchmarkCompose(b *testing.B) {
	s, err := policy.Parse("p.yaml", []byte(whole), kv())
	if err != nil {
		b.Fatal(err)
	}
	all := append([]*policy.Source{nil, s}, s.Shards("eu-1")...)
	b.ReportAllocs()
	for b.Loop() {
		policy.Compose(all...)
	}
}
