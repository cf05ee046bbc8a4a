package timing

import (
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestMemory(t *testing.T) {
	var m Memory
	start := shard.Instant{Boot: 1e9, Raw: 1e9}
	m.Keep(3, "b", start.Add(2*time.Second))
	m.Keep(3, "a", start.Add(time.Second))
	m.Keep(4, "c", start.Add(time.Minute))
	for _, c := range []struct {
		after time.Duration
		at    shard.Index
		want  []shard.ServerID
	}{
		{0, 3, []shard.ServerID{"a", "b"}},
		{0, 5, nil},
		{1500 * time.Millisecond, 3, []shard.ServerID{"b"}},
		{3 * time.Second, 3, nil},
		{3 * time.Second, 4, []shard.ServerID{"c"}},
	} {
		if got := m.Of(c.at, start.Add(c.after)); !slices.Equal(got, c.want) {
			t.Errorf("shard %d after %v: %v, expected %v", c.at, c.after, got, c.want)
		}
	}
	if len(m) != 1 {
		t.Errorf("what is over is kept: %v", m)
	}
	m.Forget(4)
	if len(m) > 0 {
		t.Errorf("forgotten, and kept: %v", m)
	}
}
