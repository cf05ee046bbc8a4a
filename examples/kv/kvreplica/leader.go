package kvreplica

import (
	"cmp"
	"errors"
	"slices"
)

const (
	// maxPending is how many writes of a shard may wait for members; further ones are refused unexecuted.
	maxPending = 4096
	// maxQueue is how many writes a member that does not count yet may be behind; beyond, it starts over with a new snapshot.
	maxQueue = 2 * maxPending
)

// Refusals by a primary; nothing was done.
var (
	// ErrNotPrimary: this replica is not primary at the operation's term, or was told no members yet.
	ErrNotPrimary = errors.New("not primary at this term")
	// ErrBusy: too many writes wait for a secondary.
	ErrBusy = errors.New("too many writes wait for a secondary")
	// ErrFull: the shard has as many keys as it may have.
	ErrFull = errors.New("the shard is full")
)

// ErrDeposed says that the replica stopped being primary while the write waited; whether it survives is not known.
var ErrDeposed = errors.New("no longer primary")

// Member is one secondary of a shard.
type Member struct {
	Server      string // its id, for people
	Address     string // where its ReplicaService is, host:port
	Incarnation uint64
	InSync      bool
}

// memberKey tells one life of a server from another.
type memberKey struct {
	address     string
	incarnation uint64
}

// pending is a write that is not acknowledged yet.
type pending struct {
	write
	done chan struct{} // closed when it is over
	err  error         // set before: nil if it may be acknowledged
}

// link is a primary's view of one member.
type link struct {
	Member
	streaming bool // it has a snapshot and gets the queue; false: a snapshot is due or under way
	counts    bool // writes wait for it
	acked     uint64
	queue     []write // not known to be applied, in order; elements never change
	overrun   bool    // the queue did not fit: only another snapshot helps
	installs  int     // snapshots begun; what comes of an earlier one is not believed
	asks      int     // how often its position was asked for, and
	answered  int     // the last of those that it answered
}

// leader is what a primary knows at one term. Its data is what was acknowledged; pending writes come on top of it.
type leader struct {
	data    table
	at      position // of the last acknowledged write
	last    uint64   // sequence number of the last write
	pending []*pending
	byKey   map[string][]*pending
	links   map[memberKey]*link
	list    int  // counts the lists of members
	ready   bool // the first list is carried out: writes may be acknowledged
	over    bool
}

// newLeader starts a term with what the replica has.
func newLeader(term, sequence uint64, data table) *leader {
	return &leader{
		data: data, at: position{term, sequence}, last: sequence, byKey: map[string][]*pending{}, links: map[memberKey]*link{},
	}
}

// increment carries out a write. It is acknowledged at once if no pending write is returned.
func (l *leader) increment(key string, id RequestID) (int64, *pending, error) {
	if l.over || !l.ready {
		return 0, nil, ErrNotPrimary
	}
	value, waiting, found, err := l.find(key, id)
	if found || err != nil {
		return value, waiting, err
	}
	switch {
	case len(l.pending) >= maxPending:
		return 0, nil, ErrBusy
	case l.data[key] == nil && len(l.data)+len(l.byKey) >= maxKeys:
		return 0, nil, ErrFull
	}
	l.last++
	p := &pending{write: write{sequence: l.last, key: key, value: value + 1, request: id}, done: make(chan struct{})}
	l.pending, l.byKey[key] = append(l.pending, p), append(l.byKey[key], p)
	for _, to := range l.links {
		to.push(p.write)
	}
	l.advance()
	return p.value, p, nil
}

// find looks for a request among the writes that are pending and those in the data. If there is none, value is the key's latest.
func (l *leader) find(key string, id RequestID) (value int64, waiting *pending, found bool, err error) {
	chain := l.byKey[key]
	for _, p := range chain {
		switch {
		case p.request.Client != id.Client:
		case p.request.Number == id.Number:
			return p.value, p, true, nil
		case p.request.Number > id.Number:
			return 0, nil, false, ErrSuperseded
		}
	}
	if value, found, err = l.data[key].find(id); found || err != nil {
		return value, nil, found, err
	}
	if n := len(chain); n > 0 {
		return chain[n-1].value, nil, false, nil
	}
	return l.data.value(key), nil, false, nil
}

