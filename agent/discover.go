package agent

import (
	"context"
	"fmt"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// election is what the store says of the leader.
type election struct {
	address  string        // of its AllocatorService; empty: nobody leads, or it is not known
	index    uint64        // of its acquire: that of its epoch
	outdated chan struct{} // closed once there is a newer one
}

// outranks reports whether somebody took the lock after the leader of an epoch did.
func (e *election) outranks(epoch *pb.Epoch) bool {
	return e.address != "" && e.index > epoch.GetIndex()
}

// discover follows the record of the leader in the store until ctx ends: agents hear of an election as soon as the store does, whatever became
// of the leader before.
func (a *Agent) discover(ctx context.Context) {
	key := "shardmanager/" + a.cfg.Cluster + "/g/default/leader"
	err := a.store.Watch(ctx, key, func(entries []coord.Entry) {
		for _, e := range entries {
			if e.Key == key && e.Session != "" {
				a.elected(e)
			}
		}
	})
	if err != nil && ctx.Err() == nil {
		a.post(noteMail{what: "leader not followed in the store: allocators are asked in turn", err: err})
	}
}

func (a *Agent) elected(e coord.Entry) {
	record := new(pb.LeaderRecord)
	if err := wire.Decode(e.Value, record); err != nil {
		a.post(noteMail{what: "record of the leader", err: fmt.Errorf("key %s: %w", e.Key, err)})
		return
	}
	a.leaders.elect(record.GetAddress(), uint64(e.Modify))
}
