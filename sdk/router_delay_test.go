package sdk

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// A Router tells how long changes were on their way, from the leader's clock to its own; a whole map is none.
func TestMapDelays(t *testing.T) {
	source := startMapSource(t)
	first := source.publish("127.0.0.1:1")
	delays := make(chan time.Duration, 10)
	readyRouter(t, source, WithMapDelays(func(d time.Duration) { delays <- d }))
	version := first.Version
	publish := func(published int64) {
		next := version
		next.Counter++
		if err := source.hub.Apply(shard.Delta{App: "kv", Base: version, Version: next, PublishedMS: published, Shards: []shard.Entry{{Term: 9}}}); err != nil {
			t.Fatal(err)
		}
		version = next
	}
	publish(0)                                          // by a leader of an older version
	publish(time.Now().Add(-time.Hour).UnixMilli())     // an hour on its way
	publish(time.Now().Add(24 * time.Hour).UnixMilli()) // by a clock that is ahead
	for i, least := range []time.Duration{time.Hour, 0} {
		select {
		case d := <-delays:
			if d < least || d > least+patience {
				t.Errorf("delay %d is %s, not %s and a little", i, d, least)
			}
		case <-time.After(patience):
			t.Fatalf("no delay %d", i)
		}
	}
	if len(delays) > 0 {
		t.Errorf("a delay too many: %s", <-delays)
	}
}
