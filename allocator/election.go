package allocator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/generation"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Times of the election.
const (
	sessionTTL    = 10 * time.Second
	renewEvery    = 3 * time.Second
	renewRetry    = 500 * time.Millisecond
	confirmEvery  = time.Second
	confirmRetry  = 100 * time.Millisecond
	confirmWithin = 2 * time.Second
	// acquireRetry is how often a free lock is looked at although the watch says nothing.
	acquireRetry = time.Second
)

// Reasons to step down at once.
var (
	errSessionGone = errors.New("the store has ended this allocator's session")
	errLockLost    = errors.New("the lock is held by another or by nobody")
	errGeneration  = errors.New("the generation of what is stored is another: it was restored")
)

// lockView is the lock as the watch showed it last: a hint.
type lockView struct {
	seen   bool // the watch has spoken
	held   bool
	record *pb.LeaderRecord // of the holder or the last one; never nil
	entry  coord.Entry
}

// watchLock keeps the view of the lock up to date until ctx ends.
func (a *Allocator) watchLock(ctx context.Context) error {
	return a.store.watch(ctx, a.keys.Leader(), func(entries []coord.Entry) {
		view := lockView{seen: true, record: new(pb.LeaderRecord)}
		for _, e := range entries {
			if e.Key != a.keys.Leader() {
				continue
			}
			view.held, view.entry = e.Session != "", e
			if err := wire.Decode(e.Value, view.record); err != nil {
				view.record = new(pb.LeaderRecord) // whoever acquires the lock reports it
			}
		}
		a.lock.Set(view)
	})
}

// session is a session of this allocator that is being renewed.
type session struct {
	id coord.SessionID
	// alive ends, with errSessionGone as its cause, when the store has ended the session.
	alive context.Context
	end   context.CancelCauseFunc
}

// openSession ends the session of an earlier life and begins one. It outlives ctx, so that a leader told to stop can do so in order.
func (a *Allocator) openSession(ctx context.Context) (*session, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := a.state.EndOld(call, a.store); err != nil {
		return nil, err
	}
	id, err := a.store.CreateSession(call, coord.SessionSpec{
		Name: "allocator " + a.cfg.Name, TTL: sessionTTL, Behavior: coord.Release,
	})
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if err := a.state.Remember(id); err != nil {
		a.closeSession(id)
		return nil, err
	}
	s := &session{id: id}
	s.alive, s.end = context.WithCancelCause(context.WithoutCancel(ctx))
	return s, nil
}

// closeSession destroys a session; one that cannot be destroyed now is destroyed before the next one begins, or ends by itself.
func (a *Allocator) closeSession(id coord.SessionID) {
	a.state.Old = id
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_ = a.state.EndOld(ctx, a.store) // it stays noted in a.state
}

// renew keeps the session until it is gone or over. Renewing proves nothing; it only keeps the store from ending the session.
func (a *Allocator) renew(s *session) {
	for wait := renewEvery; clock.Pause(s.alive, wait); {
		call, cancel := context.WithTimeout(s.alive, callTimeout)
		found, err := a.store.RenewSession(call, s.id)
		cancel()
		switch {
		case err != nil:
			wait = renewRetry
		case !found:
			s.end(errSessionGone)
		default:
			wait = renewEvery
		}
	}
}

// grip is a lock that was just acquired.
type grip struct {
	session  *session
	epoch    shard.Epoch
	acquired shard.Instant // read after the acquire was answered
	clean    bool          // the predecessor left its clean mark
}

// acquire waits until the lock is free and takes it. It returns no grip and no error only when ctx ended.
func (a *Allocator) acquire(ctx context.Context, s *session) (*grip, error) {
	for ctx.Err() == nil && s.alive.Err() == nil {
		view, changed := a.lock.Get()
		if view.held && view.record.Allocator != a.cfg.Name {
			a.unfit.Store(nil)                  // another could do what we could not
			if view.record.AdminAddress != "" { // else it is a restore, while which nobody leads
				a.bar("")
			}
		}
		if view.seen && !view.held {
			g, err := a.tryAcquire(ctx, s)
			if g != nil || err != nil {
				return g, err
			}
		}
		timer := time.NewTimer(acquireRetry)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		case <-s.alive.Done():
		}
		timer.Stop()
	}
	if ctx.Err() != nil {
		return nil, nil
	}
	return nil, context.Cause(s.alive)
}

