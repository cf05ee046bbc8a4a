package row

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Registration is a server's key.
type Registration struct {
	Server  shard.Server
	Session string // who holds it; empty: nobody
	Create  uint64 // index of its creation: a later registration of the same server has a higher one
	// Ended lists earlier incarnations that the agent in the key ended itself, everything dropped.
	Ended []shard.Incarnation
}

// Fence is a durable fence.
type Fence struct {
	Owner  Owner
	Reason string
}

// Rest says that a lease of this length may be out (PROTOCOL R19).
type Rest struct {
	Owner  Owner
	Length time.Duration
}
