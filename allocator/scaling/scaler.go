package scaling

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/row"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Scaler is how many replicas the shards of one app should have. The zero Scaler knows of none. It has no lock: its ledger owns it.
type Scaler struct {
	rule   Rule
	now    shard.Instant
	room   int  // shards that may be changed in this look
	on     bool // load is followed
	open   bool
	shards map[shard.Index]*scaled
}

// scaled is what is known of one shard.
type scaled struct {
	loads map[row.Owner]map[string]int64 // by metric, as each replica measured it last; the inner ones are never modified

	begun   bool
	wanted  int
	changed shard.Instant // when wanted changed last, or this leader began
	kept    []row.Owner   // at the last look, the primary first
	shared  shard.Instant // since when they share the load: what they measured before was shared otherwise, and does not add up
	few     shard.Instant // since when fewer would do; zero: they would not
	peak    int           // the most that were needed since then
	short   shard.Instant // since when there are fewer replicas than wanted; zero: there are not
	failed  bool          // no place was found for the last that were wanted: the next attempt waits as long as a step down

	total   int64 // load of all replicas, as of the last look
	known   int   // of the replicas, those that have said
	fit     int
	waiting string // what a change waits for, for people
}

// Measured notes the load that a replica of a shard measures, by metric. It is not copied, and must not be changed.
func (s *Scaler) Measured(at shard.Index, who row.Owner, loads map[string]int64) {
	t := s.of(at)
	if t.loads == nil {
		t.loads = map[row.Owner]map[string]int64{}
	}
	t.loads[who] = loads
}

// Forget forgets a shard.
func (s *Scaler) Forget(at shard.Index) { delete(s.shards, at) }

// Wanted is how many replicas a shard should have; otherwise, where nothing was said of it.
func (s *Scaler) Wanted(at shard.Index, otherwise int) int {
	if t := s.shards[at]; t != nil && t.begun {
		return t.wanted
	}
	return otherwise
}

// Stop forgets what was wanted: load is not followed any more. What was measured is kept.
func (s *Scaler) Stop() {
	if s.on {
		s.on, s.open = false, false
		for _, t := range s.shards {
			*t = scaled{loads: t.loads}
		}
	}
}

// Pending reports whether the last look left something that may be due later, though no load changes.
func (s *Scaler) Pending() bool { return s.open }

func (s *Scaler) of(at shard.Index) *scaled {
	if s.shards == nil {
		s.shards = map[shard.Index]*scaled{}
	}
	t := s.shards[at]
	if t == nil {
		t = &scaled{}
		s.shards[at] = t
	}
	return t
}

// Places is how many replicas of a shard the servers of an app can have, those apart that are to be left.
func Places(in *placement.Input) int {
	var stay []shard.Locality
	for i := range in.Servers {
		if s := &in.Servers[i]; !s.Leaving {
			stay = append(stay, s.Locality)
		}
	}
	return locality.Count(stay, max(in.Policy.Spread, locality.Host))
}

// Begin begins a look at all shards, of which so many may be changed. places is how many replicas of a shard servers can have: no more are wanted, unless
// they must be there. Bounds that changed hold at once: an operator changed them, or servers are to be left.
func (s *Scaler) Begin(now shard.Instant, rule Rule, places, room int) {
	rule.Max = max(rule.Min, min(rule.Max, places))
	s.rule, s.now, s.room, s.on, s.open = rule.filled(), now, room, true, false
}

// Look looks at one shard: the replicas that it is to keep, those that join included, and how many it has where nothing was measured yet. Where another
// number is due it asks why that may not be now; empty: it may. It says why the number has changed; empty: it has not.
func (s *Scaler) Look(at shard.Index, kept []row.Owner, start int, barred func() string) (why string) {
	t, r := s.of(at), &s.rule
	if !slices.Equal(t.kept, kept) {
		t.kept, t.shared = slices.Clone(kept), s.now
	}
	t.sum(r.Metric)
	if !t.begun {
		t.begun, t.changed = true, s.now
		if t.wanted = r.within(len(t.kept)); len(t.kept) == 0 {
			t.wanted = r.within(start)
		}
	}
	if n := r.within(t.wanted); n != t.wanted {
		return s.change(t, n, fmt.Sprintf("from %d to %d may be, by replica_scaling and where servers are", r.Min, r.Max))
	}
	t.waiting = ""
	if why := s.giveUp(t); why != "" {
		return why
	}
	t.fit = r.fits(t.total)
	switch {
	case t.fit > t.wanted && r.above(t.total, t.wanted):
		t.few = shard.Instant{}
		return s.up(t, barred)
	case t.fit < t.wanted && r.below(t.total, t.wanted) && t.known == len(t.kept):
		return s.down(t, barred)
	}
	t.few = shard.Instant{}
	return ""
}