// tryAcquire takes the lock if it is free (PROTOCOL R1): the record read before says whether its predecessor left in order, and the same
// transaction that takes the lock clears that mark and checks that the record is still the one that was read. An error means that it is not
// known who has the lock: the session must end before another attempt.
func (a *Allocator) tryAcquire(ctx context.Context, s *session) (*grip, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entry, found, err := a.store.Get(call, a.keys.Leader())
	if err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	if entry.Session != "" {
		return nil, nil
	}
	stored, err := generation.Read(call, a.store, a.keys)
	if err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	if a.bar(stored.Bar()) {
		return nil, nil
	}
	before := new(pb.LeaderRecord)
	unchanged := coord.Op{Verb: coord.CheckNotExists, Key: a.keys.Leader()}
	if found {
		if err := wire.Decode(entry.Value, before); err != nil {
			return nil, fmt.Errorf("acquire: key %s: %w: delete the key while no allocator runs", entry.Key, err)
		}
		unchanged = coord.Op{Verb: coord.CheckIndex, Key: a.keys.Leader(), Index: entry.Modify}
	}
	value, err := wire.Encode(a.record(false, stored.Number()))
	if err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	index, err := a.store.Txn(call, []coord.Op{unchanged, stored.Unchanged, {Verb: coord.Lock, Key: a.keys.Leader(), Value: value, Session: s.id}})
	if conflict := (*coord.ConflictError)(nil); errors.As(err, &conflict) {
		return nil, nil // another was faster; if it is the session that died, its renewal says so
	}
	if err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	// A key that is absent proves nothing about earlier leaders: somebody may have deleted it.
	return &grip{session: s, epoch: shard.Epoch{Generation: stored.Number(), Index: uint64(index)}, acquired: a.clock(), clean: found && before.Clean}, nil
}

// bar takes note of why nobody may lead (PROTOCOL R14), and reports whether there is a reason.
func (a *Allocator) bar(why string) bool {
	if old := a.barred.Swap(&why); why != "" && (old == nil || *old != why) {
		a.log.Error().Str("why", why).Msg("nobody may lead: servers serve on, nothing fails over and nothing moves")
	}
	return why != ""
}

// record is this allocator's value of the lock.
func (a *Allocator) record(clean bool, generation uint64) *pb.LeaderRecord {
	return &pb.LeaderRecord{
		Allocator: a.cfg.Name, Address: a.address, AdminAddress: a.adminAddress, Clean: clean, Life: a.life, Generation: generation,
		LeaseValidityNs: int64(a.settings.Validity), LeaderValidityNs: int64(a.settings.LeaderValidity),
	}
}

// release gives the lock up with the clean mark, in one transaction.
func (a *Allocator) release(g *grip) error {
	value, err := wire.Encode(a.record(true, g.epoch.Generation))
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := a.store.Txn(ctx, []coord.Op{
		{Verb: coord.CheckSession, Key: a.keys.Leader(), Session: g.session.id},
		{Verb: coord.Unlock, Key: a.keys.Leader(), Value: value, Session: g.session.id},
	}); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// confirm proves the lock and the generation every second by consistent reads, and tells since when it is proven. It ends when the lock is not ours any
// more; a read that fails proves nothing, either way, and is repeated at once.
func (a *Allocator) confirm(ctx context.Context, g *grip, proven func(asked shard.Instant) error) error {
	for {
		asked := a.clock()
		call, cancel := context.WithTimeout(ctx, confirmWithin)
		entry, _, err := a.store.Get(call, a.keys.Leader())
		var stored generation.State
		if err == nil {
			stored, err = generation.Read(call, a.store, a.keys)
		}
		cancel()
		wait := confirmEvery
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			wait = confirmRetry
		case entry.Session != g.session.id || uint64(entry.Modify) != g.epoch.Index:
			return errLockLost
		case stored.Number() != g.epoch.Generation:
			return errGeneration
		default:
			if err := proven(asked); err != nil {
				return err
			}
		}
		if !clock.Pause(ctx, wait) {
			return ctx.Err()
		}
	}
}
