package probation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/shard"
)

var (
	start  = shard.Instant{Boot: 1e12, Raw: 2e12}
	terms  = probation.Terms{Window: 10 * time.Minute, First: time.Minute, Most: 30 * time.Minute}
	limits = probation.Limits{Deaths: 3, Window: 5 * time.Minute}
)

// The second fence in a window begins a probation; each further one doubles it, up to the most; a whole quiet window ends the count.
func TestProbationGrows(t *testing.T) {
	var k probation.Keeper
	now := start
	var lengths []time.Duration
	for range 8 {
		_, left := k.Fenced(now, "a.kv", "silent", terms)
		lengths = append(lengths, left)
		now = now.Add(left + terms.Window - 1)
		if on, _ := k.Probations.On(now, "a.kv"); on != 0 {
			t.Fatalf("still on probation for %s after its end", on)
		}
	}
	m := time.Minute
	if want := []time.Duration{0, m, 2 * m, 4 * m, 8 * m, 16 * m, 30 * m, 30 * m}; !slices.Equal(lengths, want) {
		t.Errorf("lengths %v, expected %v", lengths, want)
	}
	k.Tick(now, living)
	if rows := k.Take(now, 10); len(rows) != 1 || rows[0] == probation.Row(probation.RemoveProbation{Server: "a.kv"}) {
		t.Errorf("rows %v: forgotten before its window is over", rows)
	}
	now = now.Add(1)
	k.Tick(now, living)
	if rows := k.Take(now, 10); len(rows) != 1 || rows[0] != probation.Row(probation.RemoveProbation{Server: "a.kv"}) {
		t.Errorf("rows %v, expected its removal", rows)
	}
	if _, left := k.Fenced(now, "a.kv", "silent", terms); left != 0 {
		t.Error("an old fence counted")
	}
}

// What is stored counts on under the next leader, from its last checkpoint.
func TestProbationSurvives(t *testing.T) {
	var k probation.Keeper
	k.Fenced(start, "a.kv", "silent", terms)
	k.Fenced(start, "a.kv", "silent", terms)
	row, left := k.Fenced(start, "a.kv", "silent again", terms)
	if left != 2*time.Minute {
		t.Fatalf("probation of %s", left)
	}
	now := start.Add(time.Minute - 1)
	k.Tick(now, living)
	if k.Waiting() {
		t.Error("stored anew too soon")
	}
	now = now.Add(1)
	k.Tick(now, living)
	rows := k.Take(now.Add(time.Second), 10)
	want := probation.Probation{Fences: 3, Window: 11*time.Minute - time.Second, Length: 2 * time.Minute, Left: 59 * time.Second, Reason: "silent again"}
	if len(rows) != 1 {
		t.Fatalf("rows %v", rows)
	}
	put, _ := rows[0].(probation.PutProbation)
	if diff := cmp.Diff(want, put.Probation); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if first, _ := row.(probation.PutProbation); first.Probation.Left != 2*time.Minute {
		t.Errorf("stored with the fence: %+v", row)
	}
	var next probation.Keeper
	later := shard.Instant{Boot: 5, Raw: 7} // another machine's clocks
	next.Load(later, map[shard.ServerID]probation.Probation{"a.kv": put.Probation}, nil, nil)
	if on, why := next.Probations.On(later.Add(58*time.Second), "a.kv"); on != time.Second || why != "silent again" {
		t.Errorf("%s left, %q", on, why)
	}
	if on, _ := next.Probations.On(later.Add(59*time.Second), "a.kv"); on != 0 {
		t.Errorf("%s left", on)
	}
}

// A row that waits is stored as things stand when it is taken: a fence may have stored a newer one.
func TestNewerRowsWin(t *testing.T) {
	var k probation.Keeper
	k.Fenced(start, "a.kv", "silent", terms)
	over := start.Add(terms.Window)
	k.Tick(over, living) // its removal waits
	k.Fenced(over, "a.kv", "silent", terms)
	rows := k.Take(over, 10)
	if put, ok := rows[0].(probation.PutProbation); !ok || put.Probation.Fences != 1 {
		t.Errorf("rows %v, expected the new one", rows)
	}
	k.Return(rows)
	if again := k.Take(over, 10); len(again) != 1 {
		t.Errorf("%d rows after they were returned", len(again))
	}
}

