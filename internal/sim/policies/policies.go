// Package policies is what simulated operators write as the policy of their app, and what each forbids, said once more by itself: placement
// reads the text as it does in a real cluster, and checkers ask here.
package policies

import (
	"context"
	"fmt"
	"sync"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Policy is one that an operator may write.
type Policy struct {
	Name    string
	Written []byte // as an app's spec has it; nil: no policy

	Outside         string // region in which no replica may be; empty: none
	Moves, OfServer int    // caps on open moves of the app and of a server, beside those of the spec; 0: none
}

// Allows says whether a server at a place may be given a replica.
func (p *Policy) Allows(at shard.Locality) bool { return p.Outside == "" || at.Region != p.Outside }

// All are the policies that operators write; the first is none at all. They are read when they are asked for first: every command of the
// binary would wait for that.
var All = sync.OnceValue(func() []Policy {
	return []Policy{
		{Name: "none"},
		outside("eu"), outside("us"), outside("ap"),
		read(Policy{Name: "few moves", Moves: 3, OfServer: 1}, "moves: {app: 3, server: 1}\n"),
		read(Policy{Name: "goals"}, goals),
	}
})

const goals = `
goals:
  - {tier: 1, weight: 10, region_preference: {regions: [us, eu], replicas: primaries}}
  - {tier: 2, parallel_failover: {domain: zone}}
  - {tier: 3, balance: {metric: shards, kind: sum-of-squares, tolerance_percent: 5}}
  - {tier: 4, movement: {}}
`

func outside(region string) Policy {
	return read(Policy{Name: "outside " + region, Outside: region}, fmt.Sprintf(`
constraints:
  - {name: fence, eligibility: {expression: 'server.region != "%s"'}}
`, region))
}

// read has placement's own reader read a text, and keeps it as specs do. The texts are constants: one that is refused is a defect.
func read(p Policy, text string) Policy {
	source, err := policy.Parse(p.Name, []byte(text), policy.Known{})
	if err != nil {
		panic(err)
	}
	if p.Written, err = appspec.Written(source.Policy()); err != nil {
		panic(err)
	}
	return p
}

// Of is the policy that a spec has.
func Of(written []byte) *Policy {
	all := All()
	for i := range all {
		if string(all[i].Written) == string(written) {
			return &all[i]
		}
	}
	return &all[0]
}

// Planner plans as allocators do. Its zero value is ready; one goroutine may use it.
type Planner struct{ resolver *resolve.Resolver }

// Solve plans by the policy in the input.
func (p *Planner) Solve(in placement.Input) placement.Plan {
	if len(in.Policy.Written) == 0 {
		return placement.Solve(in)
	}
	if p.resolver == nil {
		var err error
		if p.resolver, err = resolve.New(nil); err != nil {
			panic(err) // a defect of that package
		}
	}
	return p.resolver.Solve(context.Background(), &in, nil)
}
