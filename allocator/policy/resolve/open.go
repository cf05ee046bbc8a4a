package resolve

import (
	"context"
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/internal/config"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Open makes a resolver for a cluster whose defaults are in a file; no path: it has none. Each line of the error begins with the setting's key.
func Open(key, path string) (*Resolver, error) {
	refuse := func(err error) (*Resolver, error) {
		return nil, fmt.Errorf("%s: %s", key, strings.ReplaceAll(err.Error(), "\n", "\n"+key+": "))
	}
	if path == "" {
		return New(nil)
	}
	contents, err := config.ReadFile(path)
	if err != nil {
		return refuse(err)
	}
	cluster, err := policy.Parse(path, contents, policy.Known{})
	if err != nil {
		return refuse(err)
	}
	return New(cluster)
}

// Solve plans by what policies say of an app, and says in the plan's notes what is wrong with that.
func (r *Resolver) Solve(ctx context.Context, in *placement.Input, n Neighbours) placement.Plan {
	notes := r.Resolve(ctx, in, n)
	plan := placement.Solve(*in)
	plan.Notes = append(notes[:len(notes):len(notes)], plan.Notes...)
	return plan
}

// Problems are what is wrong with the policy of an app beside the cluster's defaults, which may have changed since it was admitted.
func (r *Resolver) Problems(app *pb.AppSpec) []string {
	_, err := policy.Admission{Cluster: r.cluster}.Admit(app)
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}
