// Package resolve makes what placement plans by (terms.Terms) of policies: of the cluster's defaults and the policy of an app, for the servers
// and shards that there are now.
//
// Expressions are evaluated, names become positions, defaults are filled in, and shards of which the same is said become one class. What it
// cannot make sense of closes the fence: if a policy cannot be read, or an expression of it costs too much, no server is allowed, so that what
// is placed stays and nothing goes where it must not be. Notes tell that, and everything else that operators should know.
//
// It is called before each plan, explanation and simulation, by the allocator's shell, allocator/api and allocator/whatif. What it made is kept by
// app and made again when something changed that it was made of. It moves nothing and reads no clock.
package resolve

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/eligibility"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// maxApps is how many apps' policies are kept; when they are that many, all are forgotten.
	maxApps = 10_000
	// maxNotes is how many notes one plan has.
	maxNotes = 20
)

// Neighbours knows where the replicas of other apps are.
type Neighbours interface {
	// Places are the servers that have replicas of an app, or of one shard of it if there is an id; false: there is no such app, or shard.
	Places(app shard.App, id shard.ID) ([]Place, bool)
}

// Place is a server of another app. Nothing of it is modified or kept.
type Place struct {
	Locality shard.Locality
	Labels   map[string]string
}

// Resolver makes terms. Any number of goroutines may use it.
type Resolver struct {
	cluster *policy.Source

	mu   sync.Mutex
	env  *eligibility.Env
	apps map[shard.App]*compiled
}

// New makes a resolver for a cluster with these defaults; nil: none. The error is a defect of this package.
func New(cluster *policy.Source) (*Resolver, error) {
	env, err := eligibility.NewEnv()
	if err != nil {
		return nil, err
	}
	return &Resolver{cluster: cluster, env: env, apps: map[shard.App]*compiled{}}, nil
}

// Cluster is the cluster's defaults; nil: there are none.
func (r *Resolver) Cluster() *policy.Source { return r.cluster }

// Resolve gives an input its terms, and says what operators should know about them. No policy at all is no terms.
func (r *Resolver) Resolve(ctx context.Context, in *placement.Input, n Neighbours) (notes []string) {
	in.Terms = nil
	if r.cluster == nil && len(in.Policy.Written) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.compiled(in)
	if c.unreadable != nil {
		in.Terms = closed(in)
		return []string{fmt.Sprintf("no server is allowed, because the policy cannot be read: %v", c.unreadable)}
	}
	c.assign(in)
	if c.made != nil && !c.related && c.like(in) {
		in.Terms = c.made
		return c.notes
	}
	b := newBuilder(ctx, in, n, c)
	c.made, c.notes, c.servers, c.policy = b.terms(), b.notes, slices.Clone(in.Servers), in.Policy
	in.Terms = c.made
	if ctx.Err() != nil {
		c.made = nil
	}
	return c.notes
}

// compiled is what the policies of an app come to, whatever servers there are.
func (r *Resolver) compiled(in *placement.Input) *compiled {
	if c := r.apps[in.App]; c != nil && bytes.Equal(c.written, in.Policy.Written) {
		return c
	}
	if len(r.apps) >= maxApps {
		clear(r.apps)
	}
	c := compile(r.env, r.cluster, in.App, in.Policy.Written)
	r.apps[in.App] = c
	return c
}

// closed are terms that allow nothing.
func closed(in *placement.Input) *terms.Terms {
	return &terms.Terms{
		Classes: []terms.Class{{
			Fences: []terms.Fence{{Name: "policy that cannot be read", Allows: make([]uint64, words(in))}}, Moves: 1, Group: string(in.App),
		}},
		Of: make([]int32, len(in.Shards)), AppMoves: in.Policy.Moves, ServerMoves: in.Policy.MovesPerServer,
	}
}

// words is how many a set of servers has.
func words(in *placement.Input) int { return (len(in.Servers) + 63) / 64 }

// Read reads the policy of an app as its spec has it. Of an app without one, it is a policy that says nothing.
func Read(cluster *policy.Source, app shard.App, written []byte) (*policy.Source, error) {
	p := new(pb.Policy)
	if err := proto.Unmarshal(written, p); err != nil {
		return nil, fmt.Errorf("policy of app %s: %w", app, err)
	}
	known := policy.Known{App: string(app)}
	if cluster != nil {
		known.Metrics = cluster.Metrics()
	}
	return policy.New(p, known)
}
