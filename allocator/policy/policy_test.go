package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/locality"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// kv is an app with three replicas of each shard, in a cluster of which all is known.
func kv() policy.Known {
	return policy.Known{
		App: "kv", Replicas: 3, Metrics: []string{"disk"}, Regions: []string{"eu", "us"},
		Domains: map[locality.Domain]int{locality.Region: 2, locality.Zone: 6}, LabelValues: map[string]int{"power": 2},
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"empty":         {"", "p.yaml:1: expected a policy: the file is empty"},
		"a list":        {"[]", "p.yaml:1: expected a policy, not a list"},
		"unknown field": {"goal: []", "p.yaml:1: goal: unknown field; did you mean goals?"},
		"two documents": {"{}\n---\n{}", "p.yaml:2: expected one document"},

		"metric without a name": {"metrics: [{during: true}]", `p.yaml:1: metrics[0].name: expected 1 to 63 of a-z, 0-9 and _, starting with a letter, not ""`},
		"metric's name":         {"metrics: [{name: CPU}]", `p.yaml:1: metrics[0].name: expected 1 to 63 of a-z`},
		"metric twice":          {"metrics:\n- name: cpu\n- name: disk\n- name: cpu\n", "p.yaml:4: metrics[2].name: metric cpu is declared already: p.yaml:2: metrics[0].name"},
		"during":                {"metrics: [{name: cpu, during: maybe}]", `p.yaml:1: metrics[0].during: expected true or false, not "maybe"`},

		"cap of zero":     {"moves: {app: 0}", "p.yaml:1: moves.app: expected 1 to 1048576, not 0"},
		"cap too large":   {"moves: {server: 2000000}", "p.yaml:1: moves.server: expected 1 to 1048576, not 2000000"},
		"cap of a shard":  {"moves: {shard: 0}", "p.yaml:1: moves.shard: expected 1 to 1048576, not 0"},
		"cap negative":    {"moves: {app: -1}", "p.yaml:1: moves.app: expected a whole number from 0 to 4294967295, not the number -1"},
		"cap NaN":         {"moves: {app: .nan}", "p.yaml:1: moves.app: expected a whole number from 0 to 4294967295, not the number .nan"},
		"cap no integer":  {"moves: {app: 1.5}", "p.yaml:1: moves.app: expected a whole number from 0 to 4294967295, not the number 1.5"},
		"cap too precise": {"moves: {app: 1e3}", "p.yaml:1: moves.app: expected a whole number"},
		"cap overflow":    {"moves: {app: 4294967296}", "p.yaml:1: moves.app: expected a whole number from 0 to 4294967295, not the number 4294967296"},
		"cap infinite":    {"moves: {app: .inf}", "p.yaml:1: moves.app: expected a whole number"},

		"no constraint":        {"constraints: [{name: a}]", "p.yaml:1: constraints[0]: expected one of spread, exclusion, dependency, eligibility and pin"},
		"two in one":           {"constraints:\n- pin: {}\n  eligibility: {}\n", "p.yaml:3: constraints[0].eligibility: expected one kind: pin is set too"},
		"name too long":        {"constraints: [{pin: {}, name: " + strings.Repeat("n", 64) + "}]", "p.yaml:1: constraints[0].name: expected at most 63 bytes, not 64"},
		"spread over nothing":  {"constraints: [{spread: {at_most: 1}}]", "p.yaml:1: constraints[0].spread: expected domain or label"},
		"spread over a planet": {"constraints: [{spread: {domain: planet, at_most: 1}}]", `constraints[0].spread.domain: expected host or rack or zone or region, not "planet"`},
		"spread over both":     {"constraints: [{spread: {domain: zone, label: a, at_most: 1}}]", "constraints[0].spread.label: expected one over: domain is set too"},
		"spread over no label": {`constraints: [{spread: {label: "", at_most: 1}}]`, "constraints[0].spread: expected domain: host, rack, zone or region, or label"},
		"spread over a space":  {`constraints: [{spread: {label: " a", at_most: 1}}]`, `constraints[0].spread.label: expected the key of a label, not " a"`},
		"spread without limit": {"constraints: [{spread: {domain: zone}}]", "p.yaml:1: constraints[0].spread: expected at_most or at_least_domains"},
		"spread with both":     {"constraints: [{spread: {domain: zone, at_most: 1, at_least_domains: 2}}]", "expected one limit: at_most is set too"},
		"at most none":         {"constraints: [{spread: {domain: zone, at_most: 0}}]", "constraints[0].spread.at_most: expected 1 to 1024, not 0"},
		"at least none":        {"constraints: [{spread: {domain: zone, at_least_domains: 0}}]", "constraints[0].spread.at_least_domains: expected 1 to 1024, not 0"},
		"more than replicas":   {"constraints:\n- spread:\n    domain: zone\n    at_least_domains: 4\n", "p.yaml:4: constraints[0].spread.at_least_domains: 4 domains cannot be reached: a shard has 3 replicas"},
		"more than domains":    {"constraints: [{spread: {domain: region, at_least_domains: 3}}]", "constraints[0].spread.at_least_domains: 3 domains cannot be reached: over region there are 2"},
		"more than values":     {"constraints: [{spread: {label: power, at_least_domains: 3}}]", "over label power there are 2"},
		"no room":              {"constraints: [{spread: {domain: region, at_most: 1}}]", "constraints[0].spread.at_most: 1 in each of 2 domains over region are 2: a shard has 3 replicas"},
		"no room by label":     {"constraints: [{spread: {label: power, at_most: 1}}]", "1 in each of 2 domains over label power are 2"},

		"depends on itself":     {"constraints: [{dependency: {domain: zone}}]", "p.yaml:1: constraints[0].dependency: app kv depends on itself: expected another app, or a shard of it"},
		"depends on its app":    {"constraints: [{dependency: {app: kv, domain: zone}}]", "app kv depends on itself"},
		"depends on own shard":  {"constraints: [{dependency: {shard: a, domain: zone}}]", "constraints[0].dependency.shard: shard a depends on itself: say it in shards, of those that it holds for"},
		"shard on itself":       {"shards: [{id: a, constraints: [{dependency: {shard: a, domain: zone}}]}]", "shards[0].constraints[0].dependency.shard: shard a depends on itself"},
		"prefix on itself":      {"shards: [{prefix: a, constraints: [{dependency: {app: kv, shard: ab, domain: zone}}]}]", "shards[0].constraints[0].dependency.shard: shard ab depends on itself"},
		"shard excludes itself": {"shards: [{id: a, constraints: [{exclusion: {shard: a}}]}]", "shards[0].constraints[0].exclusion.shard: shard a excludes itself"},
		"depends over nothing":  {"constraints: [{dependency: {app: db}}]", "p.yaml:1: constraints[0].dependency: expected domain or label"},
		"no app":                {"constraints: [{exclusion: {app: D_B}}]", "constraints[0].exclusion.app: expected the name of an app"},
		"no shard":              {"constraints: [{exclusion: {app: db, shard: -}}]", "constraints[0].exclusion.shard: expected a shard's id"},
		"excluded and needed": {
			"constraints:\n- exclusion: {app: db, domain: zone}\n- dependency: {app: db, domain: host}\n",
			"p.yaml:3: constraints[1]: conflict with p.yaml:2: constraints[0]: no server can be in the same host as app db and not in the same zone as app db",
		},
		"needed and excluded": {
			"constraints:\n- dependency: {app: db, shard: a, label: cell}\n- exclusion: {app: db, label: cell}\n",
			"p.yaml:3: constraints[1]: conflict with p.yaml:2: constraints[0]: no server can be in the same label cell as shard a of app db and not in the same label cell as app db",
		},
		"excludes itself, needs its own": {
			"constraints:\n- exclusion: {}\nshards:\n- id: a\n  constraints:\n  - dependency: {shard: b, domain: host}\n",
			"p.yaml:6: shards[0].constraints[0]: conflict with p.yaml:2: constraints[0]: no server can be in the same host as shard b of app kv and not in the same host as app kv",
		},
		"said twice": {
			"constraints:\n- spread: {domain: zone, at_most: 2}\n- spread: {domain: zone, at_most: 1}\n",
			"p.yaml:3: constraints[1]: conflict with p.yaml:2: constraints[0]: said twice: spread over zone: at most 2 and at most 1 replicas in one",
		},
		"loosened in itself": {
			"constraints:\n- spread: {domain: zone, at_least_domains: 2}\n- spread: {domain: zone, at_least_domains: 1}\n",
			"said twice: spread over zone: at least 2 and at least 1 domains",
		},
		"loosened of a shard": {
			"constraints:\n- spread: {domain: zone, at_most: 1}\nshards:\n- id: a\n  constraints:\n  - spread: {domain: zone, at_most: 2}\n",
			"p.yaml:6: shards[0].constraints[0]: conflict with p.yaml:2: constraints[0]: spread over zone: at most 1 and at most 2 replicas in one: a later layer cannot loosen what must hold",
		},
		"of a prefix and a shard": {
			"shards:\n- id: ab\n  constraints: [{spread: {domain: zone, at_most: 2}}]\n- prefix: a\n  constraints: [{spread: {domain: zone, at_most: 1}}]\n",
			"p.yaml:3: shards[0].constraints[0]: conflict with p.yaml:5: shards[1].constraints[0]: spread over zone",
		},

		"no expression":         {"constraints: [{eligibility: {}}]", "p.yaml:1: constraints[0].eligibility.expression: expression: expected a condition on server, not nothing"},
		"expression no bool":    {"constraints: [{eligibility: {expression: server.region}}]", "expression: expected a bool, not a value of type string"},
		"expression's name":     {"constraints:\n- eligibility:\n    expression: server.regoin == 'eu'\n", "p.yaml:3: constraints[0].eligibility.expression: expression: line 1, column 1: unknown field of server: expected id, host"},
		"expression of a shard": {"shards: [{id: a, constraints: [{eligibility: {expression: '1'}}]}]", "shards[0].constraints[0].eligibility.expression: expression: expected a bool"},
		"expression too long":   {"constraints: [{eligibility: {expression: '" + strings.Repeat("a", 4097) + "'}}]", "constraints[0].eligibility.expression: expected at most 4096 bytes, not 4097"},

		"pinned apps":          {"constraints: [{pin: {servers: [a.kv]}}]", "p.yaml:1: constraints[0].pin.servers: expected none here: they would get every shard of the app"},
		"pinned elsewhere":     {"shards: [{id: a, constraints: [{pin: {servers: [a.db]}}]}]", `pin.servers[0]: expected the id of a server of the app, <agent>.kv, not "a.db"`},
		"pinned to nothing":    {"shards: [{id: a, constraints: [{pin: {servers: ['']}}]}]", `pin.servers[0]: expected the id of a server, not ""`},
		"pinned twice":         {"shards: [{id: a, constraints: [{pin: {servers: [a.kv, a.kv]}}]}]", "pin.servers[1]: server a.kv is named already: p.yaml:1: shards[0].constraints[0].pin.servers[0]"},
		"pinned too often":     {"shards: [{id: a, constraints: [{pin: {servers: [a.kv, b.kv, c.kv, d.kv]}}]}]", "p.yaml:1: shards[0].constraints[0].pin: with what is pinned before, pinned to 4 servers: a shard has 3 replicas"},
		"pinned by two layers": {"shards: [{prefix: a, constraints: [{pin: {servers: [a.kv, b.kv]}}]}, {id: a, constraints: [{pin: {servers: [c.kv, d.kv]}}]}]", "shards[1].constraints[0].pin: with what is pinned before, pinned to 4 servers"},

		"shards of nothing":     {"shards: [{group: a}]", "p.yaml:1: shards[0]: expected id or prefix"},
		"shards of both":        {"shards: [{id: a, prefix: a}]", "shards[0].prefix: expected one shards: id is set too"},
		"shards of any":         {"shards: [{prefix: ''}]", `shards[0].prefix: expected the beginning of shards' ids`},
		"shards of no id":       {"shards: [{id: '?'}]", `shards[0].id: expected a shard's id`},
		"shards twice":          {"shards:\n- id: a\n- prefix: a\n- id: a\n", "p.yaml:4: shards[2].id: a has an entry already: p.yaml:2: shards[0].id"},
		"prefixes twice":        {"shards:\n- prefix: a\n- prefix: a\n", "p.yaml:3: shards[1].prefix: a has an entry already: p.yaml:2: shards[0].prefix"},
		"moves of a shard":      {"shards: [{id: a, moves: 0}]", "shards[0].moves: expected 1 to 1048576, not 0"},
		"goal of a shard":       {"shards: [{id: a, goals: [{tier: 1}]}]", "shards[0].goals[0]: expected one of region_preference"},
		"a control character":   {"constraints: [{pin: {}, name: \"a\\x07\"}]", "constraints[0].name: expected text, not the character U+0007 at byte 2"},
		"a control character 2": {"goals: [{tier: 1, latency: {clients: {\"a\\0\": 1}}}]", "goals[0].latency.clients: expected text, not the character U+0000 at byte 2"},
		"a text too long":       {"group: " + strings.Repeat("a", 254), "group: expected at most 253 bytes, not 254"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, c.file, kv(), c.want) })
	}
}

