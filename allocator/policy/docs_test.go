package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/internal/locality"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func page(t *testing.T) string {
	t.Helper()
	contents, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(contents)
}

// The examples of the page are sound, alone and together.
func TestExamplesOfThePage(t *testing.T) {
	examples := map[string]string{}
	for _, part := range strings.Split(page(t), "```yaml\n# ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		contents, _, ended := strings.Cut(rest, "```")
		if !ended {
			t.Fatalf("%s does not end", name)
		}
		examples[name] = contents
	}
	if len(examples) != 2 {
		t.Fatalf("found %d examples, want cluster.yaml and kv.yaml", len(examples))
	}
	cluster := parsed(t, "cluster.yaml", examples["cluster.yaml"], policy.Known{Regions: []string{"eu-west"}})
	app := parsed(t, "kv.yaml", examples["kv.yaml"], policy.Known{
		App: "kv", Replicas: 3, Metrics: cluster.Metrics(), Regions: []string{"eu-west", "eu-north", "us-east"}, Domains: map[locality.Domain]int{locality.Zone: 9},
	})
	for _, shard := range []string{"eu-0001", "us-0001"} {
		got, conflicts := policy.Compose(append([]*policy.Source{cluster, app}, app.Shards(shard)...)...)
		if len(conflicts) > 0 {
			t.Errorf("%s: %v", shard, conflicts)
		}
		if len(got.Metrics) != 4 || len(got.Constraints) < 6 || len(got.Goals) != 13 || got.AppMoves.Value != 20 {
			t.Errorf("%s: %s", shard, strings.Join(lines(got), "\n"))
		}
	}
}

// The page names every field, and every value of an enumeration.
func TestEveryFieldIsOnThePage(t *testing.T) {
	text, seen := page(t), map[protoreflect.FullName]bool{}
	var visit func(m protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || m.IsMapEntry() {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			field := m.Fields().Get(i)
			if !strings.Contains(text, "`"+string(field.Name())+"`") {
				t.Errorf("docs/policy.md does not name `%s` of %s", field.Name(), m.Name())
			}
			if field.Message() != nil {
				visit(field.Message())
			}
			if enum := field.Enum(); enum != nil && enum.Name() != "FaultDomain" {
				for k := 1; k < enum.Values().Len(); k++ {
					short := strings.TrimPrefix(string(enum.Values().Get(k).Name()), strings.TrimSuffix(string(enum.Values().Get(0).Name()), "UNSPECIFIED"))
					if short = strings.ReplaceAll(strings.ToLower(short), "_", "-"); !strings.Contains(text, short) {
						t.Errorf("docs/policy.md does not name %s of %s", short, enum.Name())
					}
				}
			}
		}
	}
	visit((&pb.Policy{}).ProtoReflect().Descriptor())
	if len(seen) < 20 {
		t.Errorf("only %d messages looked at", len(seen))
	}
}
