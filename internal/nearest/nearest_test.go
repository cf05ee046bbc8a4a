package nearest

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// places is a map of one shard with a replica in each place, `region/zone`; the first is the primary.
func places(t testing.TB, list ...string) *shard.Map {
	t.Helper()
	servers := make([]shard.Server, len(list))
	entry := shard.Entry{Term: 1}
	for i, place := range list {
		region, zone, _ := strings.Cut(place, "/")
		servers[i] = shard.Server{ID: shard.ServerID(fmt.Sprintf("s%d.kv", i)), DataAddress: fmt.Sprintf("s%d:1", i), Locality: shard.Locality{Region: region, Zone: zone}}
		if i == 0 {
			entry.Primary = servers[i].ID
		} else {
			entry.Secondaries = append(entry.Secondaries, servers[i].ID)
		}
	}
	m, err := shard.NewMap("kv", shard.Version{Counter: 1}, shard.HashSpace{Shards: 1}, servers, []shard.Entry{entry})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// chosen counts whom n choices fall on.
func chosen(c *Chooser, now time.Time, m *shard.Map, n int, tried ...string) map[string]int {
	counts := map[string]int{}
	for range n {
		if s := c.Choose(now, m, 0, tried); s != nil {
			counts[s.DataAddress]++
		} else {
			counts[""]++
		}
	}
	return counts
}

func TestNearestFirst(t *testing.T) {
	m := places(t, "us/1", "eu/1", "eu/2", "eu/1", "ap/1")
	now := time.Now()
	for _, step := range []struct {
		name         string
		region, zone string
		tried        []string
		want         map[string]int
	}{
		{"same zone, in turn", "eu", "1", nil, map[string]int{"s1:1": 30, "s3:1": 30}},
		{"same zone, one tried", "eu", "1", []string{"s1:1"}, map[string]int{"s3:1": 60}},
		{"same region", "eu", "1", []string{"s1:1", "s3:1"}, map[string]int{"s2:1": 60}},
		{"the rest, the primary among them", "eu", "1", []string{"s1:1", "s3:1", "s2:1"}, map[string]int{"s0:1": 30, "s4:1": 30}},
		{"all tried", "eu", "1", []string{"s0:1", "s1:1", "s2:1", "s3:1", "s4:1"}, map[string]int{"": 60}},
		{"a zone of the same name elsewhere is not near", "ap", "2", nil, map[string]int{"s4:1": 60}},
		{"locality unknown", "", "", nil, map[string]int{"s0:1": 12, "s1:1": 12, "s2:1": 12, "s3:1": 12, "s4:1": 12}},
	} {
		got := chosen(NewChooser(step.region, step.zone), now, m, 60, step.tried...)
		if fmt.Sprint(got) != fmt.Sprint(step.want) {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}

func TestFailedIsPassedOver(t *testing.T) {
	m := places(t, "us/1", "eu/1")
	c, now := NewChooser("eu", "1"), time.Now()
	at := func(d time.Duration, step string, want string) {
		t.Helper()
		if s := c.Choose(now.Add(d), m, 0, nil); s == nil || s.DataAddress != want {
			t.Errorf("%s: %v, want %s", step, s, want)
		}
	}
	at(0, "at first", "s1:1")
	c.Failed(now, "s1:1", 0)
	at(PassOver-1, "while the shard's failure counts", "s0:1")
	at(PassOver, "after a while", "s1:1")
	c.Failed(now, "s1:1", 7)
	at(0, "another shard's failure", "s0:1") // the first one's still counts
	c.Answered("s1:1", 0)
	at(0, "another shard's failure only", "s1:1")
	c.Failed(now, "s1:1", AnyShard)
	at(0, "the server's failure", "s0:1")
	c.Failed(now, "s0:1", AnyShard)
	at(0, "all failed: the nearest again", "s1:1")
	c.Answered("s1:1", 0)
	at(0, "it answered", "s1:1")
}

// The memory of failures is bounded: what is over makes room, and what does not fit is not noted.
func TestFailuresAreBounded(t *testing.T) {
	c, now := NewChooser("", ""), time.Now()
	for i := range maxFailures + 10 {
		c.Failed(now, "a:1", shard.Index(i))
	}
	if len(c.failures) != maxFailures || !c.failedLately(now, "a:1", 0) || c.failedLately(now, "a:1", maxFailures) {
		t.Errorf("%d failures remembered", len(c.failures))
	}
	c.Failed(now.Add(PassOver), "b:1", 0)
	if len(c.failures) != 1 || !c.failedLately(now.Add(PassOver), "b:1", 0) {
		t.Errorf("%d failures remembered after the others were over", len(c.failures))
	}
}

// Without a primary the secondaries are chosen from; without an address nobody is.
func TestOnlyWhoCanBeReached(t *testing.T) {
	servers := []shard.Server{{ID: "a.kv"}, {ID: "b.kv", DataAddress: "b:1"}}
	m, err := shard.NewMap("kv", shard.Version{Counter: 1}, shard.HashSpace{Shards: 2}, servers,
		[]shard.Entry{{Index: 0, Secondaries: []shard.ServerID{"a.kv", "b.kv"}}, {Index: 1, Primary: "a.kv", Term: 1}})
	if err != nil {
		t.Fatal(err)
	}
	c := NewChooser("", "")
	if s := c.Choose(time.Now(), m, 0, nil); s == nil || s.ID != "b.kv" {
		t.Errorf("%v, want b.kv", s)
	}
	if s := c.Choose(time.Now(), m, 1, nil); s != nil {
		t.Errorf("%v has no address", s)
	}
}

func TestChooseDoesNotAllocate(t *testing.T) {
	m, c, now := places(t, "us/1", "eu/1", "eu/2"), NewChooser("eu", "1"), time.Now()
	if n := testing.AllocsPerRun(1000, func() { c.Choose(now, m, 0, nil) }); n != 0 {
		t.Errorf("%.1f allocations, want none", n)
	}
}

// Among other regions the measured latency decides; those that are alike take turns, and the unmeasured come last.
func TestNearestRegion(t *testing.T) {
	m := places(t, "us/1", "ap/1", "sa/1", "af/1", "eu/2")
	pair := func(a, b string, ms int) latency.Pair {
		return latency.Pair{From: a, To: b, Estimate: latency.Estimate{Median: time.Duration(ms) * time.Millisecond}}
	}
	c := NewChooser("eu", "1")
	now := time.Now()
	if got := chosen(c, now, m, 60, "s4:1"); len(got) != 4 {
		t.Errorf("nothing was measured, and the choice is %v", got)
	}
	c.SetLatencies(latency.Of([]latency.Pair{pair("eu", "us", 90), pair("ap", "eu", 200), pair("eu", "sa", 195), pair("us", "sa", 1), pair("eu", "eu", 500)}))
	for _, step := range []struct {
		tried []string
		want  map[string]int
	}{
		{nil, map[string]int{"s4:1": 60}},
		{[]string{"s4:1"}, map[string]int{"s0:1": 60}},
		{[]string{"s4:1", "s0:1"}, map[string]int{"s1:1": 30, "s2:1": 30}},
		{[]string{"s4:1", "s0:1", "s1:1", "s2:1"}, map[string]int{"s3:1": 60}},
	} {
		if got := chosen(c, now, m, 60, step.tried...); !maps.Equal(got, step.want) {
			t.Errorf("tried %v: %v, want %v", step.tried, got, step.want)
		}
	}
	c.Failed(now, "s4:1", 0)
	c.Failed(now, "s0:1", AnyShard)
	if got := chosen(c, now, m, 60, "s1:1", "s2:1"); !maps.Equal(got, map[string]int{"s3:1": 60}) {
		t.Errorf("the far one that is well comes before the near ones that failed: %v", got)
	}
	c.SetLatencies(latency.Of([]latency.Pair{pair("eu", "us", 90), pair("af", "eu", 20)}))
	if got := chosen(c, now, m, 60, "s4:1"); !maps.Equal(got, map[string]int{"s3:1": 60}) {
		t.Errorf("a newer matrix: %v", got)
	}
}
