package resolve_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FuzzWritten: whatever a spec keeps as its policy, it is checked without a panic, what is sound stays sound as a message and as a
// file, and terms are made of it: of one that cannot be read such that nothing moves. The same policy makes the same terms.
func FuzzWritten(f *testing.F) {
	for _, text := range []string{
		"", "group: g\nmoves: {app: 3}\n", "constraints: [{eligibility: {expression: \"server.labels['disk'] == 'ssd'\"}}]\n",
		"constraints: [{spread: {over: {domain: zone}}}, {exclusion: {app: other, domain: host}}]\nshards: [{prefix: a, group: b}, {id: \"1\", constraints: [{pin: {servers: [a.kv]}}]}]\n",
		"goals: [{tier: 1, drain: {}}, {tier: 2, latency: {clients: {eu: 1}}}]\nmetrics: [{name: cpu}]\n",
	} {
		p := new(pb.Policy)
		if s, err := policy.Parse("p.yaml", []byte(text), policy.Known{App: "kv"}); err == nil {
			p = s.Policy()
		}
		raw, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte{0xff})
	in := placement.Input{App: "kv", Servers: []placement.Server{
		{ID: "a.kv", Accepts: true, Locality: shard.Locality{Region: "eu", Zone: "z1", Host: "h1"}, Labels: map[string]string{"disk": "ssd"}},
		{ID: "b.kv", Accepts: true, Locality: shard.Locality{Region: "us", Zone: "z2", Host: "h2"}},
	}}
	for i := range 4 {
		in.Shards = append(in.Shards, placement.Shard{Index: shard.Index(i), ID: shard.ID(fmt.Sprint(i)), Load: map[string]int64{placement.MetricShards: 1}, Wanted: 1})
	}
	one, other := resolver(f, ""), resolver(f, "")
	f.Fuzz(func(t *testing.T, written []byte) {
		if len(written) > 1<<12 {
			return
		}
		known := new(pb.Policy) // what a newer version would say besides is not in the file
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(written, known) == nil {
			written, _ = proto.Marshal(known)
		}
		s, err := resolve.Read(nil, "kv", written)
		if err == nil {
			text, err := policy.Marshal(s.Policy())
			if err != nil {
				t.Fatal(err)
			}
			if again, err := policy.Parse("p.json", text, policy.Known{App: "kv", MaxBytes: 1 << 24}); err != nil || !proto.Equal(again.Policy(), s.Policy()) {
				t.Fatalf("sound as a message, and as a file: %v\n%s", err, text)
			}
		}
		first, second := in, in
		first.Policy.Written, second.Policy.Written = written, written
		notes := one.Resolve(t.Context(), &first, nil)
		if again := other.Resolve(t.Context(), &second, nil); !cmp.Equal(notes, again) || !cmp.Equal(first.Terms, second.Terms) {
			t.Fatalf("%v and %v of the same policy", notes, again)
		}
		if err != nil && len(notes) == 0 {
			t.Fatalf("nobody is told of %v", err)
		}
	})
}
