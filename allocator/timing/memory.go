package timing

import (
	"maps"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// NoReturn is for how long a shard that was moved to even out loads does not go back for that.
const NoReturn = 2 * time.Minute

// Memory remembers servers for shards, each until an instant. The zero Memory remembers none.
type Memory map[shard.Index]map[shard.ServerID]shard.Instant

// Keep remembers a server for a shard.
func (m *Memory) Keep(at shard.Index, id shard.ServerID, until shard.Instant) {
	if *m == nil {
		*m = Memory{}
	}
	if (*m)[at] == nil {
		(*m)[at] = map[shard.ServerID]shard.Instant{}
	}
	(*m)[at][id] = until
}

// Of lists the servers that are remembered for a shard, in order, and forgets those whose time is over.
func (m *Memory) Of(at shard.Index, now shard.Instant) []shard.ServerID {
	servers := (*m)[at]
	if servers == nil {
		return nil
	}
	maps.DeleteFunc(servers, func(_ shard.ServerID, until shard.Instant) bool { return until.Passed(now) })
	if len(servers) == 0 {
		m.Forget(at)
		return nil
	}
	return shard.SortedKeys(servers)
}

// Forget forgets a shard.
func (m *Memory) Forget(at shard.Index) { delete(*m, at) }
