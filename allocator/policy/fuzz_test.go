package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardmanager/shardmanager/allocator/policy"
)

// Whatever is in the file: no panic, and an error with its place, or a policy that is the same when it is written and read again.
func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{
		"", "{}", whole, "moves: {app: 1e3}", "metrics: [{name: a}, {name: a}]", "<<: {group: a}", "group: !!binary aGk=", "group: &a b\nshards: [{id: *a}]",
		"constraints: [{exclusion: {}}]\nshards: [{prefix: a, constraints: [{dependency: {shard: b, domain: host}}]}, {id: aa, group: \"\\u2028\"}]",
		"goals: [{tier: 1, latency: {clients: {\"~\": 1, null: 2, \"a.b\": 3}}}]", `{"goals":[{"tier":1,"cost":{"serverMicrosPerHour":{"eu":"7"}}}]}`,
		"constraints: [{eligibility: {expression: \"server.labels[?'a'].orValue('\\t') != 'é'\"}}]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, contents []byte) {
		s, err := policy.Parse("p.yaml", contents, policy.Known{App: "kv"})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "p.yaml:") {
				t.Errorf("an error without its file: %v", err)
			}
			return
		}
		written, err := policy.Marshal(s.Policy())
		if err != nil {
			t.Fatal(err)
		}
		again, err := policy.Parse("p.json", written, policy.Known{App: "kv", MaxBytes: 64 << 20})
		if err != nil {
			t.Fatalf("%v\nof what was written:\n%s", err, written)
		}
		if !proto.Equal(s.Policy(), again.Policy()) {
			t.Errorf("%s\nwas written, and read back as\n%v", written, again.Policy())
		}
		if _, conflicts := policy.Compose(s); len(conflicts) > 0 {
			t.Errorf("a sound policy with conflicts: %v", conflicts)
		}
	})
}

// unset lists the fields that no message of a kind sets, below a message.
func unset(m protoreflect.Message) []string {
	declared, set := map[string]bool{}, map[string]bool{}
	var visit func(m protoreflect.Message)
	visit = func(m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			field := fields.Get(i)
			name := fmt.Sprintf("%s.%s", m.Descriptor().Name(), field.Name())
			declared[name] = true
			if !m.Has(field) {
				continue
			}
			set[name] = true
			switch {
			case field.IsMap() || field.Kind() != protoreflect.MessageKind:
			case field.IsList():
				for k := range m.Get(field).List().Len() {
					visit(m.Get(field).List().Get(k).Message())
				}
			default:
				visit(m.Get(field).Message())
			}
		}
	}
	visit(m)
	var missing []string
	for name := range declared {
		if !set[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}
