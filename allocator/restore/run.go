package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	sessionTTL = 10 * time.Second
	renewEvery = 3 * time.Second
	retryPause = 200 * time.Millisecond
)

// errLost says that the lock was lost: whatever was sent last did not happen, and nothing will any more.
var errLost = errors.New("the leader's lock was lost: its session ended, or somebody deleted the key")

// hold is the lock while it is held.
type hold struct {
	Deps
	session  coord.SessionID
	acquired shard.Instant // read after the acquire was answered
	clean    bool          // the last leader left its clean mark
}

// Run does it. An error before the new generation is stored leaves everything as it was; one after that says so, and leaves a store in which nobody leads
// until it is run again.
func Run(ctx context.Context, d Deps, from Source) (plan Plan, err error) {
	h, err := d.acquire(ctx, from)
	if err != nil {
		return Plan{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		h.renew(ctx, stop)
	}()
	defer func() {
		stop(nil)
		<-renewed
		if err != nil {
			h.letGo()
		}
	}()
	p, err := h.read(ctx, from)
	if err != nil {
		return Plan{}, err
	}
	w, err := h.work(p, from)
	if err != nil {
		return Plan{}, err
	}
	if err := h.mark(ctx, w.plan.Generation, from.What, p.generation.Record.GetMixed()); err != nil {
		return Plan{}, err
	}
	if err := h.rewrite(ctx, p, w, from); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return Plan{}, fmt.Errorf("restore: not finished: %w: nobody leads until it has been run again", err)
	}
	return w.plan, nil
}

// acquire takes the lock. The key is as it was read, so its clean mark is that of the last leader (PROTOCOL R1).
func (d Deps) acquire(ctx context.Context, from Source) (*hold, error) {
	p, err := d.read(ctx, from)
	if err != nil {
		return nil, err
	}
	if p.leader.Session != "" {
		return nil, &LedError{p.record.GetAllocator(), p.record.GetAddress()}
	}
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	session, err := d.Store.CreateSession(call, coord.SessionSpec{Name: d.Name, TTL: sessionTTL, Behavior: coord.Release})
	if err != nil {
		return nil, fmt.Errorf("restore: session: %w", err)
	}
	h := &hold{Deps: d, session: session, clean: p.record.GetClean()}
	h.Settings = d.settings(p)
	value, err := wire.Encode(h.record(p.generation.Number(), false))
	if err == nil {
		unchanged := coord.Op{Verb: coord.CheckNotExists, Key: d.Keys.Leader()}
		if p.leader.Key != "" {
			unchanged = coord.Op{Verb: coord.CheckIndex, Key: d.Keys.Leader(), Index: p.leader.Modify}
		}
		_, err = d.Store.Txn(call, []coord.Op{unchanged, {Verb: coord.Lock, Key: d.Keys.Leader(), Value: value, Session: session}})
	}
	h.acquired = d.Clock()
	if err != nil {
		h.letGo()
		if conflict := (*coord.ConflictError)(nil); errors.As(err, &conflict) {
			return nil, &LedError{}
		}
		return nil, fmt.Errorf("restore: take the leader's lock: %w", err)
	}
	return h, nil
}

// record is the value of the lock. It has no address: agents and allocators ask nothing of who holds it. It says how long
// leases are that may be out, for whoever has to begin anew.
func (h *hold) record(generation uint64, clean bool) *pb.LeaderRecord {
	return &pb.LeaderRecord{Allocator: h.Name, Clean: clean, Generation: generation,
		LeaseValidityNs: int64(h.Settings.Validity), LeaderValidityNs: int64(h.Settings.LeaderValidity)}
}

// letGo ends the session, and with it the hold of the lock, without the clean mark. If that fails, it ends by itself.
func (h *hold) letGo() {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	_ = h.Store.DestroySession(ctx, h.session)
}

// renew keeps the session until ctx ends, and ends ctx when the session is gone.
func (h *hold) renew(ctx context.Context, stop context.CancelCauseFunc) {
	for h.Sleep(ctx, renewEvery) == nil {
		call, cancel := context.WithTimeout(ctx, callTime)
		found, err := h.Store.RenewSession(call, h.session)
		cancel()
		if err == nil && !found {
			stop(errLost)
			return
		}
	}
}

