package config_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func kv() *pb.AppSpec {
	return &pb.AppSpec{
		Name: "kv", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 96}}},
		Replication: pb.Replication_REPLICATION_PRIMARY_ONLY,
	}
}

func TestAppSpecForms(t *testing.T) {
	full := kv()
	full.Placement = &pb.Placement{
		MaxConcurrentMoves: 4, MaxConcurrentMovesPerServer: 2, BalanceTolerancePercent: 5, DefaultLoad: map[string]int64{"cpu": 3},
		Spread: pb.FaultDomain_FAULT_DOMAIN_ZONE, PreferredRegions: []string{"eu", "us"},
	}
	full.Replicas, full.RegionReplicas = 3, map[string]uint32{"eu": 2}
	full.ResourceVersion = 7
	full.Labels = map[string]string{"team": "a"}
	for name, test := range map[string]struct {
		file string
		want *pb.AppSpec
	}{
		"yaml":           {"name: kv\nkey_space:\n  hash:\n    shards: 96\nreplication: primary-only\n", kv()},
		"other spelling": {"Name: kv\nkeyspace: {hash: {shards: 96}}\nreplication: REPLICATION_PRIMARY_ONLY\n", kv()},
		"named": {"name: kv\nkey_space: {named: {}}\nreplication: primary-secondary\nreplicas: 3\n", &pb.AppSpec{
			Name: "kv", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Named{Named: &pb.NamedKeySpace{}}}, Replicas: 3,
			Replication: pb.Replication_REPLICATION_PRIMARY_SECONDARY,
		}},
		"replication unset": {"name: kv\nkey_space: {hash: {shards: 96}}\n", kv()},
		"json": {"{\n\t\"name\": \"kv\",\n\t\"keySpace\": {\"hash\": {\"shards\": 96}},\n\t\"replication\": \"PRIMARY_ONLY\",\n\t\"resourceVersion\": \"7\"," +
			"\"placement\": {\"maxConcurrentMoves\": 4, \"max_concurrent_moves_per_server\": 2, \"balanceTolerancePercent\": 5, \"defaultLoad\": {\"cpu\": 3}, \"spread\": \"FAULT_DOMAIN_ZONE\", \"preferredRegions\": [\"eu\", \"us\"]}, \"replicas\": 3, \"regionReplicas\": {\"eu\": 2}," +
			"\"labels\": {\"team\": \"a\"}}", full},
	} {
		got, err := config.ParseAppSpec("app.yaml", []byte(test.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.want, got.Spec, protocmp.Transform()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestAppSpecErrors(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"empty":           {"", "app.yaml:1: expected the spec of an app"},
		"list":            {"[]", "app.yaml:1: expected the spec of an app, not a list"},
		"unknown":         {"name: kv\nkey_space:\n  hash:\n    shard: 96\n", "app.yaml:4: key_space.hash.shard: unknown field; did you mean shards?"},
		"range":           {"name: kv\nkey_space:\n  range: {}\n", "app.yaml:3: key_space.range: not supported yet"},
		"replication":     {"name: kv\nkey_space: {hash: {shards: 9}}\nreplication: both\n", `app.yaml:3: replication: expected primary-only or secondary-only or primary-secondary, not "both"`},
		"names in a spec": {"name: kv\nkey_space: {named: {ids: [a]}}\n", "app.yaml:2: key_space.named.ids: expected none, not 1: create shards once the app is there"},
		"an empty space":  {"name: kv\nkey_space: {}\n", "app.yaml:2: key_space: expected `hash: {shards: N}` or `named: {}`"},
		"hold": {
			"name: kv\nkey_space: {hash: {shards: 9}}\nexclusive: true\non_coordination_loss: hold\n",
			"app.yaml:4: on_coordination_loss: expected fence, because the app is exclusive: if two servers may serve a shard at once, set accept_overlap: true; of a cache, exclusive: false",
		},
		"not a truth":       {"name: kv\nkey_space: {hash: {shards: 9}}\nexclusive: maybe\n", `app.yaml:3: exclusive: expected true or false, not "maybe"`},
		"policy":            {"name: kv\nkey_space: {hash: {shards: 9}}\npolicy: {goal: 1}\n", "app.yaml:3: policy.goal: unknown field; did you mean goals?"},
		"maintenance":       {"name: kv\nkey_space: {hash: {shards: 9}}\nmaintenance: {max_down: 1}\n", "app.yaml:3: maintenance.max_down: unknown field"},
		"no name":           {"\nkey_space: {hash: {shards: 9}}\n", "app.yaml:2: name: expected 1 to 63 of a-z"},
		"bad name":          {"key_space: {hash: {shards: 9}}\nname: KV_1\n", "app.yaml:2: name: expected 1 to 63 of a-z"},
		"number for a name": {"name: 12\n", "app.yaml:1: name: expected a string, not the number 12"},
		"no key space":      {"name: kv\n", "app.yaml:1: key_space: expected `hash: {shards: N}`"},
		"no shards":         {"name: kv\nkey_space:\n  hash:\n    shards: 0\n", "app.yaml:4: key_space.hash.shards: expected 1 to 1048576, not 0"},
		"too many shards":   {"name: kv\nkey_space:\n  hash: {shards: 1048577}\n", "app.yaml:3: key_space.hash.shards: expected 1 to 1048576, not 1048577"},
		"negative":          {"name: kv\nkey_space:\n  hash: {shards: -1}\n", "app.yaml:3: key_space.hash.shards: expected a whole number from 0 to 4294967295, not the number -1"},
		"text for a number": {"name: kv\nkey_space: {hash: {shards: many}}\n", `app.yaml:2: key_space.hash.shards: expected a whole number from 0 to 4294967295, not "many"`},
		"duplicate":         {"name: kv\nkeySpace: {hash: {shards: 9}}\nkey_space: {hash: {shards: 8}}\n", "app.yaml:3: key_space: duplicate, already set in line 2"},
		"negative load":     {"name: kv\nkey_space: {hash: {shards: 9}}\nplacement:\n  default_load:\n    cpu: -1\n", "app.yaml:5: placement.default_load.cpu: expected 0 or more, not -1"},
		"spread":            {"name: kv\nkey_space: {hash: {shards: 9}}\nplacement:\n  spread: planet\n", `app.yaml:4: placement.spread: expected host or rack or zone or region, not "planet"`},
		"no list":           {"name: kv\nkey_space: {hash: {shards: 9}}\nplacement: {preferred_regions: eu}\n", `app.yaml:3: placement.preferred_regions: expected a list, not "eu"`},
		"list of numbers":   {"name: kv\nkey_space: {hash: {shards: 9}}\nplacement:\n  preferred_regions:\n  - eu\n  - 7\n", "app.yaml:6: placement.preferred_regions[1]: expected a string, not the number 7"},
		"replicas":          {"name: kv\nkey_space: {hash: {shards: 9}}\nregion_replicas:\n  eu: -1\n", "app.yaml:4: region_replicas.eu: expected a whole number from 0 to 4294967295, not the number -1"},
		"scalar":            {"name: kv\nkey_space: hash\n", `app.yaml:2: key_space: expected a mapping, not "hash"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.ParseAppSpec("app.yaml", []byte(test.file))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %q, want %q in the error", got, fmt.Sprint(err), test.want)
			}
		})
	}
}

func TestAppSpecLocatesWhatAServerRefuses(t *testing.T) {
	spec, err := config.ParseAppSpec("app.yaml", []byte("name: kv\nkeyspace:\n  hash:\n    shards: 9\nplacement:\n  default_load:\n    cpu: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]string{
		"spec.key_space.hash.shards": "app.yaml:4: key_space.hash.shards", "name": "app.yaml:1: name",
		"placement.default_load.cpu": "app.yaml:7: placement.default_load.cpu", "spec.labels": "",
	} {
		if got, ok := spec.Locate(subject); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %t, want %q", subject, got, ok, want)
		}
	}
}

// Whatever is in the file: no panic, and either a sound spec or an error that names the file.
func FuzzAppSpec(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "name: kv\nkey_space: {hash: {shards: 96}}\nreplication: primary-only\n", `{"name":"kv","keySpace":{"hash":{"shards":1}}}`,
		"name: &a kv\nlabels: *a\n", "? [a]\n: b\n", "<<: {name: kv}\n", "name: !!binary aGk=\n", "key_space: {hash: {shards: 1e3}}\n", "---\n...\n---\n",
		"labels: {a: !!str 1, a: 2}\n", "placement: {default_load: {x: 9223372036854775808}}\n", "placement: {preferred_regions: [eu, *a, [b]], spread: zone}\n", "resource_version: \"18446744073709551615\"\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, contents []byte) {
		spec, err := config.ParseAppSpec("app.yaml", contents)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "app.yaml:") {
				t.Errorf("error without its file: %v", err)
			}
			return
		}
		shards := spec.Spec.GetKeySpace().GetHash().GetShards()
		if spec.Spec.GetName() == "" || shards == 0 || shards > shard.MaxShards || !utf8.ValidString(spec.Spec.GetName()) {
			t.Errorf("unsound spec %v from %q", spec.Spec, contents)
		}
	})
}

// The same for settings.
func FuzzSettings(f *testing.F) {
	for _, seed := range []string{"name: a\n", "lease: {validity: 6s}\n", "lease:\n  validity: [\n", "capacity: {a: 1, ? b : 2}\n", "allocators: [[a]]\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, contents string) {
		got, _, err := load(t, contents, nil, nil)
		if err == nil && got.inner != 1 {
			t.Errorf("a field that is no setting was changed by %q", contents)
		}
	})
}
