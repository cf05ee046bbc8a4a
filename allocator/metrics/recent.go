package metrics

import (
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// window is how long a move is remembered, at least; twice as long at most.
const window = 10 * time.Minute

// chosen reports whether a move for this reason was a choice: nobody was down, and nothing was broken.
func chosen(r placement.Reason) bool {
	return r == placement.Drain || r == placement.Balance || r == placement.Preference || r == placement.Spread
}

type moved struct {
	app   shard.App
	shard shard.ID
}

// recent remembers which shards moved lately, in two spans of which the older one is dropped whole. The zero recent knows none.
type recent struct {
	mu        sync.Mutex
	since     time.Time // of the newer span
	now, past map[moved]struct{}
}

// again notes a move, and reports whether the shard had one lately.
func (r *recent) again(at time.Time, m moved) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch age := at.Sub(r.since); {
	case r.now == nil || age >= 2*window:
		r.now, r.past, r.since = map[moved]struct{}{}, nil, at
	case age >= window:
		r.now, r.past, r.since = map[moved]struct{}{}, r.now, at
	}
	_, before := r.past[m]
	_, lately := r.now[m]
	r.now[m] = struct{}{}
	return before || lately
}
