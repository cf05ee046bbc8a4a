package statement

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Verdict is what becomes of an earlier and a later statement.
type Verdict uint8

const (
	Both    Verdict = iota + 1 // they stand side by side
	Drop                       // the later one says nothing new
	Replace                    // the later one takes the place of the earlier
	Looser                     // the later one takes something back
	Clash                      // no server satisfies both
)

// Compare compares two constraints. The reason says what they are about.
func Compare(earlier, later *pb.Constraint) (Verdict, string) {
	switch e := earlier.GetKind().(type) {
	case *pb.Constraint_Spread:
		if l := later.GetSpread(); l != nil && OverOf(l) == OverOf(e.Spread) {
			return betweenSpreads(e.Spread, l)
		}
	case *pb.Constraint_Exclusion:
		switch l := later.GetKind().(type) {
		case *pb.Constraint_Exclusion:
			return same(e.Exclusion, l.Exclusion, "exclusion of "+TargetOf(e.Exclusion).String())
		case *pb.Constraint_Dependency:
			return excludedAndNeeded(e.Exclusion, l.Dependency)
		}
	case *pb.Constraint_Dependency:
		switch l := later.GetKind().(type) {
		case *pb.Constraint_Dependency:
			return same(e.Dependency, l.Dependency, "dependency on "+TargetOf(e.Dependency).String())
		case *pb.Constraint_Exclusion:
			return excludedAndNeeded(l.Exclusion, e.Dependency)
		}
	case *pb.Constraint_Eligibility:
		if l := later.GetEligibility(); l != nil {
			return same(e.Eligibility, l, "eligibility")
		}
	case *pb.Constraint_Pin:
		if l := later.GetPin(); l != nil {
			return same(e.Pin, l, "pin")
		}
	}
	return Both, ""
}

func same(a, b proto.Message, what string) (Verdict, string) {
	if proto.Equal(a, b) {
		return Drop, what
	}
	return Both, ""
}

// betweenSpreads compares spreads over the same domains.
func betweenSpreads(earlier, later *pb.Spread) (Verdict, string) {
	_, most := earlier.GetLimit().(*pb.Spread_AtMost)
	if _, other := later.GetLimit().(*pb.Spread_AtMost); most != other {
		return Both, ""
	}
	a, b, words := earlier.GetAtLeastDomains(), later.GetAtLeastDomains(), "at least %d and at least %d domains"
	if most {
		a, b, words = later.GetAtMost(), earlier.GetAtMost(), "at most %[2]d and at most %[1]d replicas in one"
	}
	what := "spread over " + OverOf(earlier).String()
	switch {
	case a == b:
		return Drop, what
	case b > a:
		return Replace, what + ": " + fmt.Sprintf(words, a, b)
	}
	return Looser, what + ": " + fmt.Sprintf(words, a, b)
}

// excludedAndNeeded finds exclusions that leave no server to a dependency.
func excludedAndNeeded(e *pb.Exclusion, d *pb.Dependency) (Verdict, string) {
	if TargetOf(e).Covers(TargetOf(d)) && OverOf(d).Inside(OverOf(e)) {
		return Clash, fmt.Sprintf("no server can be in the same %s as %s and not in the same %s as %s",
			OverOf(d), TargetOf(d), OverOf(e), TargetOf(e))
	}
	return Both, ""
}

// Subject is what a goal is about.
type Subject struct {
	What  string
	Tiers bool // there may be one goal about it in each tier, else one only
}

// SubjectOf is the subject of a goal.
func SubjectOf(g *pb.Goal) Subject {
	what, tiers := subject(g)
	return Subject{what, tiers}
}

func subject(g *pb.Goal) (what string, tiers bool) {
	switch k := g.GetKind().(type) {
	case *pb.Goal_RegionPreference:
		return "region preference" + ofReplicas(k.RegionPreference.GetReplicas()), false
	case *pb.Goal_Spread:
		limit := "replicas in one"
		if _, domains := k.Spread.GetLimit().(*pb.Spread_AtLeastDomains); domains {
			limit = "number of domains"
		}
		return fmt.Sprintf("spread over %s, %s", OverOf(k.Spread), limit), true
	case *pb.Goal_Drain:
		return "drain", false
	case *pb.Goal_Utilization:
		return "utilization of " + k.Utilization.GetMetric(), true
	case *pb.Goal_Balance:
		b := k.Balance
		scope := "global"
		if b.GetScope() == pb.BalanceScope_BALANCE_SCOPE_REGION {
			scope = "in each region"
		}
		what = fmt.Sprintf("balance of %s, %s", b.GetMetric(), scope)
		switch b.GetKind() {
		case pb.BalanceKind_BALANCE_KIND_UNSPECIFIED, pb.BalanceKind_BALANCE_KIND_LARGEST:
		case pb.BalanceKind_BALANCE_KIND_SUM_OF_SQUARES:
			what += ", sum of squares"
		case pb.BalanceKind_BALANCE_KIND_RATIO:
			what += ", ratio to " + b.GetOtherMetric()
		}
		return what, true
	case *pb.Goal_Latency:
		return "latency" + ofReplicas(k.Latency.GetReplicas()), false
	case *pb.Goal_Cost:
		return "cost", false
	case *pb.Goal_ParallelFailover:
		return "parallel failover", false
	case *pb.Goal_Movement:
		if k.Movement.GetMostMovedGroup() {
			return "movement of the most moved group", false
		}
		return "movement", false
	}
	return "nothing", false
}

func ofReplicas(r pb.Replicas) string {
	switch r {
	case pb.Replicas_REPLICAS_UNSPECIFIED:
	case pb.Replicas_REPLICAS_PRIMARIES:
		return " of primaries"
	case pb.Replicas_REPLICAS_ALL:
		return " of all replicas"
	}
	return ""
}

// CompareGoals compares two goals with the same subject, and the same tier if their subject has one goal a tier: does the later one not simply
// take the place of the earlier?
func CompareGoals(earlier, later *pb.Goal, about Subject) (clashes bool, reason string) {
	switch {
	case !about.Tiers || later.GetReplace() || sameKind(earlier, later):
		return false, about.What
	case earlier.GetUtilization() != nil:
		return true, fmt.Sprintf("%s: thresholds of %d and %d percent in tier %d",
			about.What, earlier.GetUtilization().GetPercent(), later.GetUtilization().GetPercent(), later.GetTier())
	}
	return true, fmt.Sprintf("%s: two different goals in tier %d", about.What, later.GetTier())
}

// sameKind reports whether two goals differ in tier, weight and replace only.
func sameKind(a, b *pb.Goal) bool {
	left, right := &pb.Goal{Kind: a.GetKind()}, &pb.Goal{Kind: b.GetKind()}
	return proto.Equal(left, right)
}
