package kvserve

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
)

// HeaderCache says in an answer whether the server's memory had what the store has: CacheHit or CacheMiss. The store is asked all the same, because it alone
// knows terms; whoever answers from memory shows the same rate.
const (
	HeaderCache = "Kv-Cache"
	CacheHit    = "hit"
	CacheMiss   = "miss"
)

// toldEvery is how often the log says how the cache does.
const toldEvery = 10 * time.Second

// cacheMeter counts what the caches of all shards were good for. The zero value is ready.
type cacheMeter struct {
	hits, misses atomic.Int64
	told         atomic.Int64 // when the log said so last, Unix time in nanoseconds
}

// count counts an operation, and says in its answer what became of it.
func (m *cacheMeter) count(ctx context.Context, hit bool) {
	what, counter := CacheHit, &m.hits
	if !hit {
		what, counter = CacheMiss, &m.misses
	}
	counter.Add(1)
	if call, ok := connect.CallInfoForHandlerContext(ctx); ok {
		call.ResponseHeader().Set(HeaderCache, what)
	}
}

// tell logs the counts since the start, from time to time.
func (m *cacheMeter) tell(log *slog.Logger) {
	last, now := m.told.Load(), time.Now().UnixNano()
	if now-last < int64(toldEvery) || !m.told.CompareAndSwap(last, now) {
		return
	}
	if hits, misses := m.hits.Load(), m.misses.Load(); hits+misses > 0 {
		log.Info("cache", "hits", hits, "misses", misses, "hit_percent", 100*hits/(hits+misses))
	}
}
