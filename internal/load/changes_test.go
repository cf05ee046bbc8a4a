package load_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

type loads = map[shard.ID]map[string]int64

func TestChanges(t *testing.T) {
	t.Parallel()
	c := load.NewChanges()
	for i, step := range []struct {
		measured loads
		news     loads
	}{
		{loads{"a": {"cpu": 1}, "b": {"cpu": 2}}, loads{"a": {"cpu": 1}, "b": {"cpu": 2}}},
		{loads{"a": {"cpu": 1}, "b": {"cpu": 3}}, loads{"b": {"cpu": 3}}},
		{loads{"a": {"cpu": 1}}, loads{}},
		{loads{"a": {"cpu": 1}, "b": {"cpu": 3}}, loads{"b": {"cpu": 3}}}, // it was forgotten
	} {
		c.Measured(step.measured)
		if diff := cmp.Diff(step.news, taken(&c)); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	c.Measured(loads{"a": {"cpu": 9}})
	c.Measured(loads{})
	if got := taken(&c); len(got) > 0 {
		t.Errorf("news of a shard that is gone: %v", got)
	}
	c.Measured(loads{"a": {"cpu": 1}})
	taken(&c)
	c.All()
	if diff := cmp.Diff(loads{"a": {"cpu": 1}}, taken(&c)); diff != "" {
		t.Errorf("all again: %s", diff)
	}
}

func taken(c *load.Changes) loads {
	got := loads{}
	c.Take(func(id shard.ID, l map[string]int64) { got[id] = l })
	return got
}

func TestBook(t *testing.T) {
	t.Parallel()
	b := load.NewBook("shards")
	given := map[string]int64{"cpu": 5}
	b.Assume(given)
	b.Measured(3, map[string]int64{"cpu": 7})
	for at, want := range map[shard.Index]map[string]int64{1: {"cpu": 5, "shards": 1}, 3: {"cpu": 7, "shards": 1}} {
		if diff := cmp.Diff(want, b.Of(at)); diff != "" {
			t.Errorf("shard %d: %s", at, diff)
		}
	}
	b.Forget(3)
	if diff := cmp.Diff(b.Of(1), b.Of(3)); diff != "" || len(given) != 1 {
		t.Errorf("forgotten: %s; what was given is now %v", diff, given)
	}
}
