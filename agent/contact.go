package agent

import (
	"context"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// lateAgent is a pause of this process after which a leader's silence may have been our own.
const lateAgent = time.Second

// contact remembers when a leader last answered, for standbys that suspect it (PROTOCOL R16). Silence counts only while this agent asks: from
// the last answer, from when it began to ask, and from when it last ran at all, whichever was latest.
type contact struct {
	mu     sync.Mutex
	epoch  shard.Epoch // highest that answered
	heard  shard.Instant
	ran    shard.Instant // last tick of the loop
	late   shard.Instant // the last tick that came late
	asking map[*attacher]shard.Instant
}

func newContact(now shard.Instant) *contact {
	return &contact{ran: now, late: now, asking: map[*attacher]shard.Instant{}}
}

// asks notes that an attacher renews, or looks for a leader, from now on.
func (c *contact) asks(t *attacher, now shard.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.asking[t]; !ok {
		c.asking[t] = now
	}
}

// rests notes that an attacher asks nobody.
func (c *contact) rests(t *attacher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, t)
}

// answered notes a message of the leader of an epoch; an earlier leader's word says nothing about the present one.
func (c *contact) answered(epoch shard.Epoch, now shard.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch.Compare(c.epoch) >= 0 {
		c.epoch, c.heard = epoch, now
	}
}

// tick notes that the process runs.
func (c *contact) tick(now shard.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ran.PermissionAge(now) > lateAgent {
		c.late = now
	}
	c.ran = now
}

// seen is the answer for standbys.
func (c *contact) seen(now shard.Instant) api.LeaderSeen {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := api.LeaderSeen{Epoch: c.epoch}
	if c.ran.PermissionAge(now) > lateAgent {
		return seen // stopped until a moment ago: there may be answers that nobody has read yet
	}
	for _, since := range c.asking {
		seen.Asking = true
		seen.Silent = max(seen.Silent, shard.LaterOf(since, shard.LaterOf(c.heard, c.late)).WaitAge(now))
	}
	return seen
}

// LeaderSeen implements api.Witness.
func (a *Agent) LeaderSeen(context.Context) api.LeaderSeen { return a.contact.seen(a.now()) }
