// Package generation reads the generation of a cluster's stored state (PROTOCOL R14): every epoch and every term is of one, only a restore raises
// it, and while a restore is under way, or must be made, nobody leads.
//
// Called by the allocator, which begins to lead only under the generation that it read, and by allocator/restore, which raises it.
package generation

import (
	"context"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Most is the highest generation that fits into terms.
const Most = shard.MostGeneration

// State is the generation as the store has it.
type State struct {
	Record *pb.GenerationRecord // never nil
	// Unchanged holds in a transaction as long as nobody has written the key since.
	Unchanged coord.Op
}

// Number is the generation.
func (s State) Number() uint64 { return s.Record.GetGeneration() }

// Bar says why nobody may lead; empty: somebody may.
func (s State) Bar() string {
	switch r := s.Record; {
	case r.GetRestoring():
		again := "`shardmanager snapshot restore FILE` again, with the same file or another"
		if !r.GetMixed() {
			again += ", or `shardmanager snapshot raise-generation`, which keeps what the store has now"
		}
		return "a restore was begun and has not ended (" + r.GetReason() + "): nobody leads until it has; if it is not running, run " + again
	case r.GetReason() != "":
		return "held: " + r.GetReason() + ": the store went back in time: run `shardmanager snapshot raise-generation`, which keeps what the store has now, " +
			"or `shardmanager snapshot restore FILE` with a newer copy"
	}
	return ""
}

// Read reads it, consistently.
func Read(ctx context.Context, store coord.KV, keys storage.Keys) (State, error) {
	entry, found, err := store.Get(ctx, keys.Generation())
	if err != nil {
		return State{}, fmt.Errorf("generation: %w", err)
	}
	s := State{Record: new(pb.GenerationRecord), Unchanged: coord.Op{Verb: coord.CheckNotExists, Key: keys.Generation()}}
	if !found {
		return s, nil
	}
	s.Unchanged = coord.Op{Verb: coord.CheckIndex, Key: entry.Key, Index: entry.Modify}
	if err := wire.Decode(entry.Value, s.Record); err != nil {
		return State{}, fmt.Errorf("generation: key %s: %w: run `shardmanager snapshot restore FILE`, or `shardmanager snapshot raise-generation --above N` "+
			"with the highest generation that agents name", entry.Key, err)
	}
	if s.Number() > Most {
		return State{}, fmt.Errorf("generation: key %s: %w: generation %d: at most %d are possible", entry.Key, wire.ErrCorrupt, s.Number(), Most)
	}
	return s, nil
}

// Next is the generation after all that were seen.
func Next(seen ...uint64) (uint64, error) {
	next := slices.Max(seen) + 1
	if next > Most {
		return 0, fmt.Errorf("generation: %d is the last: at most %d are possible", next-1, Most)
	}
	return next, nil
}