// court is a Keeper with shards named by numbers.
type court struct {
	*testing.T
	k   probation.Keeper
	now shard.Instant
}

func suspects(numbers []int) []probation.Suspect {
	var list []probation.Suspect
	for _, n := range numbers {
		list = append(list, probation.Suspect{App: "kv", Index: shard.Index(n)})
	}
	return list
}

// charges are suspects as primaries.
func charges(numbers []int) []probation.Charge {
	var list []probation.Charge
	for _, who := range suspects(numbers) {
		list = append(list, probation.Charge{Suspect: who, Role: shard.Primary})
	}
	return list
}

func living(shard.App) bool { return true }

// dies returns who is held back after a death, and convicted if nobody dies for a while.
func (c *court) dies(inCallback, held []int) []string {
	var out []string
	id := func(s probation.Suspect) shard.ID { return shard.ID(fmt.Sprint(s.Index)) }
	heldBack, _ := c.k.Died(c.now, "x.kv", charges(inCallback), charges(held), id, limits)
	for _, q := range heldBack {
		out = append(out, string(q.Shard))
	}
	return out
}

// trialEnds lets the time of a trial pass, and returns who is convicted.
func (c *court) trialEnds(alive func(shard.App) bool) []string {
	c.pass(2 * time.Second)
	var out []string
	convicted, _ := c.k.Tick(c.now, alive)
	for _, q := range convicted {
		out = append(out, string(q.Shard))
	}
	return out
}

func (c *court) expect(what string, got []string, want ...string) {
	c.Helper()
	if !slices.Equal(got, want) {
		c.Errorf("%s: convicted %v, expected %v", what, got, want)
	}
}

func (c *court) served(numbers ...int) {
	for _, who := range charges(numbers) {
		c.k.Served(c.now, who)
	}
}

func (c *court) pass(d time.Duration) { c.now = c.now.Add(d) }

