// Package scaling says how many replicas each shard of an app should have, where that follows measured load within bounds: the shard scaler. It is
// pure: loads, time and the replicas that there are come in, a number comes out, with the reason.
//
// It never goes outside the bounds of its Rule, changes a shard no sooner than a cooldown after the last change, and asks before it takes a replica
// away. A new leader has nothing of it: it begins with the replicas that are there. Called by allocator/ledger, which has placement do it.
package scaling

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"time"
)

// Rule is how the replicas of an app's shards follow load. 0 means the default.
type Rule struct {
	Metric    string // of the load that replicas of a shard share among them
	Target    int64  // load of one replica, fixed point
	Min, Max  int    // replicas of a shard, the primary included
	Tolerance int    // no change while the load of a replica is off the target by at most so many percent
	Up, Down  time.Duration
}

// Defaults and limits.
const (
	defaultTolerance = 10
	defaultUp        = time.Minute
	defaultDown      = 10 * time.Minute

	toleranceMost = 90
	cooldownMost  = 7 * 24 * time.Hour
	targetMost    = math.MaxInt64 / 1000 / 16 // so that sums of loads, in percent, do not overflow
)

var metricName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Bounds are what a rule must keep to by the rest of its app's spec.
type Bounds struct {
	Least   int    // replicas
	Because string // it is as many
	Most    int
}

// Check says what is wrong with a rule: the field, and what is expected there; both are empty if nothing is. constant are metrics of which every replica has 1.
func (r Rule) Check(b Bounds, constant ...string) (field, expected string) {
	for _, name := range constant {
		if r.Metric == name {
			return "metric", fmt.Sprintf("a load that the application measures, not %q: each replica has 1 of it", name)
		}
	}
	switch {
	case !metricName.MatchString(r.Metric):
		return "metric", fmt.Sprintf("a load that the application measures (CollectLoad), named by 1 to 63 of a-z, 0-9 and _, starting with a letter, not %q", r.Metric)
	case r.Target <= 0 || r.Target > targetMost:
		return "target", fmt.Sprintf("the load that one replica is to have: 1 to %d, not %d", int64(targetMost), r.Target)
	case r.Max < 1 || r.Max > b.Most:
		return "max", fmt.Sprintf("1 to %d, not %d", b.Most, r.Max)
	case r.Min < b.Least:
		return "min", fmt.Sprintf("%d or more, because %s, not %d", b.Least, b.Because, r.Min)
	case r.Min > r.Max:
		return "min", fmt.Sprintf("at most max, which is %d, not %d", r.Max, r.Min)
	case r.Tolerance < 0 || r.Tolerance > toleranceMost:
		return "tolerance_percent", fmt.Sprintf("0 (the default, %d) to %d, not %d", defaultTolerance, toleranceMost, r.Tolerance)
	case r.Up < 0 || r.Up > cooldownMost:
		return "cooldown_up_ms", fmt.Sprintf("0 (the default, %d) to %d, not %d", defaultUp.Milliseconds(), cooldownMost.Milliseconds(), r.Up.Milliseconds())
	case r.Down < 0 || r.Down > cooldownMost:
		return "cooldown_down_ms", fmt.Sprintf("0 (the default, %d) to %d, not %d", defaultDown.Milliseconds(), cooldownMost.Milliseconds(), r.Down.Milliseconds())
	}
	return "", ""
}

// filled is the rule with its defaults.
func (r Rule) filled() Rule {
	r.Tolerance, r.Up, r.Down = cmp.Or(r.Tolerance, defaultTolerance), cmp.Or(r.Up, defaultUp), cmp.Or(r.Down, defaultDown)
	return r
}

// within is the number within the bounds that is nearest to n.
func (r *Rule) within(n int) int { return min(max(n, r.Min), r.Max) }

// fits is how many replicas share a load with no more than the target for each.
func (r *Rule) fits(total int64) int {
	return r.within(int(min((total-1)/r.Target+1, int64(r.Max))))
}

// above reports whether n replicas with a load have so much more than the target that it is worth a change; below, so much less.
func (r *Rule) above(total int64, n int) bool {
	return total*100 > r.Target*int64(100+r.Tolerance)*int64(n)
}

func (r *Rule) below(total int64, n int) bool {
	return total*100 < r.Target*int64(100-r.Tolerance)*int64(n)
}
