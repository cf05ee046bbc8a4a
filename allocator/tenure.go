package allocator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/allocator/workqueue"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// loadTimeout is how long reading everything may take.
const loadTimeout = 30 * time.Second

// Most work that waits for a worker; the loop never does.
const (
	maxWrites   = 1       // the ledger has one under way
	maxSolves   = 10_000  // one for each app
	maxReads    = 100_000 // one for each server; one more is answered as not readable
	maxDestroys = 100_000 // one more is left to end by itself
	// singleReads is how many servers' keys are read one by one; more are read as a whole (PROTOCOL R18).
	singleReads = 8
)

// tenure is one leadership, from the acquire of the lock until it is given up.
type tenure struct {
	a    *Allocator
	grip *grip
	box  *mailbox
	led  bool // it loaded, and took events

	writes   *workqueue.Queue[ledger.Write]
	solves   *workqueue.Queue[placement.Input]
	reads    *workqueue.Queue[shard.ServerID]
	destroys *workqueue.Queue[coord.SessionID]
}

// lead runs a leadership to its end, which is in order if ctx ended. The lock is free, or as good as lost, when it returns. It reports
// whether it came as far as to lead.
func (a *Allocator) lead(ctx context.Context, g *grip) (led bool, err error) {
	t := &tenure{
		a: a, grip: g, box: newMailbox(),
		writes: workqueue.New[ledger.Write](maxWrites), solves: workqueue.New[placement.Input](maxSolves),
		reads: workqueue.New[shard.ServerID](maxReads), destroys: workqueue.New[coord.SessionID](maxDestroys),
	}
	work, lose := context.WithCancelCause(g.session.alive)
	workers, work := errgroup.WithContext(work) // the first that fails ends the tenure
	workers.Go(func() error {
		return a.confirm(work, g, func(asked shard.Instant) error {
			at := time.Now().Add(-asked.PermissionAge(a.clock()))
			a.proven.Store(&at)
			return t.box.Post(work, ledger.LockConfirmed{Asked: asked})
		})
	})
	stop, err := t.run(ctx, work, workers)
	lose(errors.New("stepping down"))
	lost := workers.Wait()
	a.metrics.Ends()
	if err == nil && !stop.Clean && lost != nil && !errors.Is(lost, context.Canceled) {
		err = lost
	}
	switch {
	case err != nil:
		return t.led, err
	case stop.Clean:
		return t.led, a.release(g)
	default:
		return t.led, fmt.Errorf("without the clean mark: %s", stop.Reason)
	}
}

// run loads, then loops until the ledger stops or the lock is lost.
func (t *tenure) run(ctx, work context.Context, workers *errgroup.Group) (ledger.Stop, error) {
	contents, loaded, err := t.load(work)
	if err != nil {
		return ledger.Stop{}, err
	}
	w := t.writer(contents)
	if err := t.sweep(work, w, contents.Leftovers); err != nil {
		return ledger.Stop{}, err
	}
	for _, unreadable := range contents.Unreadable {
		t.a.log.Error().Err(unreadable).Msg("server's key cannot be read: its agent must register again")
	}
	workers.Go(func() error { return t.runWriter(work, w) })
	workers.Go(func() error { return t.runSolver(work) })
	workers.Go(func() error { return t.runReader(work) })
	workers.Go(func() error { return t.runDestroyer(work) })
	workers.Go(func() error { return t.watchServers(work) })
	workers.Go(func() error { t.a.webhooks.Run(work, loaded.Epoch); return nil })
	t.a.publishOnly(loaded.Apps)
	for _, app := range loaded.Apps { // earlier statements stand until somebody mends it
		for _, problem := range t.a.policies.Problems(appspec.ToProto(app.Spec)) {
			t.a.log.Warn().Str("app", string(app.Spec.Name)).Str("problem", problem).Msg("policy of an app does not go with the cluster's defaults")
		}
	}
	t.a.unfit.Store(nil)
	t.led = true
	t.a.log.Info().Stringer("epoch", t.grip.epoch).Int("apps", len(loaded.Apps)).Msg("leads")
	return newLoop(t).run(ctx, work, loaded)
}