func refused(t *testing.T, file string, known policy.Known, want string) {
	t.Helper()
	_, err := policy.Parse("p.yaml", []byte(file), known)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "p.yaml:") {
		t.Errorf("an error without its place: %v", err)
	}
}

func TestGoalsRefused(t *testing.T) {
	for name, c := range map[string]struct{ goal, want string }{
		"no tier":          {"drain: {}", "goals[0].tier: expected 1 to 16, not 0"},
		"tier too low":     {"tier: 17\n  drain: {}", "p.yaml:2: goals[0].tier: expected 1 to 16, not 17"},
		"no weight":        {"tier: 1\n  weight: 0\n  drain: {}", "p.yaml:3: goals[0].weight: expected 1 to 1000000, not 0"},
		"weight too large": {"tier: 1\n  weight: 1000001\n  drain: {}", "goals[0].weight: expected 1 to 1000000, not 1000001"},
		"nothing":          {"tier: 1", "goals[0]: expected one of region_preference, spread, drain, utilization, balance, latency, cost, parallel_failover and movement"},
		"two":              {"tier: 1\n  drain: {}\n  movement: {}", "p.yaml:4: goals[0].movement: expected one kind: drain is set too"},

		"no regions":       {"tier: 1\n  region_preference: {}", "goals[0].region_preference.regions: expected 1 to 16 regions, not 0"},
		"unknown region":   {"tier: 1\n  region_preference: {regions: [eu, mars]}", `goals[0].region_preference.regions[1]: unknown region "mars": there are eu, us`},
		"region twice":     {"tier: 1\n  region_preference: {regions: [eu, us, eu]}", "regions[2]: region eu is named already: p.yaml:3: goals[0].region_preference.regions[0]"},
		"region no name":   {"tier: 1\n  region_preference: {regions: ['']}", `regions[0]: expected the name of a region, not ""`},
		"of no replicas":   {"tier: 1\n  region_preference: {regions: [eu], replicas: some}", `replicas: expected primaries or all, not "some"`},
		"spread of none":   {"tier: 1\n  spread: {domain: zone, at_most: 0}", "goals[0].spread.at_most: expected 1 to 1024, not 0"},
		"spread over none": {"tier: 1\n  spread: {at_most: 1}", "goals[0].spread: expected domain or label"},

		"unknown metric":     {"tier: 1\n  utilization: {metric: gpu, percent: 80}", `goals[0].utilization.metric: unknown metric "gpu": declare it in metrics`},
		"no percent":         {"tier: 1\n  utilization: {metric: disk}", "goals[0].utilization.percent: expected 1 to 100, not 0"},
		"percent too large":  {"tier: 1\n  utilization: {metric: disk, percent: 101}", "goals[0].utilization.percent: expected 1 to 100, not 101"},
		"percent negative":   {"tier: 1\n  utilization: {metric: disk, percent: -5}", "goals[0].utilization.percent: expected a whole number from 0 to 4294967295, not the number -5"},
		"percent fractional": {"tier: 1\n  utilization: {metric: disk, percent: 0.8}", "goals[0].utilization.percent: expected a whole number"},

		"balance of none":          {"tier: 1\n  balance: {metric: gpu}", `goals[0].balance.metric: unknown metric "gpu"`},
		"balance of nothing":       {"tier: 1\n  balance: {}", `goals[0].balance.metric: unknown metric ""`},
		"balance of a planet":      {"tier: 1\n  balance: {metric: disk, scope: planet}", `scope: expected global or region, not "planet"`},
		"balance unkind":           {"tier: 1\n  balance: {metric: disk, kind: mean}", `kind: expected largest or sum-of-squares or ratio, not "mean"`},
		"balance too tolerant":     {"tier: 1\n  balance: {metric: disk, tolerance_percent: 1001}", "tolerance_percent: expected 0 to 1000, not 1001"},
		"ratio of one":             {"tier: 1\n  balance: {metric: disk, other_metric: shards}", "other_metric: expected none: it is for kind ratio"},
		"target of none":           {"tier: 1\n  balance: {metric: disk, target_milli: 5}", "target_milli: expected none: it is for kind ratio"},
		"ratio of nothing":         {"tier: 1\n  balance: {metric: disk, kind: ratio, target_milli: 5}", `other_metric: unknown metric ""`},
		"ratio of itself":          {"tier: 1\n  balance: {metric: disk, kind: ratio, other_metric: disk, target_milli: 5}", "other_metric: expected another metric than disk"},
		"ratio of zero":            {"tier: 1\n  balance: {metric: disk, kind: ratio, other_metric: shards}", "target_milli: expected 1 to 1000000000000, not 0"},
		"ratio too tolerant":       {"tier: 1\n  balance: {metric: disk, kind: ratio, other_metric: shards, target_milli: 1, tolerance_percent: 1}", "tolerance_percent: expected none of kind ratio"},
		"latency of nobody":        {"tier: 1\n  latency: {}", "goals[0].latency.clients: expected at least one region with its share"},
		"latency of a planet":      {"tier: 1\n  latency: {clients: {mars: 1}}", `goals[0].latency.clients.mars: unknown region "mars": there are eu, us`},
		"latency of none":          {"tier: 1\n  latency: {clients: {eu: 0}}", "goals[0].latency.clients.eu: expected 1 to 1000000, not 0"},
		"latency negative":         {"tier: 1\n  latency: {clients: {eu: -1}}", "goals[0].latency.clients.eu: expected a whole number"},
		"cost of nothing":          {"tier: 1\n  cost: {}", "goals[0].cost: expected server_micros_per_hour or traffic"},
		"cost of a planet":         {"tier: 1\n  cost: {server_micros_per_hour: {mars: 1}}", `server_micros_per_hour.mars: unknown region "mars"`},
		"cost too high":            {"tier: 1\n  cost: {server_micros_per_hour: {eu: 1000000000001}}", "server_micros_per_hour.eu: expected 0 to 1000000000000, not 1000000000001"},
		"cost overflow":            {"tier: 1\n  cost: {server_micros_per_hour: {eu: 18446744073709551616}}", "server_micros_per_hour.eu: expected a whole number, 0 or more, not the number 18446744073709551616"},
		"cost by no label":         {"tier: 1\n  cost: {price_label: type, traffic: [{from: eu, to: us, micros_per_gb: 1}], traffic_metric: disk}", "price_label: expected none without server_micros_per_hour"},
		"traffic of nothing":       {"tier: 1\n  cost: {traffic: [{from: eu, to: us}]}", `traffic_metric: unknown metric ""`},
		"traffic to a planet":      {"tier: 1\n  cost: {traffic_metric: disk, traffic: [{from: eu, to: mars}]}", `traffic[0].to: unknown region "mars"`},
		"traffic to itself":        {"tier: 1\n  cost: {traffic_metric: disk, traffic: [{from: eu, to: eu}]}", "traffic[0].to: expected another region than eu"},
		"traffic twice":            {"tier: 1\n  cost: {traffic_metric: disk, traffic: [{from: eu, to: us}, {from: us, to: eu}, {from: eu, to: us}]}", "traffic[2]: eu to us is there already: p.yaml:3: goals[0].cost.traffic[0]"},
		"traffic too dear":         {"tier: 1\n  cost: {traffic_metric: disk, traffic: [{from: eu, to: us, micros_per_gb: 1000000000001}]}", "traffic[0].micros_per_gb: expected 0 to 1000000000000"},
		"a metric and no traffic":  {"tier: 1\n  cost: {traffic_metric: disk, server_micros_per_hour: {eu: 1}}", "traffic_metric: expected none without traffic"},
		"clients and no traffic":   {"tier: 1\n  cost: {clients: {eu: 1}, server_micros_per_hour: {eu: 1}}", "clients: expected none without traffic"},
		"failover over no label":   {"tier: 1\n  parallel_failover: {label: ''}", "goals[0].parallel_failover: expected domain"},
		"movement of none":         {"tier: 1\n  movement: {metric: gpu}", `goals[0].movement.metric: unknown metric "gpu"`},
		"movement to a planet":     {"tier: 1\n  movement: {regions: [{from: mars, to: eu, weight: 1}]}", `regions[0].from: unknown region "mars"`},
		"movement of no weight":    {"tier: 1\n  movement: {regions: [{from: us, to: eu}]}", "regions[0].weight: expected 1 to 1000000, not 0"},
		"movement twice":           {"tier: 1\n  movement: {regions: [{from: us, to: eu, weight: 1}, {from: us, to: eu, weight: 1}]}", "regions[1]: us to eu is there already"},
		"movement of groups alone": {"tier: 1\n  movement: {metric: disk, most_moved_group: true}", "most_moved_group: expected neither metric nor regions with it"},

		"two thresholds": {
			"tier: 2\n  utilization: {metric: disk, percent: 80}\n- tier: 2\n  utilization: {metric: disk, percent: 70}",
			"p.yaml:4: goals[1]: conflict with p.yaml:2: goals[0]: said twice: utilization of disk: thresholds of 80 and 70 percent in tier 2",
		},
		"a goal twice":            {"tier: 2\n  drain: {}\n- tier: 3\n  drain: {}", "p.yaml:4: goals[1]: conflict with p.yaml:2: goals[0]: said twice: drain"},
		"two balances":            {"tier: 2\n  balance: {metric: disk}\n- tier: 2\n  balance: {metric: disk, tolerance_percent: 5}", "said twice: balance of disk, global: two different goals in tier 2"},
		"replaced in one":         {"tier: 2\n  utilization: {metric: disk, percent: 80}\n- tier: 2\n  replace: true\n  utilization: {metric: disk, percent: 70}", "said twice: utilization of disk"},
		"two preferences":         {"tier: 2\n  region_preference: {regions: [eu]}\n- tier: 3\n  region_preference: {regions: [us]}", "said twice: region preference"},
		"two movements of groups": {"tier: 2\n  movement: {most_moved_group: true}\n- tier: 3\n  movement: {most_moved_group: true}", "said twice: movement of the most moved group"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, "goals:\n- "+c.goal+"\n", kv(), c.want) })
	}
}

