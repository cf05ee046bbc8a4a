package kvreplica

import (
	"errors"
	"fmt"
	"sync"
)

// role of a replica on this server.
type role uint8

const (
	absent role = iota // holds nothing, and remembers the promised term only
	primary
	secondary
)

// Refusals of callbacks and reads; nothing was done.
var (
	// ErrStaleTerm: a higher term was seen.
	ErrStaleTerm = errors.New("stale term")
	// ErrNotInSync: the replica lacks what the previous owner acknowledged.
	ErrNotInSync = errors.New("not in sync")
	// ErrNotFollowing: the secondary has not heard from a primary yet.
	ErrNotFollowing = errors.New("not following a primary yet")
	// ErrReplaced: a newer list of members took the place of this one.
	ErrReplaced = errors.New("a newer list of members came")
)

// replica is one shard on this server. Methods that lock it say so.
type replica struct {
	shard string

	mu       sync.Mutex
	role     role
	promised uint64        // nothing at a lower term is taken
	follower follower      // of a secondary
	leader   *leader       // of a primary
	changed  chan struct{} // closed when members did something; nil while nobody waits
}

// wake tells who waits. The caller holds mu.
func (r *replica) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// waiting is closed at the next change. The caller holds mu.
func (r *replica) waiting() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// promise raises the term; false if a higher one was promised. A primary of a lower term ends. The caller holds mu.
func (r *replica) promise(term uint64) bool {
	if term < r.promised {
		return false
	}
	r.promised = term
	if r.role == primary && r.leader.at.term < term {
		r.leader.end()
		r.wake()
	}
	return true
}

// activate makes the replica primary with what it has, or with the whole state that a previous owner without secondaries handed over.
// It returns the links that end. The caller holds mu.
func (r *replica) activate(term uint64, m mark) ([]*link, error) {
	if r.role == primary && r.leader.at.term == term && !r.leader.over {
		return nil, nil // done before
	}
	if !r.promise(term) {
		return nil, fmt.Errorf("activate: shard %s: term %d after %d: %w", r.shard, term, r.promised, ErrStaleTerm)
	}
	if has := r.follower.at; m.at != (position{}) && m.data == nil && (r.role != secondary || has.term != m.at.term || has.sequence < m.at.sequence) {
		return nil, fmt.Errorf("activate: shard %s: the previous owner acknowledged write %d of term %d, write %d of term %d is here: %w",
			r.shard, m.at.sequence, m.at.term, has.sequence, has.term, ErrNotInSync)
	}
	var ended []*link
	data, sequence := table{}, uint64(0)
	switch r.role {
	case primary:
		ended = r.links()
		data, sequence = r.leader.whole()
	case secondary:
		data, sequence = r.follower.data, r.follower.at.sequence
	case absent:
	}
	if m.data != nil {
		data, sequence = m.data, m.at.sequence
	}
	r.role, r.follower, r.leader = primary, follower{}, newLeader(term, sequence, data)
	r.wake()
	return ended, nil
}

// follow makes the replica a secondary, and returns the links that end. A primary that steps back keeps its data until a snapshot replaces
// it. No term is promised: that of the command may be one that was reserved for a primary that never came. The caller holds mu.
func (r *replica) follow() (ended []*link) {
	switch r.role {
	case secondary:
		return nil // done before, or a newer command to go on
	case primary:
		r.leader.end()
		ended = r.links()
		data, _ := r.leader.whole()
		r.follower = follower{data: data}
	case absent:
		r.follower = follower{data: table{}}
	}
	r.role, r.leader = secondary, nil
	r.wake()
	return ended
}

// drop forgets everything but the promised term, and returns the links that end. The caller holds mu.
func (r *replica) drop() (ended []*link) {
	if r.role == primary {
		r.leader.end()
		ended = r.links()
	}
	r.role, r.leader, r.follower = absent, nil, follower{}
	r.wake()
	return ended
}

// links lists a primary's. The caller holds mu.
func (r *replica) links() []*link {
	list := make([]*link, 0, len(r.leader.links))
	for _, k := range r.leader.links {
		list = append(list, k)
	}
	return list
}

// leads is the leader at a term. The caller holds mu.
func (r *replica) leads(term uint64) (*leader, error) {
	if r.role != primary || r.leader.at.term != term || r.leader.over {
		return nil, fmt.Errorf("shard %s: term %d: %w", r.shard, term, ErrNotPrimary)
	}
	return r.leader, nil
}

// taken is what a secondary answers to a primary.
type taken struct {
	state state
	at    position // term: the highest seen
}

type state uint8

const (
	following state = iota + 1
	behind
	refused
)

// yield makes a primary of a lower term a secondary, and returns the links that end: the target of a planned switch counts it as a member
// from its activation on, before anybody calls ChangeRole here. The caller holds mu and has promised the term.
func (r *replica) yield(term uint64) []*link {
	if r.role == primary && r.leader.at.term < term {
		return r.follow()
	}
	return nil
}

// take applies what a primary at a term sent. It returns the links that end, too, and locks.
func (r *replica) take(term uint64, writes []write) (taken, []*link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.promise(term) {
		return taken{state: refused, at: position{term: r.promised}}, nil
	}
	ended := r.yield(term)
	if r.role != secondary || !r.follower.apply(term, writes) {
		return taken{state: behind, at: position{term: term}}, ended
	}
	return taken{state: following, at: r.follower.at}, ended
}

// install takes a whole snapshot. It returns the links that end, too, and locks.
func (r *replica) install(at position, data table) (taken, []*link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.promise(at.term) {
		return taken{state: refused, at: position{term: r.promised}}, nil
	}
	ended := r.yield(at.term)
	if r.role != secondary {
		return taken{state: behind, at: position{term: at.term}}, ended
	}
	r.follower.install(at, data)
	return taken{state: following, at: r.follower.at}, ended
}
