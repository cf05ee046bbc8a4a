package scaling_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/row"
	"github.com/shardmanager/shardmanager/allocator/scaling"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const every = 5 * time.Second // between two looks

// one is a shard whose load is shared evenly by its replicas, and that gets and loses replicas as is said.
type one struct {
	scaler  scaling.Scaler
	rule    scaling.Rule
	now     shard.Instant
	has     int
	places  int // for replicas, at most
	room    int
	domains int
	barred  string
	mute    int // replicas that say nothing
	said    []string
}

func newOne(rule scaling.Rule, has int) *one {
	return &one{rule: rule, now: shard.Instant{Boot: 1e9, Raw: 1e9}, has: has, places: 100, domains: 100, room: 1}
}

var plain = scaling.Rule{Metric: "reads", Target: 100, Min: 2, Max: 6, Up: time.Minute, Down: 10 * time.Minute}

func (o *one) owners() (list []row.Owner) {
	for i := range o.has {
		list = append(list, row.Owner{Server: shard.ServerID(fmt.Sprintf("s%d", i)), Incarnation: 1})
	}
	return list
}

// look measures a load, looks, and does what is wanted.
func (o *one) look(load int64) int {
	for i, who := range o.owners() {
		if i >= o.mute {
			share := load / int64(o.has)
			if i == 0 {
				share += load % int64(o.has)
			}
			o.scaler.Measured(0, who, map[string]int64{"reads": share})
		}
	}
	o.scaler.Begin(o.now, o.rule, o.domains, o.room)
	if why := o.scaler.Look(0, o.owners(), 3, func() string { return o.barred }); why != "" {
		o.said = append(o.said, why)
	}
	o.now = o.now.Add(every)
	o.has = min(o.scaler.Wanted(0, -1), o.places)
	return o.scaler.Wanted(0, -1)
}

// during looks for a while under one load.
func (o *one) during(d time.Duration, load int64) int {
	n := o.scaler.Wanted(0, -1)
	for ; d > 0; d -= every {
		n = o.look(load)
	}
	return n
}

func TestFollowsLoad(t *testing.T) {
	o := newOne(plain, 2)
	for i, step := range []struct {
		load int64
		last time.Duration
		want int
	}{
		{150, 5 * time.Minute, 2},
		{215, 5 * time.Minute, 2},       // within the tolerance
		{450, every, 5},                 // long enough after the last change
		{600, 50 * time.Second, 5},      // too soon after it
		{600, 15 * time.Second, 6},      // not any more
		{9000, 5 * time.Minute, 6},      // never beyond
		{150, 9 * time.Minute, 6},       // for too short a time
		{350, 30 * time.Second, 6},      // it was needed for a moment
		{150, 9 * time.Minute, 4},       // as many as were needed at any time of the cooldown
		{150, time.Minute, 4},           // step by step
		{150, time.Minute, 2},           // but not below two
		{0, 30 * time.Minute, 2},        // never below
		{201, 30 * time.Minute, 2},      // worth nothing
		{260, 2 * every, 3},             // up at once: nothing has changed for long
		{260, 24 * time.Hour, 3},        // and that is it
		{271, 24 * time.Hour, 3},        // as long as it is so
		{1 << 62, 2 * time.Minute, 6},   // no overflow
		{-1 << 62, 20 * time.Minute, 2}, // nor below
	} {
		if got := o.during(step.last, step.load); got != step.want {
			t.Fatalf("step %d, load %d for %s: %d replicas, expected %d; %q; %s", i, step.load, step.last, got, step.want, o.said, o.scaler.Why(0))
		}
	}
}

// A new leader begins with what is there; where nothing is, with what the spec says; and within bounds.
func TestBegins(t *testing.T) {
	for has, want := range map[int]int{0: 3, 1: 2, 4: 4, 9: 6} {
		o := newOne(plain, has)
		o.mute = 9
		if got := o.look(0); got != want {
			t.Errorf("%d there: %d wanted, expected %d", has, got, want)
		}
	}
	var s scaling.Scaler
	if got := s.Wanted(7, 5); got != 5 {
		t.Errorf("nothing said: %d", got)
	}
	o := newOne(plain, 4)
	o.look(400)
	o.scaler.Forget(0)
	if got := o.scaler.Wanted(0, -1); got != -1 {
		t.Errorf("forgotten: %d", got)
	}
}