func TestClusterRefused(t *testing.T) {
	for file, want := range map[string]string{
		"group: a":                               `group: expected none in the cluster's defaults, not "a"`,
		"shards: [{id: a}]":                      "shards: expected none in the cluster's defaults",
		"constraints: [{pin: {}}]":               "constraints[0].pin: expected none in the cluster's defaults",
		"constraints: [{exclusion: {shard: a}}]": "constraints[0].exclusion.shard: expected none without app in the cluster's defaults",
		"constraints: [{dependency: {shard: a, domain: zone}}]":       "constraints[0].dependency.app: expected an app in the cluster's defaults",
		"constraints: [{dependency: {domain: zone}}]":                 "the cluster depends on itself",
		"goals: [{tier: 1, utilization: {metric: cpu, percent: 80}}]": `unknown metric "cpu"`,
	} {
		t.Run(file, func(t *testing.T) { refused(t, file, policy.Known{}, want) })
	}
}

func TestAllProblemsAreTold(t *testing.T) {
	_, err := policy.Parse("p.yaml", []byte("moves: {app: 0, server: 0}\ngoals: [{tier: 0}, {tier: 1, drain: {}}]\n"), kv())
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("want four problems: %v", err)
	}
	_, err = policy.Parse("p.yaml", []byte("goals: ["+strings.Repeat("{},", 200)+"]"), kv())
	if err == nil || strings.Count(err.Error(), "\n") != 19 {
		t.Errorf("want twenty problems: %v", err)
	}
}