// load reads the whole cluster consistently, after the acquire and before anything is granted (PROTOCOL R12).
func (t *tenure) load(work context.Context) (*storage.Contents, ledger.Loaded, error) {
	call, cancel := context.WithTimeout(work, loadTimeout)
	defer cancel()
	asked := t.a.clock()
	entries, err := t.a.store.List(call, t.a.keys.Root())
	if err != nil {
		return nil, ledger.Loaded{}, fmt.Errorf("load: %w", err)
	}
	c, err := t.a.keys.Load(entries)
	if err != nil {
		return nil, ledger.Loaded{}, err
	}
	if c.Leader.Session != t.grip.session.id || uint64(c.Leader.Modify) != t.grip.epoch.Index {
		return nil, ledger.Loaded{}, errLockLost
	}
	return c, ledger.Loaded{
		Epoch: t.grip.epoch, Acquired: t.grip.acquired, Clean: t.grip.clean, Confirmed: asked,
		Apps: c.Apps, Registered: c.Registered, Fences: c.Fences, Rests: c.Rests, Drains: c.Drains,
		Probations: c.Probations, Quarantines: c.Quarantines, Events: c.Events,
	}, nil
}

func (t *tenure) writer(c *storage.Contents) *writer {
	limit := t.a.settings.LeaderValidity
	return &writer{
		store: t.a.store, keys: t.a.keys, session: t.grip.session.id, epoch: t.grip.epoch, clock: t.a.clock,
		timeout: limit / 4, limit: limit, indexes: c.Indexes, sequence: c.Sequence.Modify,
	}
}

// sweep deletes what the deletion of an app left behind when its leader was lost.
func (t *tenure) sweep(work context.Context, w *writer, leftovers []string) error {
	for _, batch := range t.a.keys.Sweep(w.indexes, leftovers) {
		if f := w.commit(work, batch); f.outcome != ledger.Committed {
			return fmt.Errorf("delete what is left of a deleted app: %w", f.err)
		}
	}
	return nil
}

func (t *tenure) runWriter(work context.Context, w *writer) error {
	for {
		for _, write := range t.writes.Take(work) {
			began := time.Now()
			f := w.write(work, write.Ops)
			t.a.metrics.Wrote(time.Since(began), f.outcome)
			if err := t.box.Post(work, f.done(write.ID)); err != nil {
				return err
			}
		}
		if work.Err() != nil {
			return work.Err()
		}
	}
}

func (t *tenure) runSolver(work context.Context) error {
	var apart latency.Matrix // steady: no plan differs from the last by noise
	for {
		for _, input := range t.solves.Take(work) {
			if newest := t.a.regions.Matrix(); !newest.Alike(apart) {
				apart = newest
			}
			input.Apart = apart
			began := time.Now()
			plan := t.a.policies.Solve(work, &input, resolve.Published{Maps: t.a.maps.hub})
			t.a.metrics.Solved(time.Since(began), &plan)
			if err := t.box.Post(work, ledger.PlanReady{Plan: plan}); err != nil {
				return err
			}
			t.a.metrics.Reached(input, plan)
		}
		if work.Err() != nil {
			return work.Err()
		}
	}
}

func (t *tenure) runDestroyer(work context.Context) error {
	for {
		for _, id := range t.destroys.Take(work) {
			call, cancel := context.WithTimeout(work, callTimeout)
			_ = t.a.store.DestroySession(call, id) // its key is deleted already; nobody waits for this
			cancel()
		}
		if work.Err() != nil {
			return work.Err()
		}
	}
}

// runReader answers the ledger's reads of servers' keys: what piled up while one read was under way shares the next (PROTOCOL R18).
func (t *tenure) runReader(work context.Context) error {
	for {
		for _, answer := range t.readServers(work, t.reads.Take(work)) {
			if err := t.box.Post(work, answer); err != nil {
				return err
			}
		}
		if work.Err() != nil {
			return work.Err()
		}
	}
}

// watchServers reports the servers' keys whenever they change. While the mailbox is full, states in between are skipped.
func (t *tenure) watchServers(work context.Context) error {
	seen := registrations{keys: t.a.keys, known: map[string]known{}}
	return t.a.store.watch(work, t.a.keys.Servers(), func(entries []coord.Entry) {
		_ = t.box.Post(work, ledger.RegistrationsSeen{Keys: seen.read(entries)}) // fails only when the tenure ends
	})
}
