package virtual

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// holder is one incarnation of a server; zero: nobody.
type holder struct {
	server      string
	incarnation uint64
}

func (h holder) String() string {
	if h == (holder{}) {
		return "nobody"
	}
	return fmt.Sprintf("%s/%d", h.server, h.incarnation)
}

// life is what the store and the leader know of an incarnation.
type life struct {
	seen   time.Time // it asked for its lease last
	fenced time.Time // it gets no lease any more since then; zero: it does
	over   bool      // nothing runs in it any more, and nothing will
}

func (l *life) lost() bool { return l.over || !l.fenced.IsZero() }

// row is what is durable about one shard. It is written before what it says is told to anybody, by the shard's own goroutine of the leader; wish
// excepted.
type row struct {
	id    string
	index shard.Index
	order shard.Order // the highest ever used: every decision takes a higher one

	primary holder      // may execute the shard
	granted shard.Order // when it became that
	served  bool        // it has said that it serves
	target  holder      // of the move under way: may execute from its hand-over on
	move    moving
	leaving []leaver // have to drop it
	members []member
	told    bool // the primary knows the members

	wish  string // server that somebody asked to move the shard to; empty: none
	avoid string // server that could not serve it last
	tries int    // of the present step
}

// moving is a move under way.
type moving struct {
	order    shard.Order
	began    time.Time
	prepared bool
	aborting bool
}

type leaver struct {
	holder
	order shard.Order
}

// member is a secondary.
type member struct {
	holder
	added  bool // it has said that it follows
	inSync bool // the primary has said that it has everything
}

func (r *row) String() string {
	return fmt.Sprintf("shard %s, order %s: primary %s since %s, served %t, target %s, secondaries %v, leaving %v", r.id, r.order, r.primary, r.granted, r.served, r.target, r.members, r.leaving)
}

// nextTerm takes a new term for a grant.
func (r *row) nextTerm() shard.Order {
	r.order.Term++
	r.order.Move++
	return r.order
}

// nextMove takes a new number for a decision at the present term.
func (r *row) nextMove() shard.Order {
	r.order.Move++
	return r.order
}

// grant makes a holder the primary, from a new term on.
func (r *row) grant(to holder) {
	r.primary, r.granted, r.served, r.told, r.tries = to, r.nextTerm(), false, true, 0
	r.target, r.move = holder{}, moving{}
	r.members = slices.DeleteFunc(r.members, func(m member) bool { return m.holder == to })
	if r.wish == to.server {
		r.wish = ""
	}
}

// leave has a holder drop the shard.
func (r *row) leave(h holder) {
	r.leaving = append(r.leaving, leaver{h, r.nextMove()})
}

func (r *row) member(h holder) *member {
	for i := range r.members {
		if r.members[i].holder == h {
			return &r.members[i]
		}
	}
	return nil
}

// register makes a new incarnation of a server; those before have ended, and dropped everything first (PROTOCOL R2).
func (c *Cluster) register(server string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h, l := range c.lives {
		if h.server == server {
			l.over = true
		}
	}
	c.used++
	c.lives[holder{server, c.used}] = &life{seen: time.Now()}
	c.wake()
	return c.used
}

// vouched is the leader's answer to an agent that asks for a lease.
type vouched struct {
	epoch     uint64
	ended     bool
	remaining time.Duration
}

// vouch answers an agent whose application has been silent for so long; heard is false while there is no leader.
func (c *Cluster) vouch(me holder, silent time.Duration) (answer vouched, heard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == nil {
		return vouched{}, false
	}
	l := c.lives[me]
	if l == nil || l.lost() {
		return vouched{epoch: c.epoch, ended: true}, true
	}
	if silent < c.cfg.Interval*3/2 {
		silent = 0
	}
	l.seen = time.Now().Add(-silent) // a server whose application stands still is lost like one that is gone
	if c.faults.withheld[me.server] {
		return vouched{epoch: c.epoch}, true
	}
	return vouched{epoch: c.epoch, remaining: c.cfg.Validity}, true
}

// reportDeath takes an agent's word that a process has ended.
func (c *Cluster) reportDeath(h holder) {
	c.change(func() {
		if l := c.lives[h]; l != nil {
			l.over = true
		}
	})
}

// over reports whether nothing of an incarnation runs any more. The caller holds mu.
func (c *Cluster) over(h holder) bool {
	l := c.lives[h]
	return h != holder{} && (l == nil || l.over)
}

// lost reports whether an incarnation gets no lease any more. The caller holds mu.
func (c *Cluster) lost(h holder) bool {
	l := c.lives[h]
	return h != holder{} && (l == nil || l.lost())
}

// alive is the present incarnation of a server, if it can be given something. The caller holds mu.
func (c *Cluster) alive(server string) (holder, bool) {
	for h, l := range c.lives {
		if h.server == server && !l.lost() && time.Since(l.seen) <= 2*c.cfg.Interval && !c.faults.withheld[server] {
			return h, true
		}
	}
	return holder{}, false
}

// choose is the server with the fewest replicas among those that can take the shard, for which ok holds. The caller holds mu.
func (c *Cluster) choose(r *row, ok func(holder) bool) (best holder, found bool) {
	loads := map[string]int{}
	for _, other := range c.rows {
		loads[other.primary.server] += 2
		loads[other.target.server] += 2
		for _, m := range other.members {
			loads[m.server]++
		}
	}
	for _, s := range c.servers {
		h, alive := c.alive(s.Name)
		if !alive || c.drained[s.Name] || s.Name == r.primary.server || s.Name == r.target.server || r.avoid == s.Name || !ok(h) {
			continue
		}
		if !found || loads[s.Name] < loads[best.server] {
			best, found = h, true
		}
	}
	return best, found
}

// lacks reports whether the shard should have other secondaries, and could. The caller holds mu.
func (c *Cluster) lacks(r *row) bool {
	if c.cfg.Secondaries == 0 {
		return false
	}
	for _, m := range r.members {
		if c.lost(m.holder) || !m.added || !m.inSync || !r.told {
			return true
		}
	}
	_, could := c.choose(r, func(h holder) bool { return r.member(h) == nil })
	return len(r.members) < c.cfg.Secondaries && could
}