func TestLimits(t *testing.T) {
	many := func(n int, item string) string { return "[" + strings.Repeat(item+",", n) + "]" }
	shards := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "- id: s%d\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ file, want string }{
		"constraints": {"constraints: " + many(257, "{pin: {}}"), "constraints: expected at most 256, not 257"},
		"goals":       {"goals: " + many(257, "{tier: 1, drain: {}}"), "goals: expected at most 256, not 257"},
		"metrics":     {"metrics: " + many(65, "{name: a}"), "metrics: expected at most 64, not 65"},
		"shards":      {"shards:\n" + shards(10_001), "shards: expected at most 10000, not 10001"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, c.file, kv(), c.want) })
	}
	huge := []byte("# " + strings.Repeat("a", 10_000_000) + "\n{}")
	if _, err := policy.Parse("p.yaml", huge, kv()); !errors.Is(err, config.ErrTooLarge) || err.Error() != "p.yaml: too large: expected at most 1048576 bytes, not 10000005" {
		t.Errorf("10 MB: %v", err)
	}
	known := kv()
	known.MaxBytes = 16_000_000
	if _, err := policy.Parse("p.yaml", huge, known); err != nil {
		t.Errorf("10 MB with a limit of 16: %v", err)
	}
	p := &pb.Policy{Group: strings.Repeat("a", 2_000_000)}
	if _, err := policy.New(p, kv()); !errors.Is(err, config.ErrTooLarge) || !strings.HasPrefix(err.Error(), "policy of app kv: too large: expected at most 1048576 bytes, not 2000") {
		t.Errorf("a message of 2 MB: %v", err)
	}
	// As many as may be: 10 000 shards beside 256 constraints.
	if testing.Short() {
		return
	}
	var b strings.Builder
	b.WriteString("constraints:\n")
	for i := range 256 {
		fmt.Fprintf(&b, "- exclusion: {app: a%d}\n", i)
	}
	b.WriteString("shards:\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "- id: s%d\n  constraints: [{spread: {domain: zone, at_most: 1}}]\n", i)
	}
	if _, err := policy.Parse("p.yaml", []byte(b.String()), kv()); err != nil {
		t.Error(err)
	}
}