// sum takes the loads of the replicas that are to stay, and forgets the others.
func (t *scaled) sum(metric string) {
	t.total, t.known = 0, 0
	for _, who := range t.kept {
		if load, ok := t.loads[who][metric]; ok {
			t.total, t.known = t.total+min(max(load, 0), targetMost), t.known+1
		}
	}
	if len(t.loads) > len(t.kept) {
		maps.DeleteFunc(t.loads, func(who row.Owner, _ map[string]int64) bool { return !slices.Contains(t.kept, who) })
	}
}

// giveUp wants no more replicas than there are, where no place was found for a while: what cannot be had would count as missing. It takes nothing away.
func (s *Scaler) giveUp(t *scaled) (why string) {
	least := max(s.rule.Min, len(t.kept))
	if len(t.kept) >= t.wanted || least >= t.wanted {
		t.short = shard.Instant{}
		return ""
	}
	s.open = true
	if t.short.IsZero() {
		t.short = s.now
	}
	if t.short.WaitAge(s.now) < s.rule.Up {
		return ""
	}
	t.failed = true
	return s.change(t, least, fmt.Sprintf("no place was found for more in %s", s.rule.Up))
}

// up adds what the load needs, after the cooldown.
func (s *Scaler) up(t *scaled, barred func() string) (why string) {
	s.open = true
	wait := s.rule.Up
	if t.failed {
		wait = s.rule.Down
	}
	if !s.may(t, wait, barred) {
		return ""
	}
	t.failed = false
	return s.change(t, t.fit, s.loadOf(t))
}

// down takes away what the load has not needed at any time of the cooldown.
func (s *Scaler) down(t *scaled, barred func() string) (why string) {
	s.open = true
	if t.few.IsZero() {
		t.few, t.peak = s.now, t.fit
	}
	t.peak = max(t.peak, t.fit)
	since := shard.LaterOf(t.few, t.changed)
	if left := s.rule.Down - since.WaitAge(s.now); left > 0 {
		t.waiting = fmt.Sprintf("%s: fewer would do for %s, and replicas go after %s", leftOf(left), t.few.WaitAge(s.now).Round(time.Second), s.rule.Down)
		return ""
	}
	if !s.may(t, s.rule.Down, barred) {
		return ""
	}
	return s.change(t, t.peak, s.loadOf(t))
}

// may reports whether a change that is due may be now.
func (s *Scaler) may(t *scaled, cooldown time.Duration, barred func() string) bool {
	switch left := cooldown - t.changed.WaitAge(s.now); {
	case left > 0:
		t.waiting = leftOf(left) + ": the number changed, or this leader began, " + t.changed.WaitAge(s.now).Round(time.Second).String() + " ago"
	case t.shared.WaitAge(s.now) < s.rule.Up:
		t.waiting = leftOf(s.rule.Up-t.shared.WaitAge(s.now)) + ": other replicas than before share the load, or another is primary"
	case s.room <= 0:
		t.waiting = "other shards: as many change as may at once (max_concurrent_moves)"
	default:
		t.waiting = barred()
	}
	return t.waiting == ""
}

func leftOf(left time.Duration) string {
	return (left + time.Second - 1).Truncate(time.Second).String()
}

func (s *Scaler) change(t *scaled, to int, because string) (why string) {
	why = fmt.Sprintf("%d, were %d: %s", to, t.wanted, because)
	s.room--
	s.open = true
	t.wanted, t.changed, t.few, t.short = to, s.now, shard.Instant{}, shard.Instant{}
	return why
}

func (s *Scaler) loadOf(t *scaled) string {
	return fmt.Sprintf("a load of %d %s, and a target of %d for each", t.total, s.rule.Metric, s.rule.Target)
}

// Why says why a shard should have as many replicas as it should, for people; empty: nothing is known of it.
func (s *Scaler) Why(at shard.Index) string {
	t := s.shards[at]
	if t == nil || !t.begun {
		return ""
	}
	why := fmt.Sprintf("%d to %d; ", s.rule.Min, s.rule.Max)
	if t.known == 0 {
		return why + fmt.Sprintf("none of its %d replicas has measured %s: does the application's CollectLoad name it?", len(t.kept), s.rule.Metric)
	}
	why += s.loadOf(t)
	if t.known < len(t.kept) {
		why += fmt.Sprintf(" (%d of %d replicas have said)", t.known, len(t.kept))
	}
	switch {
	case t.waiting != "":
		why += fmt.Sprintf("; %d would do, waits for %s", t.fit, t.waiting)
	case t.fit != t.wanted && t.known == len(t.kept):
		why += fmt.Sprintf("; within %d %% of it", s.rule.Tolerance)
	}
	return why
}
