package load

import (
	"maps"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Book is the load of each shard of an app: as measured, or else as assumed of all.
type Book struct {
	count    string // metric that counts shards: each has 1 of it
	assumed  map[string]int64
	measured map[shard.Index]map[string]int64
}

// NewBook is empty; count is the metric that counts shards.
func NewBook(count string) Book {
	return Book{count: count, measured: map[shard.Index]map[string]int64{}}
}

// Assume says what the load of a shard is while nothing is measured.
func (b *Book) Assume(l map[string]int64) { b.assumed = b.counted(l) }

// Measured takes a measurement.
func (b *Book) Measured(at shard.Index, l map[string]int64) { b.measured[at] = b.counted(l) }

// Forget drops what was measured of a shard.
func (b *Book) Forget(at shard.Index) { delete(b.measured, at) }

// Of is the load of a shard; it must not be changed.
func (b *Book) Of(at shard.Index) map[string]int64 {
	if l, ok := b.measured[at]; ok {
		return l
	}
	return b.assumed
}

func (b *Book) counted(l map[string]int64) map[string]int64 {
	all := make(map[string]int64, len(l)+1)
	maps.Copy(all, l)
	all[b.count] = 1
	return all
}
