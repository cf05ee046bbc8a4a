// Package statement compares what policies say, a statement with another, and fills in what they leave out.
//
// It knows constraints and goals as messages that were checked, and nothing of where they were written. It is called by package policy to
// compose layers, and by package check. It keeps no state.
package statement

import (
	"fmt"

	"github.com/shardmanager/shardmanager/internal/locality"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Defaults. Those of moves are of the app, from or to one server, and of one shard.
const (
	defaultWeight      = 1
	DefaultAppMoves    = 64
	DefaultServerMoves = 8
	DefaultShardMoves  = 1
	defaultTolerance   = 10
)

// Fill puts the defaults in, and the app's own name where others are named. Metrics get theirs when all layers are known.
func Fill(p *pb.Policy, app string) {
	fillStatements(p.GetConstraints(), p.GetGoals(), app)
	for _, entry := range p.GetShards() {
		fillStatements(entry.GetConstraints(), entry.GetGoals(), app)
	}
}

// FilledMetric is a metric with its defaults.
func FilledMetric(m *pb.Metric) *pb.Metric {
	if m.During != nil {
		return m
	}
	during := true
	return &pb.Metric{Name: m.GetName(), During: &during}
}

func fillStatements(constraints []*pb.Constraint, goals []*pb.Goal, app string) {
	for _, c := range constraints {
		if e := c.GetExclusion(); e != nil {
			if e.App == "" {
				e.App = app
			}
			if e.Over == nil {
				e.Over = &pb.Exclusion_Domain{Domain: pb.FaultDomain_FAULT_DOMAIN_HOST}
			}
		}
		if d := c.GetDependency(); d != nil && d.App == "" {
			d.App = app
		}
	}
	for _, g := range goals {
		fillGoal(g)
	}
}

func fillGoal(g *pb.Goal) {
	if g.Weight == nil {
		weight := uint32(defaultWeight)
		g.Weight = &weight
	}
	if f := g.GetParallelFailover(); f != nil && f.Over == nil {
		f.Over = &pb.FailoverGoal_Domain{Domain: pb.FaultDomain_FAULT_DOMAIN_HOST}
	}
	b := g.GetBalance()
	if b == nil {
		return
	}
	if b.Scope == pb.BalanceScope_BALANCE_SCOPE_UNSPECIFIED {
		b.Scope = pb.BalanceScope_BALANCE_SCOPE_GLOBAL
	}
	if b.Kind == pb.BalanceKind_BALANCE_KIND_UNSPECIFIED {
		b.Kind = pb.BalanceKind_BALANCE_KIND_LARGEST
	}
	if b.TolerancePercent == nil && b.Kind != pb.BalanceKind_BALANCE_KIND_RATIO {
		tolerance := uint32(defaultTolerance)
		b.TolerancePercent = &tolerance
	}
}

// Over is what something is counted over: a fault domain, or the values of a label.
type Over struct {
	Domain pb.FaultDomain
	Label  string
}

// OverOf takes the two alternatives of a message.
func OverOf(m interface {
	GetDomain() pb.FaultDomain
	GetLabel() string
}) Over {
	return Over{m.GetDomain(), m.GetLabel()}
}

// String names it as errors do.
func (o Over) String() string {
	if o.Label != "" {
		return "label " + o.Label
	}
	return locality.Domain(o.Domain).String()
}

// Inside reports whether servers that share o certainly share other.
func (o Over) Inside(other Over) bool {
	if o.Label != "" || other.Label != "" {
		return o == other
	}
	return o.Domain <= other.Domain
}

// Target is the app or shard that an exclusion or dependency is about.
type Target struct{ App, Shard string }

// TargetOf takes the two fields of a message.
func TargetOf(m interface {
	GetApp() string
	GetShard() string
}) Target {
	return Target{m.GetApp(), m.GetShard()}
}

// String names it as errors do.
func (t Target) String() string {
	switch {
	case t.App == "":
		return "the app itself"
	case t.Shard == "":
		return "app " + t.App
	}
	return fmt.Sprintf("shard %s of app %s", t.Shard, t.App)
}

// Covers reports whether what is true of t is true of all of other.
func (t Target) Covers(other Target) bool {
	return t.App == other.App && (t.Shard == "" || t.Shard == other.Shard)
}

// Owner names whose policy it is.
func Owner(app string) string {
	if app == "" {
		return "the cluster"
	}
	return "app " + app
}
