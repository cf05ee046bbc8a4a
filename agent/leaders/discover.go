package leaders

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Pauses before a watch is begun again that the store gave up, as it does while a token may not read.
const (
	watchAgain       = 2 * time.Second
	watchAgainAtMost = 15 * time.Second
)

// Election is what the store says of the leader.
type Election struct {
	Address  string        // of its AllocatorService; empty: nobody leads, or it is not known
	epoch    shard.Epoch   // of its leadership
	Outdated chan struct{} // closed once there is a newer one
}

// Outranks reports whether somebody took the lock after the leader of an epoch did.
func (e *Election) Outranks(epoch *pb.Epoch) bool {
	return e.Address != "" && e.epoch.Compare(wire.EpochFromProto(epoch)) > 0
}

// Discover follows the record of the leader in the store until ctx ends: agents hear of an election as soon as the store does, whatever became
// of the leader before. trouble is told of a record that cannot be read, and of a store that gave the watch up, which is begun again.
func (l *Leaders) Discover(ctx context.Context, store coord.Watcher, cluster string, trouble func(error)) {
	key := "shardmanager/" + cluster + "/g/default/leader"
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(watchAgain), backoff.WithMaxInterval(watchAgainAtMost), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		err := store.Watch(ctx, key, func(entries []coord.Entry) {
			pauses.Reset()
			for _, e := range entries {
				if e.Key != key || e.Session == "" {
					continue
				}
				record := new(pb.LeaderRecord)
				if err := wire.Decode(e.Value, record); err != nil {
					trouble(fmt.Errorf("key %s: %w", e.Key, err))
					continue
				}
				l.Elect(record.GetAddress(), shard.Epoch{Generation: record.GetGeneration(), Index: uint64(e.Modify)})
			}
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			trouble(err)
		}
		clock.Pause(ctx, pauses.NextBackOff())
	}
}
