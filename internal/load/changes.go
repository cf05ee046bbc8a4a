package load

import (
	"maps"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Changes is what was measured of each shard, and of which of them somebody has not heard yet. The zero value is not usable; call NewChanges.
type Changes struct {
	known   map[shard.ID]map[string]int64
	changed map[shard.ID]bool
}

// NewChanges knows of no shard.
func NewChanges() Changes {
	return Changes{known: map[shard.ID]map[string]int64{}, changed: map[shard.ID]bool{}}
}

// All makes news of everything: whoever is told from now on knows nothing.
func (c *Changes) All() {
	for id := range c.known {
		c.changed[id] = true
	}
}

// Empty reports whether nothing was measured.
func (c *Changes) Empty() bool { return len(c.known) == 0 }

// Take hands the news out, shard by shard in order; it is none after that.
func (c *Changes) Take(each func(shard.ID, map[string]int64)) {
	for _, id := range shard.SortedKeys(c.changed) {
		each(id, c.known[id])
	}
	clear(c.changed)
}

// Measured takes new measurements in; shards that they leave out are forgotten.
func (c *Changes) Measured(loads map[shard.ID]map[string]int64) {
	for id, l := range loads {
		if old, ok := c.known[id]; !ok || !maps.Equal(old, l) {
			c.known[id], c.changed[id] = l, true
		}
	}
	for id := range c.known {
		if _, ok := loads[id]; !ok {
			delete(c.known, id)
			delete(c.changed, id)
		}
	}
}
