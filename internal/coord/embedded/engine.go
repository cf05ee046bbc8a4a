package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Limits beyond those of coord.
const (
	// MaxSessions is the most sessions at a time; one more is refused with coord.ErrFull.
	MaxSessions = 100_000
	// MaxWatches is the most watches at a time; one more is refused with coord.ErrUnavailable.
	MaxWatches = 10_000
	// MaxWaiting is the most callers that wait for their turn to write; one more is refused at once with coord.ErrUnavailable.
	MaxWaiting = 1024
)

// Config says where the store keeps its data.
type Config struct {
	// Path of the file; empty keeps everything in memory, until Close.
	Path string
	// MaxBytes is the most the file may grow to; 0 means as far as the disk goes. A write over it is refused with coord.ErrFull.
	MaxBytes int
}

// Validate checks the configuration.
func (c Config) Validate() error {
	if c.MaxBytes < 0 || (c.MaxBytes > 0 && c.MaxBytes < minFileBytes) {
		return fmt.Errorf("store: max bytes: expected 0 (no limit) or at least %d, not %d", minFileBytes, c.MaxBytes)
	}
	return nil
}

// Deps is time. The zero value is the machine's.
type Deps struct {
	Now func() shard.Instant
	// After delivers once, d from now; stop lets go of it early.
	After func(d time.Duration) (fired <-chan time.Time, stop func())
}

func (d Deps) orReal() Deps {
	if d.Now == nil {
		d.Now = clock.Now
	}
	if d.After == nil {
		d.After = func(d time.Duration) (<-chan time.Time, func()) {
			timer := time.NewTimer(d)
			return timer.C, func() { timer.Stop() }
		}
	}
	return d
}

// Engine is the store. Its methods may be called from any goroutine.
type Engine struct {
	deps    Deps
	backend backend

	turn    chan struct{} // holds one token; whoever takes it may write
	waiting chan struct{} // a slot for each caller that waits for the turn

	mu      sync.RWMutex // guards what follows; written only with the turn, deadlines of sessions excepted
	state   *state
	health  error // the last write's failure; nil after a good one
	watches map[*watch]struct{}

	newSession chan struct{} // wakes the timer loop
	closing    context.Context
	close      context.CancelFunc
	loops      sync.WaitGroup
}

var _ coord.Store = (*Engine)(nil)

var errClosed = fmt.Errorf("store closed: %w", coord.ErrUnavailable)

// Open opens the store, creating the file where there is none, and starts its timers. An error names the file and the remedy.
func Open(cfg Config, deps Deps) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var b backend = memory{}
	if cfg.Path != "" {
		opened, err := openFile(cfg)
		if err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		b = opened
	}
	loaded, err := b.load()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", errors.Join(err, b.close()))
	}
	return start(b, loaded, deps), nil
}

func start(b backend, loaded *state, deps Deps) *Engine {
	deps = deps.orReal()
	e := &Engine{
		deps: deps, backend: b, state: loaded, watches: map[*watch]struct{}{},
		turn: make(chan struct{}, 1), waiting: make(chan struct{}, MaxWaiting), newSession: make(chan struct{}, 1),
	}
	e.closing, e.close = context.WithCancel(context.Background())
	e.turn <- struct{}{}
	e.restartTimers()
	e.loops.Go(e.expireLoop)
	return e
}

// Close ends the store's timers and watches and lets go of the file. Sessions live on in the file.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed := e.closing.Err() != nil
	e.close()
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.loops.Wait()
	<-e.turn // waits for the writer under way; nobody writes after
	return e.backend.close()
}

// Health is nil while the last write was good; else what refused it. Reads go on in any case.
func (e *Engine) Health() error {
	if e.closing.Err() != nil {
		return errClosed
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.health
}

// Get reads one key.
func (e *Engine) Get(ctx context.Context, key string) (coord.Entry, bool, error) {
	if err := e.readable(ctx); err != nil {
		return coord.Entry{}, false, fmt.Errorf("get %s: %w", key, err)
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	found, ok := e.state.entries[key]
	if !ok {
		return coord.Entry{}, false, nil
	}
	return cloneEntry(found), true, nil
}

// List reads every key with a prefix, in key order.
func (e *Engine) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	entries, _, err := e.list(ctx, prefix)
	return entries, err
}

func (e *Engine) list(ctx context.Context, prefix string) ([]coord.Entry, coord.Index, error) {
	if err := e.readable(ctx); err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	first, _ := slices.BinarySearch(e.state.keys, prefix)
	var entries []coord.Entry
	for _, key := range e.state.keys[first:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		entries = append(entries, cloneEntry(e.state.entries[key]))
	}
	return entries, e.state.index, nil
}

func (e *Engine) readable(ctx context.Context) error {
	if e.closing.Err() != nil {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(coord.ErrUnavailable, err)
	}
	return nil
}

// takeTurn waits to become the writer; giveTurn must follow if it returns nil.
func (e *Engine) takeTurn(ctx context.Context) error {
	if err := e.readable(ctx); err != nil {
		return err
	}
	select {
	case e.waiting <- struct{}{}:
		defer func() { <-e.waiting }()
	default:
		return fmt.Errorf("%w: %d writes wait already: the disk is too slow or there are too many writers", coord.ErrUnavailable, MaxWaiting)
	}
	select {
	case <-e.turn:
		if e.closing.Err() != nil {
			e.giveTurn()
			return errClosed
		}
		return nil
	case <-ctx.Done():
		return errors.Join(coord.ErrUnavailable, ctx.Err())
	case <-e.closing.Done():
		return errClosed
	}
}

func (e *Engine) giveTurn() { e.turn <- struct{}{} }

// commit makes a change durable, then visible. Only the holder of the turn calls it.
func (e *Engine) commit(c *change) error {
	c.index = e.state.index + 1
	err := e.backend.commit(c)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.health = err
	if err != nil && !errors.Is(err, coord.ErrUnknown) {
		return err
	}
	// An unknown outcome was read back from the file: it is there, so everybody must see it; only its way to the disk is in doubt.
	e.state.apply(c)
	e.wake(c)
	return err
}