func TestBlame(t *testing.T) {
	for name, play := range map[string]func(c *court){
		"in its callback": func(c *court) {
			for range 2 {
				c.expect("early", c.dies([]int{7}, []int{1, 2, 3}))
			}
			c.expect("third", c.dies([]int{7}, []int{1, 2, 3}), "7")
			c.expect("convicted", c.trialEnds(living), "7")
			c.expect("once is enough", c.dies([]int{7}, []int{1}))
		},
		"servers die on without it": func(c *court) {
			for range 2 {
				c.dies([]int{7}, nil)
			}
			c.expect("third", c.dies([]int{7}, nil), "7")
			if c.k.Quarantined("kv", 7) == "" {
				c.Error("not held back")
			}
			c.pass(time.Second)
			c.expect("fourth", c.dies(nil, []int{1}))
			if why := c.k.Quarantined("kv", 7); why != "" {
				c.Errorf("still held back: %s", why)
			}
			c.expect("acquitted", c.trialEnds(living))
			c.expect("it begins anew", c.dies([]int{7}, nil))
		},
		"its own callback was on the way when it was held back": func(c *court) {
			for range 2 {
				c.dies([]int{7}, nil)
			}
			c.expect("third", c.dies([]int{7}, nil), "7")
			c.pass(time.Second)
			c.expect("fourth", c.dies([]int{7}, []int{1}))
			c.expect("convicted", c.trialEnds(living), "7")
		},
		"nobody is left": func(c *court) {
			for range 2 {
				c.dies([]int{7}, nil)
			}
			c.expect("third", c.dies([]int{7}, nil), "7")
			c.expect("acquitted", c.trialEnds(func(shard.App) bool { return false }))
		},
		"merely held": func(c *court) {
			for i := range 20 { // servers are killed one after the other, and a shard moves along
				c.served(7, 100+i)
				c.pass(3 * time.Second)
				c.expect("killed", c.dies(nil, []int{7, 100 + i, 200 + i}))
				c.pass(3 * time.Second)
			}
		},
		"moving along": func(c *court) {
			for range 20 { // struck now and then, and served well in between
				c.dies([]int{7}, nil)
				c.served(7)
				c.pass(10 * time.Second)
				c.expect("served meanwhile", c.dies([]int{7}, nil))
				c.served(7)
				c.pass(10 * time.Second)
			}
		},
		"the seconds after a callback belong to it": func(c *court) {
			for i := range 3 {
				c.served(7)
				c.pass(2 * time.Second)
				got := c.dies(nil, []int{1, 2, 7})
				if i < 2 {
					c.expect("early", got)
				} else {
					c.expect("third", got, "7")
				}
			}
		},
		"too many companions": func(c *court) {
			all := []int{1, 2, 3, 7}
			c.dies(all, nil)
			c.dies(all, nil)
			c.expect("third", c.dies(all, nil))
			c.expect("fourth tells them apart", c.dies([]int{5, 7}, nil), "7")
		},
		"companions for ever": func(c *court) {
			all := []int{1, 2, 3, 7}
			for range 5 {
				c.expect("too many", c.dies(all, nil))
			}
			c.expect("sixth", c.dies(all, nil), "1", "2", "3", "7")
		},
		"a few companions": func(c *court) {
			c.dies([]int{7, 3}, nil)
			c.dies([]int{7, 3}, nil)
			c.expect("third", c.dies([]int{7, 3}, nil), "3", "7")
		},
		"served well meanwhile": func(c *court) {
			c.dies([]int{7}, nil)
			c.dies([]int{7}, nil)
			c.served(7)
			c.pass(10 * time.Second)
			c.expect("third", c.dies([]int{7}, nil))
		},
		"served almost long enough": func(c *court) {
			for i := range 3 {
				c.served(7)
				c.pass(2 * time.Second)
				if i == 2 {
					c.expect("third", c.dies(nil, []int{7}), "7")
					break
				}
				c.dies(nil, []int{7})
				c.pass(8*time.Second - 1)
			}
		},
		"its callback went well meanwhile": func(c *court) {
			c.dies([]int{7}, nil)
			c.dies([]int{7}, nil)
			c.served(7)
			c.expect("third", c.dies([]int{7}, nil))
		},
		"in another role": func(c *court) {
			c.dies([]int{7}, nil)
			c.dies([]int{7}, nil)
			c.k.Served(c.now, probation.Charge{Suspect: suspects([]int{7})[0], Role: shard.Secondary})
			c.expect("third", c.dies([]int{7}, nil), "7")
		},
		"out of the window": func(c *court) {
			c.dies([]int{7}, nil)
			c.pass(5 * time.Minute)
			c.dies([]int{7}, nil)
			c.pass(1)
			c.expect("third", c.dies([]int{7}, nil))
			c.expect("fourth", c.dies([]int{7}, nil), "7")
		},
		"servers that held nothing": func(c *court) {
			for range 5 {
				c.expect("nobody", c.dies(nil, nil))
			}
		},
	} {
		t.Run(name, func(t *testing.T) { play(&court{T: t, now: start}) })
	}
}

func TestQuarantineIsStoredAndReleased(t *testing.T) {
	c := &court{T: t, now: start}
	for range 3 {
		c.dies([]int{7}, nil)
	}
	c.expect("convicted", c.trialEnds(living), "7")
	rows := c.k.Take(c.now, 10)
	if len(rows) != 1 {
		t.Fatalf("rows %v", rows)
	}
	put, _ := rows[0].(probation.PutQuarantine)
	if why := c.k.Quarantined("kv", 7); why == "" || put.Quarantine != (probation.Quarantine{App: "kv", Shard: "7", Why: why}) {
		t.Errorf("stored %+v, says %q", put, why)
	}
	index := func(app shard.App, id shard.ID) (probation.Suspect, bool) {
		return probation.Suspect{App: app, Index: 7}, app == "kv" && id == "7"
	}
	var next probation.Keeper
	next.Load(c.now, nil, []probation.Quarantine{put.Quarantine, {App: "gone", Shard: "1", Why: "x"}}, index)
	if diff := cmp.Diff([]probation.Quarantine{put.Quarantine}, next.List()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	next.Release(probation.Suspect{App: "kv", Index: 7})
	if next.Quarantined("kv", 7) != "" || len(next.List()) != 0 {
		t.Error("still in quarantine")
	}
	c.k.Forget("kv")
	if len(c.k.List()) != 0 || c.k.Waiting() {
		t.Error("of an app that is gone")
	}
}
