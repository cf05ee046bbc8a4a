package sdk

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// errLifeOver cancels callbacks and operations of an incarnation that has ended.
var errLifeOver = errors.New("this server's incarnation has ended")

// life is one incarnation of this server: its lease and its shards. One that ended never comes back: a new registration makes a new
// life, and tokens keep the one that they began in (PROTOCOL, root rule, R2).
type life struct {
	server      string
	incarnation shard.Incarnation
	// ctx ends with the life; its cause says why.
	ctx    context.Context
	cancel context.CancelCauseFunc

	end      atomic.Pointer[shard.Instant] // of the lease; nil: none
	replicas sync.Map                      // shard id (string) → *replica; never shrinks: maxima are remembered

	mu sync.Mutex // serialises extend, revoke and the birth of replicas
}

func newLife(server string, incarnation shard.Incarnation) *life {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &life{server: server, incarnation: incarnation, ctx: ctx, cancel: cancel}
}

// allows reports whether the lease holds at now.
func (l *life) allows(now shard.Instant) bool {
	end := l.end.Load()
	return end != nil && end.Allows(now)
}

// leaseEnd is the end of the lease; zero if there is none.
func (l *life) leaseEnd() shard.Instant {
	if end := l.end.Load(); end != nil {
		return *end
	}
	return shard.Instant{}
}

// extend moves the end of the lease later, never earlier (PROTOCOL R6), and reports whether it did. observe is called before the new end
// counts, in one order with the life's end.
func (l *life) extend(end, now shard.Instant, observe func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over() || !end.Allows(now) {
		return false
	}
	if old := l.end.Load(); old != nil && old.Remaining(now) >= end.Remaining(now) {
		return false
	}
	observe()
	l.end.Store(&end)
	return true
}

// revoke ends the lease and the life at once, and reports whether it was the one to do so. observe is called once it is over.
func (l *life) revoke(observe func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over() {
		return false
	}
	l.end.Store(nil)
	l.cancel(errLifeOver)
	observe()
	return true
}

// peer names this server to another one.
func (l *life) peer() shard.Peer {
	return shard.Peer{Server: shard.ServerID(l.server), Incarnation: l.incarnation}
}

// within is ctx, ended by the life's end too.
func (l *life) within(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancel(errLifeOver) })
	return ctx, func(cause error) {
		stop()
		cancel(cause)
	}
}

func (l *life) over() bool { return l.ctx.Err() != nil }

// find is the replica of a shard that was ever commanded here, or nil.
func (l *life) find(id string) *replica {
	if r, ok := l.replicas.Load(id); ok {
		return r.(*replica)
	}
	return nil
}

// obtain is the replica of a shard, a new one if need be; nil once the life is over.
func (l *life) obtain(id string) *replica {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over() {
		return nil
	}
	if r := l.find(id); r != nil {
		return r
	}
	r := newReplica(l, id)
	l.replicas.Store(id, r)
	return r
}

// all lists the replicas by id.
func (l *life) all() []*replica {
	byID := map[string]*replica{}
	l.replicas.Range(func(id, r any) bool {
		byID[id.(string)] = r.(*replica)
		return true
	})
	list := make([]*replica, 0, len(byID))
	for _, id := range shard.SortedKeys(byID) {
		list = append(list, byID[id])
	}
	return list
}

// held lists what the agent reads back after its restart (PROTOCOL R4).
func (l *life) held() []shard.Held {
	var list []shard.Held
	for _, r := range l.all() {
		list = append(list, r.heldNow())
	}
	return list
}
