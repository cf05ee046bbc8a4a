package api

import (
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Usages is where the newest usage of each server's host is, and the version of its agent.
type Usages interface {
	// Usage is what was measured last for an incarnation of a server, and how long ago it came; false if nothing has, on its present stream.
	Usage(server shard.ServerID, incarnation shard.Incarnation) (load.Usage, time.Duration, bool)
	// AgentVersion is the version of the agent of an incarnation; empty: it has no stream.
	AgentVersion(server shard.ServerID, incarnation shard.Incarnation) string
}

// usages keeps what streams tell of usage and versions, for as long as they last: at most one entry for each stream. It decides nothing, so it is no
// business of the ledger's, and a new leader begins with none.
type usages struct {
	mu    sync.Mutex
	known map[life]told
}

type life struct {
	server      shard.ServerID
	incarnation shard.Incarnation
}

type told struct {
	stream  ledger.StreamID
	version string
	at      time.Time // of usage; zero: there was none yet
	usage   load.Usage
}

func newUsages() *usages { return &usages{known: map[life]told{}} }

// begin notes a stream, with its agent's version.
func (u *usages) begin(l life, stream ledger.StreamID, version string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[l] = told{stream: stream, version: version}
}

func (u *usages) note(l life, stream ledger.StreamID, usage load.Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known[l].stream == stream { // else a newer stream has begun
		u.known[l] = told{stream: stream, version: u.known[l].version, at: time.Now(), usage: usage}
	}
}

// forget ends what a stream told, unless a newer one of the same life told something since.
func (u *usages) forget(l life, stream ledger.StreamID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known[l].stream == stream {
		delete(u.known, l)
	}
}

func (u *usages) of(l life) (load.Usage, time.Duration, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	t, ok := u.known[l]
	if !ok || t.at.IsZero() {
		return load.Usage{}, 0, false
	}
	return t.usage, time.Since(t.at), true
}

func (u *usages) version(l life) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.known[l].version
}