// commit runs one transaction behind the check of the lock, until it is known to have happened. Doing it twice does no harm: it writes the same, and only
// while the lock is held.
func (h *hold) commit(ctx context.Context, ops ...coord.Op) error {
	guarded := append([]coord.Op{{Verb: coord.CheckSession, Key: h.Keys.Leader(), Session: h.session}}, ops...)
	for {
		call, cancel := context.WithTimeout(ctx, callTime)
		_, err := h.Store.Txn(call, guarded)
		cancel()
		conflict := (*coord.ConflictError)(nil)
		switch {
		case err == nil:
			return nil
		case errors.As(err, &conflict) && conflict.Key == h.Keys.Leader():
			return errLost
		case !errors.Is(err, coord.ErrUnknown) && !errors.Is(err, coord.ErrUnavailable):
			return err // full, too large, or another conflict
		}
		if err := h.Sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

// mark stores the new generation, unfinished. Mixed: what is stored may be a part of a copy.
func (h *hold) mark(ctx context.Context, generation uint64, what string, mixed bool) error {
	value, err := wire.Encode(&pb.GenerationRecord{Generation: generation, Restoring: true, Reason: what, Mixed: mixed})
	if err == nil {
		err = h.commit(ctx, coord.Op{Verb: coord.Set, Key: h.Keys.Generation(), Value: value})
	}
	switch {
	case errors.Is(err, errLost):
		return fmt.Errorf("restore: nothing was done: %w", err)
	case err != nil: // given up, or refused
		return fmt.Errorf("restore: nothing was changed, but nobody may lead if the new generation was stored, as status says then: run it again: %w", err)
	}
	return nil
}

// rewrite does everything after the mark.
func (h *hold) rewrite(ctx context.Context, p *present, w *work, from Source) error {
	if err := h.endAll(ctx, w.register); err != nil {
		return err
	}
	if err := h.wait(ctx, h.Clock(), p.rest); err != nil {
		return err
	}
	if from.Entries != nil {
		if err := h.mark(ctx, w.plan.Generation, from.What, true); err != nil {
			return err
		}
	}
	if err := h.write(ctx, w.ops); err != nil {
		return err
	}
	return h.finish(ctx, w.plan.Generation)
}

// endAll deletes the keys of servers, as fences do (PROTOCOL R2): the store vouches for no incarnation that was registered when the lock was taken. One that
// registered since is another, to which no leader can have given anything.
func (h *hold) endAll(ctx context.Context, servers []coord.Entry) error {
	ops := make([]coord.Op, len(servers))
	for i, e := range servers {
		ops[i] = coord.Op{Verb: coord.DeleteCAS, Key: e.Key, Index: e.Modify}
	}
	for _, deletes := range storage.Split(ops) {
		batch := servers[:len(deletes)]
		servers = servers[len(deletes):]
		err := h.commit(ctx, deletes...)
		if conflict := (*coord.ConflictError)(nil); errors.As(err, &conflict) {
			err = h.endChanged(ctx, batch)
		}
		if err != nil {
			return err
		}
		for _, e := range batch {
			call, cancel := context.WithTimeout(ctx, callTime)
			_ = h.Store.DestroySession(call, e.Session) // its key is deleted already; nobody waits for this
			cancel()
		}
	}
	return nil
}

// endChanged deletes keys of which some were written since they were read: those that were not created anew.
func (h *hold) endChanged(ctx context.Context, servers []coord.Entry) error {
	for _, e := range servers {
		call, cancel := context.WithTimeout(ctx, callTime)
		now, found, err := h.Store.Get(call, e.Key)
		cancel()
		if err != nil {
			return err
		}
		if !found || now.Create != e.Create {
			continue
		}
		if err := h.commit(ctx, coord.Op{Verb: coord.Delete, Key: e.Key}); err != nil {
			return err
		}
	}
	return nil
}

// wait returns once every lease is over that any leader granted, or the store vouched for.
func (h *hold) wait(ctx context.Context, ended shard.Instant, rest time.Duration) error {
	last := shard.LaterOf(ended, h.Settings.PredecessorsEnd(h.acquired, h.clean))
	end := h.Settings.LeasesEnd(last, rest)
	all := max(end.Remaining(h.Clock()), 1)
	for !end.Passed(h.Clock()) {
		left := end.Remaining(h.Clock())
		h.Tell("waits until every lease is over: "+left.Round(time.Second).String(), uint64(max(all-left, 0)), uint64(all)) //nolint:gosec // not negative
		if err := h.Sleep(ctx, min(max(left, retryPause), time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// write writes all.
func (h *hold) write(ctx context.Context, ops []coord.Op) error {
	done := 0
	for _, batch := range storage.Split(ops) {
		if err := h.commit(ctx, batch...); err != nil {
			return err
		}
		done += len(batch)
		h.Tell("writes", uint64(done), uint64(len(ops))) //nolint:gosec // not negative
	}
	return nil
}

// finish takes the mark away and gives the lock up, with the clean mark: no lease is left that anybody would have to wait for.
func (h *hold) finish(ctx context.Context, generation uint64) error {
	stored, err := wire.Encode(&pb.GenerationRecord{Generation: generation})
	if err != nil {
		return err
	}
	free, err := wire.Encode(h.record(generation, true))
	if err != nil {
		return err
	}
	err = h.commit(ctx, coord.Op{Verb: coord.Set, Key: h.Keys.Generation(), Value: stored},
		coord.Op{Verb: coord.Unlock, Key: h.Keys.Leader(), Value: free, Session: h.session})
	if errors.Is(err, errLost) { // or the answer to the first try was lost
		call, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		entry, found, readErr := h.Store.Get(call, h.Keys.Generation())
		record := new(pb.GenerationRecord)
		if readErr == nil && found && wire.Decode(entry.Value, record) == nil && record.GetGeneration() >= generation && !record.GetRestoring() {
			err = nil
		}
	}
	if err == nil {
		h.letGo()
	}
	return err
}