func (k *link) push(w write) {
	switch {
	case k.overrun:
	case len(k.queue) < maxQueue:
		k.queue = append(k.queue, w)
	default:
		k.overrun, k.queue = true, nil
	}
}

// advance acknowledges what every member that counts has applied, and lets members that have caught up count.
func (l *leader) advance() {
	to := l.last
	for _, k := range l.links {
		if k.counts {
			to = min(to, k.acked)
		}
	}
	n := 0
	for ; n < len(l.pending) && l.pending[n].sequence <= to; n++ {
		p := l.pending[n]
		l.data.apply(p.write)
		l.forget(p)
		l.at.sequence = p.sequence
		close(p.done)
	}
	l.pending = l.pending[n:]
	for _, k := range l.links {
		if k.streaming && !k.overrun && k.acked >= l.at.sequence {
			k.counts = true
		}
	}
}

func (l *leader) forget(p *pending) {
	if chain := l.byKey[p.key]; len(chain) > 1 {
		l.byKey[p.key] = chain[1:]
	} else {
		delete(l.byKey, p.key)
	}
}

// setMembers makes a list the members, and returns the links that are new and those that are gone.
func (l *leader) setMembers(members []Member) (added, removed []*link) {
	l.list++
	listed := map[memberKey]bool{}
	for _, m := range members {
		key := memberKey{m.Address, m.Incarnation}
		listed[key] = true
		k := l.links[key]
		if k == nil {
			k = &link{Member: m, asks: 1}
			l.links[key] = k
			added = append(added, k)
		} else if !m.InSync {
			k.asks++ // it may have been dropped and added again, without a list between that leaves it out
		}
		k.counts = k.counts || m.InSync
	}
	for key, k := range l.links {
		if !listed[key] {
			delete(l.links, key)
			removed = append(removed, k)
		}
	}
	l.advance()
	return added, removed
}

// settled reports that every member has applied all that was acknowledged, and counts, and said so since it was last asked.
func (l *leader) settled() bool {
	for _, k := range l.links {
		if !k.streaming || !k.counts || k.acked < l.at.sequence || k.answered != k.asks {
			return false
		}
	}
	return true
}

// has reports whether a link is still one of this leader's.
func (l *leader) has(k *link) bool {
	return !l.over && l.links[memberKey{k.Address, k.Incarnation}] == k
}

// snapshot begins an install: all that is acknowledged. What comes after it queues.
func (l *leader) snapshot(k *link) (table, position, int) {
	k.streaming, k.overrun, k.queue = false, false, nil
	k.installs++
	for _, p := range l.pending {
		k.queue = append(k.queue, p.write)
	}
	return l.data.clone(), l.at, k.installs
}

// installed ends an install; false if it has to be done again.
func (l *leader) installed(k *link, install int, sequence uint64) bool {
	if install != k.installs || k.overrun {
		return false
	}
	k.streaming, k.acked = true, 0
	l.acked(k, 0, sequence)
	return true
}

// acked notes what a member has applied, in answer to an ask; false if it needs a snapshot: what it had is gone, or
// what it misses is not kept.
func (l *leader) acked(k *link, ask int, sequence uint64) bool {
	if !k.streaming {
		return true
	}
	if sequence < k.acked || k.overrun {
		return false
	}
	k.acked, k.answered = sequence, max(k.answered, ask)
	n, _ := slices.BinarySearchFunc(k.queue, sequence+1, func(w write, s uint64) int { return cmp.Compare(w.sequence, s) })
	k.queue = k.queue[n:]
	l.advance()
	return true
}

// end stops the term: what waits will not be acknowledged.
func (l *leader) end() {
	if l.over {
		return
	}
	l.over, l.ready = true, false
	for _, p := range l.pending {
		p.err = ErrDeposed
		close(p.done)
	}
}

// whole is everything that was carried out, acknowledged or not: what a next term starts with. The leader is over.
func (l *leader) whole() (table, uint64) {
	for _, p := range l.pending {
		l.data.apply(p.write)
	}
	return l.data, l.last
}