func TestMessagesRefused(t *testing.T) {
	for name, c := range map[string]struct {
		policy *pb.Policy
		want   string
	}{
		"bad UTF-8":     {&pb.Policy{Group: "a\xff"}, "policy of app kv: group: expected text, not the character U+FFFD at byte 2"},
		"unknown kind":  {&pb.Policy{Goals: []*pb.Goal{{Tier: 1, Kind: &pb.Goal_Balance{Balance: &pb.BalanceGoal{Metric: "shards", Kind: 9}}}}}, "policy of app kv: goals[0].balance.kind: unknown number 9 of a BalanceKind"},
		"no domain":     {&pb.Policy{Constraints: []*pb.Constraint{{Kind: &pb.Constraint_Spread{Spread: &pb.Spread{Over: &pb.Spread_Domain{}, Limit: &pb.Spread_AtMost{AtMost: 1}}}}}}, "constraints[0].spread: expected domain: host"},
		"empty goal":    {&pb.Policy{Goals: []*pb.Goal{nil}}, "goals[0].tier: expected 1 to 16, not 0"},
		"empty message": {&pb.Policy{Constraints: []*pb.Constraint{{Kind: &pb.Constraint_Spread{}}}}, "constraints[0].spread: expected domain or label"},
	} {
		if _, err := policy.New(c.policy, kv()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := policy.New(nil, policy.Known{App: "K V"}); err == nil || !strings.Contains(err.Error(), `app "K V": expected`) {
		t.Errorf("an app's name: %v", err)
	}
	if s, err := policy.New(nil, kv()); err != nil || s == nil {
		t.Errorf("nothing: %v", err)
	}
}

const whole = `
metrics: [{name: cpu, during: false}, {name: disk}]
constraints:
- {name: zones, spread: {domain: zone, at_most: 1}}
- spread: {label: power, at_least_domains: 2}
- exclusion: {app: db, domain: rack}
- exclusion: {}
- exclusion: {app: web, shard: b, label: cell}
- dependency: {app: db, shard: a, label: cell}
- dependency: {app: names, domain: region}
- eligibility: {expression: "server.region in ['eu', \"us\"] &&\n  has(server.labels.ssd)"}
- pin: {}
moves: {app: 10, server: 2, shard: 1}
goals:
- {tier: 1, weight: 7, region_preference: {regions: [eu, us], replicas: all}}
- {tier: 1, spread: {domain: region, at_least_domains: 2}}
- {tier: 2, drain: {}}
- {tier: 2, replace: true, utilization: {metric: cpu, percent: 80}}
- {tier: 3, balance: {metric: cpu, scope: region, kind: sum-of-squares, tolerance_percent: 0}}
- {tier: 3, balance: {metric: cpu, kind: ratio, other_metric: disk, target_milli: 2500}}
- {tier: 4, latency: {clients: {eu: 60, us: 40}, replicas: primaries}}
- {tier: 5, cost: {server_micros_per_hour: {"m5.large": 96000}, price_label: type, traffic_metric: disk, clients: {eu: 1}, traffic: [{from: eu, to: us, micros_per_gb: 20000}]}}
- {tier: 6, parallel_failover: {domain: rack}}
- {tier: 7, movement: {metric: disk, regions: [{from: eu, to: eu, weight: 1}, {from: eu, to: us, weight: 5}]}}
- {tier: 7, movement: {most_moved_group: true}}
group: storage
shards:
- prefix: eu-
  goals: [{tier: 1, region_preference: {regions: [eu]}}, {tier: 6, parallel_failover: {label: power}}]
  group: europe
- id: eu-1
  moves: 2
  constraints: [{pin: {servers: [a.kv, b.kv]}}]
`

func TestWhole(t *testing.T) {
	s := parsed(t, "p.yaml", whole, kv())
	written := s.Policy()
	if diff := cmp.Diff([]string{"cpu", "disk"}, s.Metrics()); diff != "" {
		t.Error(diff)
	}
	contents, err := policy.Marshal(written)
	if err != nil {
		t.Fatal(err)
	}
	again := parsed(t, "p.json", string(contents), kv())
	if diff := cmp.Diff(written, again.Policy(), protocmp.Transform()); diff != "" {
		t.Errorf("read back:\n%s", diff)
	}
	s.Policy().Goals = nil
	made, err := policy.New(written, kv())
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(made.Policy(), s.Policy()) {
		t.Error("New made another policy of the message")
	}
	// The fields of the message that are not in this policy: none, so that every field is read, checked and written.
	if missing := unset(written.ProtoReflect()); len(missing) > 0 {
		t.Errorf("fields that this test does not set: %v", missing)
	}
}

func parsed(t *testing.T, file, contents string, known policy.Known) *policy.Source {
	t.Helper()
	s, err := policy.Parse(file, []byte(contents), known)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
