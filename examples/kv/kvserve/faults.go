package kvserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
)

// Faults are what a server of the example does wrong on purpose, so that Shard Manager can be seen to cope. They are read from a file at
// every callback, as JSON, and so change while the server runs and last beyond its death; without the file there are none.
type Faults struct {
	// Poison lists shards whose loading kills the process, as a bug in a decoder of their data would: by Activate, or in the mode
	// primary-secondary by AddShard of a secondary. One that is a secondary already has it loaded.
	Poison []string `json:"poison,omitempty"`
	// DelayMS is how long callbacks take, in milliseconds, by their name: PrepareAddShard, AddShard. Below 0: until the caller gives up.
	DelayMS map[string]int64 `json:"delay_ms,omitempty"`
}

// Callbacks that may be delayed.
const (
	prepareAddShard = "PrepareAddShard"
	addShard        = "AddShard"
)

// validate names what cannot be done.
func (f Faults) validate() error {
	for name := range f.DelayMS {
		if name != prepareAddShard && name != addShard {
			return fmt.Errorf("delay_ms: %q: expected %s or %s", name, prepareAddShard, addShard)
		}
	}
	return nil
}

// readFaults reads the file; there need be none.
func readFaults(path string) (Faults, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Faults{}, nil
	}
	if err != nil {
		return Faults{}, fmt.Errorf("faults: %w", err)
	}
	var f Faults
	if err := json.Unmarshal(text, &f); err != nil {
		return Faults{}, fmt.Errorf("faults: %s: %w", path, err)
	}
	if err := f.validate(); err != nil {
		return Faults{}, fmt.Errorf("faults: %s: %w", path, err)
	}
	return f, nil
}

// application is what both modes have in common.
type application interface {
	sdk.Handler
	sdk.Activator
	sdk.StateSource
	sdk.LoadCollector
}

// faultyReplicated is faulty with the callbacks of the mode primary-secondary.
type faultyReplicated struct {
	*faulty
	sdk.RoleChanger
	sdk.MembershipUpdater
}

// Activate goes on with what a secondary loaded.
func (a *faultyReplicated) Activate(ctx context.Context, s sdk.Shard, state []byte) error {
	return a.application.Activate(ctx, s, state)
}

// faulty is the application with faults. What it does not override is the application's.
type faulty struct {
	application
	path string
	log  *slog.Logger
	die  func() // ends the process at once; it does not return
}

// PrepareAddShard has nothing to load; it may take its time.
func (a *faulty) PrepareAddShard(ctx context.Context, _ sdk.Shard, _ sdk.Peer) error {
	return a.delay(ctx, prepareAddShard)
}

// Activate kills the process if the shard is poison.
func (a *faulty) Activate(ctx context.Context, s sdk.Shard, state []byte) error {
	if err := a.load(s); err != nil {
		return err
	}
	return a.application.Activate(ctx, s, state)
}

// load kills the process if the shard is poison.
func (a *faulty) load(s sdk.Shard) error {
	f, err := readFaults(a.path)
	if err != nil {
		return err
	}
	if slices.Contains(f.Poison, s.ID) {
		a.log.Error("this shard is poison: the process dies", "shard", s.ID)
		a.die()
	}
	return nil
}

// AddShard may take its time; the shard is active meanwhile and serves what is forwarded. A secondary loads in it.
func (a *faulty) AddShard(ctx context.Context, s sdk.Shard) error {
	if err := a.delay(ctx, addShard); err != nil {
		return err
	}
	if s.Role == sdk.RoleSecondary {
		if err := a.load(s); err != nil {
			return err
		}
	}
	return a.application.AddShard(ctx, s)
}

func (a *faulty) delay(ctx context.Context, callback string) error {
	f, err := readFaults(a.path)
	if err != nil {
		return err
	}
	ms := f.DelayMS[callback]
	if ms == 0 {
		return nil
	}
	var over <-chan time.Time // nil: never
	if ms > 0 {
		timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
