package plane

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Holder is one incarnation of a server; zero: nobody.
type Holder struct {
	Server      string
	Incarnation uint64
}

func (h Holder) String() string {
	if h == (Holder{}) {
		return "nobody"
	}
	return fmt.Sprintf("%s/%d", h.Server, h.Incarnation)
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

	primary Holder      // may execute the shard
	granted shard.Order // when it became that
	served  bool        // it has said that it serves
	target  Holder      // of the move under way: may execute from its hand-over on
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
	Holder
	order shard.Order
}

// member is a secondary.
type member struct {
	Holder
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
func (r *row) grant(to Holder) {
	r.primary, r.granted, r.served, r.told, r.tries = to, r.nextTerm(), false, true, 0
	r.target, r.move = Holder{}, moving{}
	r.members = slices.DeleteFunc(r.members, func(m member) bool { return m.Holder == to })
	if r.wish == to.Server {
		r.wish = ""
	}
}

// leave has a holder drop the shard.
func (r *row) leave(h Holder) {
	r.leaving = append(r.leaving, leaver{h, r.nextMove()})
}

func (r *row) member(h Holder) *member {
	for i := range r.members {
		if r.members[i].Holder == h {
			return &r.members[i]
		}
	}
	return nil
}

// Register makes a new incarnation of a server; those before have ended, and dropped everything first (PROTOCOL R2).
func (p *Plane) Register(server string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for h, l := range p.lives {
		if h.Server == server {
			l.over = true
		}
	}
	p.used++
	p.lives[Holder{server, p.used}] = &life{seen: time.Now()}
	p.wake()
	return p.used
}

// Vouched is the leader's answer to an agent that asks for a lease.
type Vouched struct {
	Epoch     uint64
	Ended     bool
	Remaining time.Duration
}

// Vouch answers an agent whose application has been silent for so long; heard is false while there is no leader.
func (p *Plane) Vouch(me Holder, silent time.Duration) (answer Vouched, heard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return Vouched{}, false
	}
	l := p.lives[me]
	if l == nil || l.lost() {
		return Vouched{Epoch: p.epoch, Ended: true}, true
	}
	if silent < p.cfg.Interval*3/2 {
		silent = 0
	}
	l.seen = time.Now().Add(-silent) // a server whose application stands still is lost like one that is gone
	if p.withheld[me.Server] {
		return Vouched{Epoch: p.epoch}, true
	}
	return Vouched{Epoch: p.epoch, Remaining: p.cfg.Validity}, true
}

// ReportDeath takes an agent's word that a process has ended.
func (p *Plane) ReportDeath(h Holder) {
	p.change(func() {
		if l := p.lives[h]; l != nil {
			l.over = true
		}
	})
}

// over reports whether nothing of an incarnation runs any more. The caller holds mu.
func (p *Plane) over(h Holder) bool {
	l := p.lives[h]
	return h != Holder{} && (l == nil || l.over)
}

// lost reports whether an incarnation gets no lease any more. The caller holds mu.
func (p *Plane) lost(h Holder) bool {
	l := p.lives[h]
	return h != Holder{} && (l == nil || l.lost())
}

// alive is the present incarnation of a server, if it can be given something. The caller holds mu.
func (p *Plane) alive(server string) (Holder, bool) {
	for h, l := range p.lives {
		if h.Server == server && !l.lost() && time.Since(l.seen) <= 2*p.cfg.Interval && !p.withheld[server] {
			return h, true
		}
	}
	return Holder{}, false
}

// choose is the server with the fewest replicas among those that can take the shard, for which ok holds. The caller holds mu.
func (p *Plane) choose(r *row, ok func(Holder) bool) (best Holder, found bool) {
	loads := map[string]int{}
	for _, other := range p.rows {
		loads[other.primary.Server] += 2
		loads[other.target.Server] += 2
		for _, m := range other.members {
			loads[m.Server]++
		}
	}
	for _, s := range p.deps.Servers {
		h, alive := p.alive(s.Name)
		if !alive || p.drained[s.Name] || s.Name == r.primary.Server || s.Name == r.target.Server || r.avoid == s.Name || !ok(h) {
			continue
		}
		if !found || loads[s.Name] < loads[best.Server] {
			best, found = h, true
		}
	}
	return best, found
}

// lacks reports whether the shard should have other secondaries, and could. The caller holds mu.
func (p *Plane) lacks(r *row) bool {
	if p.cfg.Secondaries == 0 {
		return false
	}
	for _, m := range r.members {
		if p.lost(m.Holder) || !m.added || !m.inSync || !r.told {
			return true
		}
	}
	_, could := p.choose(r, func(h Holder) bool { return r.member(h) == nil })
	return len(r.members) < p.cfg.Secondaries && could
}
