package policy

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/policy/check"
	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/config"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// fieldOfSpec is the field of a spec that is its policy.
const fieldOfSpec = "policy"

// Admission is what the policy of an app is admitted to.
type Admission struct {
	Cluster *Source  // defaults; nil: none
	Partial bool     // the cluster's defaults are not known
	Regions []string // that there are; nil: not known
	// Document that the spec was read from; nil: it came as a message.
	Document *config.Document
}

// Admit checks the policy of a spec: by itself, beside what the spec says in `placement`, and on top of the cluster's defaults. Its errors are
// *Problem, joined. It gives nil if the spec has no policy.
func (a Admission) Admit(app *pb.AppSpec) (*Source, error) {
	known, c := a.begin(app.GetName())
	known.Replicas = replicas(app)
	w := check.Where{Document: a.Document, Name: "app " + known.App, App: known.App}
	p := &check.Problems{Where: w}
	if app.GetPolicy() == nil {
		a.satisfiable(c, known, p)
		return nil, p.Err()
	}
	beside(app, p)
	if err := p.Err(); err != nil {
		return nil, err
	}
	w.At = fieldOfSpec
	s, err := newAt(app.GetPolicy(), w, known)
	if err != nil {
		return nil, err
	}
	c = c.with(s)
	s.together(c, known, p)
	if p.Err() == nil {
		a.satisfiable(c, known, p)
	}
	return s, p.Err()
}

// Parse reads the policy of an app from the contents of a file, and checks it by itself and on top of the cluster's defaults.
func (a Admission) Parse(file string, contents []byte, app string) (*Source, error) {
	known, c := a.begin(app)
	s, err := Parse(file, contents, known)
	if err != nil {
		return nil, err
	}
	p := &check.Problems{}
	s.together(c.with(s), known, p)
	return s, p.Err()
}

// begin is what is known of an app, and the layers before its policy.
func (a Admission) begin(app string) (Known, *composition) {
	known := Known{App: app, Regions: a.Regions, Partial: a.Partial, MaxBytes: spec.MaxPolicyBytes}
	c := newComposition(app)
	if a.Cluster != nil {
		known.Metrics, c = a.Cluster.Metrics(), c.with(a.Cluster)
	}
	return known, c
}

// satisfiable notes what no placement can do, and regions that the cluster's defaults name and that are not there: these are no fault of the app.
func (a Admission) satisfiable(c *composition, known Known, p *check.Problems) {
	known.Regions = nil
	c.finish().check(known, p)
}

// replicas is how many a shard of the app has, the default filled in.
func replicas(app *pb.AppSpec) int {
	s := spec.App{Replication: spec.Replication(max(app.GetReplication(), 0)), Replicas: int(app.GetReplicas())}
	return s.Policy().Replicas
}

// beside notes what the policy says and `placement` says too.
func beside(app *pb.AppSpec, p *check.Problems) {
	old, written := app.GetPlacement(), app.GetPolicy()
	both := func(is bool, field, other string) {
		if is {
			p.Add(fieldOfSpec+"."+field, "expected in one place: placement.%s says it too: %s", other, p.Where.Origin("placement."+other))
		}
	}
	both(written.GetMoves().GetApp() > 0 && old.GetMaxConcurrentMoves() > 0, "moves.app", "max_concurrent_moves")
	both(written.GetMoves().GetServer() > 0 && old.GetMaxConcurrentMovesPerServer() > 0, "moves.server", "max_concurrent_moves_per_server")
	each(written, func(at string, constraints []*pb.Constraint, goals []*pb.Goal) {
		for i, c := range constraints {
			_, most := c.GetSpread().GetLimit().(*pb.Spread_AtMost)
			both(most && statement.OverOf(c.GetSpread()).Label == "" && old.GetSpread() != 0, fmt.Sprintf("%sconstraints[%d].spread", at, i), "spread")
		}
		for i, g := range goals {
			field := fmt.Sprintf("%sgoals[%d]", at, i)
			both(g.GetRegionPreference() != nil && len(old.GetPreferredRegions()) > 0, field+".region_preference", "preferred_regions")
			both(g.GetBalance() != nil && old.GetBalanceTolerancePercent() > 0, field+".balance", "balance_tolerance_percent")
		}
	})
}

// each goes through the statements of a policy, those about single shards too.
func each(p *pb.Policy, visit func(at string, constraints []*pb.Constraint, goals []*pb.Goal)) {
	visit("", p.GetConstraints(), p.GetGoals())
	for i, entry := range p.GetShards() {
		visit(fmt.Sprintf("shards[%d].", i), entry.GetConstraints(), entry.GetGoals())
	}
}