func TestHoldsBack(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*one)
		load   int64
		why    string
	}{
		"barred":        {func(o *one) { o.barred = "a piece of event os-2 covers s1" }, 900, "waits for a piece of event os-2 covers s1"},
		"barred, fewer": {func(o *one) { o.barred = "it moves" }, 100, "2 would do, waits for it moves"},
		"no room":       {func(o *one) { o.room = 0 }, 900, "max_concurrent_moves"},
		"silent":        {func(o *one) { o.mute = 4 }, 900, "none of its 4 replicas has measured reads"},
		"half silent":   {func(o *one) { o.mute = 2 }, 100, "2 of 4 replicas have said"},
	} {
		o := newOne(plain, 4)
		c.change(o)
		if got := o.during(time.Hour, c.load); got != 4 || !strings.Contains(o.scaler.Why(0), c.why) {
			t.Errorf("%s: %d replicas: %s", name, got, o.scaler.Why(0))
		}
	}
	o := newOne(plain, 4)
	o.during(10*time.Second, 900)
	if why := o.scaler.Why(0); !o.scaler.Pending() || !strings.Contains(why, "6 would do, waits for 55s") {
		t.Errorf("in the cooldown: %t, %s", o.scaler.Pending(), why)
	}
}

// What there is no place for is given up, so that it does not count as missing for ever, and tried again after the longer cooldown.
func TestGivesUp(t *testing.T) {
	o := newOne(plain, 3)
	o.places = 3
	up, changes, last := 0, 0, 3
	for range int(2 * time.Hour / every) {
		n := o.look(900)
		if n > 3 {
			up++
		}
		if n != last {
			changes++
		}
		last = n
	}
	if share := float64(up) / float64(2*time.Hour/every); share > 0.15 || changes < 10 {
		t.Errorf("more than there is place for was wanted %.0f %% of the time, in %d changes: %q", share*100, changes, o.said)
	}
	if o.rule.Min, o.places, o.has = 4, 3, 3; o.during(time.Hour, 0) != 4 {
		t.Error("the least that the spec asks for was given up")
	}
}

func TestNewBoundsHoldAtOnce(t *testing.T) {
	left := newOne(plain, 6)
	left.barred = "a piece of an event covers s1"
	left.during(time.Minute, 600)
	if left.domains = 5; left.look(600) != 5 {
		t.Errorf("5 places: %s", left.scaler.Why(0))
	}
	if left.domains = 0; left.look(600) != 2 {
		t.Errorf("no place: %s", left.scaler.Why(0))
	}

	o := newOne(plain, 6)
	o.during(time.Minute, 600)
	o.rule.Max = 3
	if got := o.look(600); got != 3 {
		t.Errorf("a lower maximum: %d", got)
	}
	o.rule.Min, o.rule.Max = 5, 6
	if got := o.look(0); got != 5 {
		t.Errorf("a higher minimum: %d", got)
	}
}

// Whatever the load does: bounds and cooldowns are kept, a steady load comes to rest after one change each way, and a load that swings faster than
// replicas go never takes any away that it needs again.
func TestNeverFlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.IntRange(1, 4).Draw(t, "min")
		rule := scaling.Rule{Metric: "reads", Target: rapid.Int64Range(1, 1000).Draw(t, "target"), Min: least, Max: least + rapid.IntRange(0, 8).Draw(t, "more"),
			Tolerance: rapid.IntRange(1, 50).Draw(t, "tolerance"), Up: time.Duration(rapid.IntRange(5, 120).Draw(t, "up")) * time.Second,
			Down: time.Duration(rapid.IntRange(60, 900).Draw(t, "down")) * time.Second}
		o := newOne(rule, rapid.IntRange(1, 12).Draw(t, "has"))
		n, changed := o.look(0), o.now
		turn := func(load int64) {
			was := n
			o.barred, o.room = "", 1
			if rapid.IntRange(0, 9).Draw(t, "barred") == 0 {
				o.barred = "it moves"
			}
			at := o.now
			n = o.look(load)
			if n < rule.Min || n > rule.Max {
				t.Fatalf("%d replicas, outside %d to %d", n, rule.Min, rule.Max)
			}
			if n == was {
				return
			}
			cooldown := rule.Up
			if n < was {
				cooldown = rule.Down
			}
			if age := changed.WaitAge(at); age < cooldown-every || o.barred != "" {
				t.Fatalf("from %d to %d after %s, cooldown %s, barred %q", was, n, age, cooldown, o.barred)
			}
			changed = at
		}
		for range rapid.IntRange(0, 60).Draw(t, "looks") {
			turn(rapid.Int64Range(0, 15000).Draw(t, "load"))
		}
		// It swings, at least once in every cooldown: after the first round nothing changes any more.
		high, low := rapid.Int64Range(0, 15000).Draw(t, "high"), rapid.Int64Range(0, 15000).Draw(t, "low")
		period := int(rule.Down / every / 2)
		swing := func(rounds int) {
			for i := range rounds * period {
				if o.barred = ""; i%period < period/2 {
					n = o.look(high)
				} else {
					n = o.look(low)
				}
			}
		}
		swing(8)
		said := len(o.said)
		swing(8)
		if len(o.said) > said {
			t.Fatalf("between %d and %d: %q", high, low, o.said[said:])
		}
		// And a steady one comes to rest.
		o.during(2*rule.Down+2*rule.Up, high)
		said = len(o.said)
		o.during(2*rule.Down+2*rule.Up, high)
		if len(o.said) != said {
			t.Fatalf("at rest, and: %q", o.said[said:])
		}
		if total := max(high, 0); total > rule.Target*int64(n)*int64(100+rule.Tolerance)/100 && n < rule.Max {
			t.Fatalf("a load of %d on %d replicas, target %d", total, n, rule.Target)
		}
	})
}

