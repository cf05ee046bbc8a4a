package storage

import (
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Own reports whether a key of the group is about the present alone, and no part of what is restored: the lock, the generation, and what decides
// unknown outcomes.
func (k Keys) Own(key string) bool {
	return key == k.Leader() || key == k.Sequence() || key == k.Generation()
}

// Restores reports whether a key is restored: those of the group are, but for what is of the present, and for what incarnations were told that are all over.
func (k Keys) Restores(key string) bool {
	return strings.HasPrefix(key, k.group) && !k.Own(key) && !strings.HasPrefix(key, k.group+fencesDir) && !strings.HasPrefix(key, k.group+restsDir)
}

// InGroup reports whether a key is the group's.
func (k Keys) InGroup(key string) bool { return strings.HasPrefix(key, k.group) }

// IsRest reports whether a key is a rest's.
func (k Keys) IsRest(key string) bool { return strings.HasPrefix(key, k.group+restsDir) }

// Anew is the value that a key has in a new generation: rows name nobody, and their terms are those of the generation. It also says of which generation
// the value was.
func (k Keys) Anew(e coord.Entry, generation uint64) (value []byte, was uint64, err error) {
	rest, ok := strings.CutPrefix(e.Key, k.group)
	if !ok {
		return e.Value, 0, nil
	}
	if _, chunk, ok := appKey(rest); !ok || chunk < 0 {
		return e.Value, 0, nil
	}
	record := new(pb.AssignmentChunk)
	if err := wire.Decode(e.Value, record); err != nil {
		return nil, 0, fmt.Errorf("key %s: %w", e.Key, err)
	}
	rows, err := rowsFromProto(record)
	if err != nil {
		return nil, 0, fmt.Errorf("key %s: %w: %w", e.Key, wire.ErrCorrupt, err)
	}
	for i := range rows {
		was = max(was, rows[i].Term.Generation())
		rows[i] = rows[i].Anew(generation)
	}
	value, err = wire.Encode(chunkToProto(rows))
	if err != nil {
		return nil, 0, fmt.Errorf("key %s: %w", e.Key, err)
	}
	return value, was, nil
}
