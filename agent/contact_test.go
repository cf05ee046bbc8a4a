package agent

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Silence counts only while somebody asks, only against the newest leader, and never over a pause of this process.
func TestContact(t *testing.T) {
	now := shard.Instant{Boot: 1e12, Raw: 1e12}
	epoch := func(i uint64) shard.Epoch { return shard.Epoch{Index: i} }
	c := newContact(now)
	one, two := &attacher{}, &attacher{}
	pass := func(d time.Duration) {
		for ; d > 0; d -= tick {
			now = now.Add(tick)
			c.tick(now)
		}
	}
	expect := func(what string, want api.LeaderSeen) {
		t.Helper()
		if got := c.seen(now); got != want {
			t.Errorf("%s: %+v, expected %+v", what, got, want)
		}
	}
	pass(10 * time.Second)
	expect("nobody asks", api.LeaderSeen{})
	c.asks(one, now)
	pass(2 * time.Second)
	expect("it asks in vain", api.LeaderSeen{Asking: true, Silent: 2 * time.Second})
	c.asks(one, now) // again, of another allocator
	c.asks(two, now)
	pass(time.Second)
	expect("the longest counts", api.LeaderSeen{Asking: true, Silent: 3 * time.Second})
	c.answered(epoch(7), now)
	pass(time.Second)
	expect("it was answered", api.LeaderSeen{Asking: true, Epoch: epoch(7), Silent: time.Second})
	c.answered(epoch(6), now)
	pass(time.Second)
	expect("an old leader's word", api.LeaderSeen{Asking: true, Epoch: epoch(7), Silent: 2 * time.Second})
	now = now.Add(3 * time.Second) // stopped, and asked before the loop ran again
	expect("stopped until now", api.LeaderSeen{Epoch: epoch(7)})
	c.tick(now)
	expect("a late loop", api.LeaderSeen{Asking: true, Epoch: epoch(7)})
	pass(time.Second)
	expect("after a late loop", api.LeaderSeen{Asking: true, Epoch: epoch(7), Silent: time.Second})
	c.rests(one)
	c.rests(two)
	pass(time.Second)
	expect("nobody asks any more", api.LeaderSeen{Epoch: epoch(7)})
}