func TestCheck(t *testing.T) {
	bounds := scaling.Bounds{Least: 2, Because: "region_replicas asks for them", Most: 16}
	for name, c := range map[string]struct {
		change          func(*scaling.Rule)
		field, expected string
	}{
		"good":      {func(*scaling.Rule) {}, "", ""},
		"defaults":  {func(r *scaling.Rule) { r.Up, r.Down = 0, 0 }, "", ""},
		"no metric": {func(r *scaling.Rule) { r.Metric = "" }, "metric", "CollectLoad"},
		"bad name":  {func(r *scaling.Rule) { r.Metric = "Reads" }, "metric", `not "Reads"`},
		"constant":  {func(r *scaling.Rule) { r.Metric = "shards" }, "metric", "each replica has 1 of it"},
		"target 0":  {func(r *scaling.Rule) { r.Target = 0 }, "target", "not 0"},
		"target":    {func(r *scaling.Rule) { r.Target = 1 << 62 }, "target", "1 to"},
		"min > max": {func(r *scaling.Rule) { r.Min = 7 }, "min", "at most max, which is 6, not 7"},
		"least":     {func(r *scaling.Rule) { r.Min = 1 }, "min", "2 or more, because region_replicas asks for them, not 1"},
		"no max":    {func(r *scaling.Rule) { r.Max = 0 }, "max", "1 to 16, not 0"},
		"most":      {func(r *scaling.Rule) { r.Max = 17 }, "max", "1 to 16, not 17"},
		"tolerance": {func(r *scaling.Rule) { r.Tolerance = 91 }, "tolerance_percent", "not 91"},
		"up":        {func(r *scaling.Rule) { r.Up = -time.Second }, "cooldown_up_ms", "not -1000"},
		"down":      {func(r *scaling.Rule) { r.Down = 1000 * time.Hour }, "cooldown_down_ms", "to 604800000"},
	} {
		r := plain
		c.change(&r)
		field, expected := r.Check(bounds, "shards", "primaries")
		if field != c.field || !strings.Contains(expected, c.expected) || (field == "") != (expected == "") {
			t.Errorf("%s: %q: expected %s", name, field, expected)
		}
	}
}

// What replicas measured before others came, or another became primary, does not add up with what they measure then: nothing is added for it.
func TestMeasuresAnew(t *testing.T) {
	o := newOne(plain, 2)
	o.during(5*time.Minute, 150)
	before := o.owners()
	after := []row.Owner{before[1], before[0]}
	o.scaler.Measured(0, before[0], map[string]int64{"reads": 150}) // alone, for a moment
	for _, c := range []struct {
		kept []row.Owner
		load int64 // of the other one
		last time.Duration
		want int
	}{
		{after, 75, 55 * time.Second, 2},
		{before, 75, 55 * time.Second, 2},
		{before, 150, 10 * time.Second, 3}, // it is so
	} {
		for ; c.last > 0; c.last -= every {
			o.scaler.Measured(0, before[1], map[string]int64{"reads": c.load})
			o.scaler.Begin(o.now, o.rule, o.domains, o.room)
			o.scaler.Look(0, c.kept, 3, func() string { return "" })
			o.now = o.now.Add(every)
		}
		if got := o.scaler.Wanted(0, -1); got != c.want {
			t.Errorf("%d replicas, expected %d: %s", got, c.want, o.scaler.Why(0))
		}
	}
}
