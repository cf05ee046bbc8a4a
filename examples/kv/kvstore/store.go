// Package kvstore is the storage under the example: one process, shared by all servers, in memory. It shows the half of fencing that
// storage has to do: a server that was paused cannot write any more once its shard's next owner raised the term.
//
// Invariants: a shard's term only grows, and only the highest raised term reads and writes; a value changes only if the writer saw the
// version stored; a client's request is applied at most once, and never after a later request of that client to the same key.
//
// Its data is gone when the process ends: it stands for a database, and is none.
package kvstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Refusals because of the term.
var (
	// ErrStaleTerm: a higher term was raised; the caller is no longer the shard's owner.
	ErrStaleTerm = errors.New("stale term")
	// ErrTermNotRaised: the caller's term is higher than the highest raised; raise it first.
	ErrTermNotRaised = errors.New("term not raised")
)

// MaxClients is how many clients' last requests are remembered per key; the one that wrote longest ago is forgotten first.
const MaxClients = 8

// RequestID names one write to a key; a client numbers them upwards.
type RequestID struct{ Client, Number uint64 }

// Entry is a value with the count of writes to it; the zero value was never written.
type Entry struct {
	Value   int64
	Version uint64
}

// Outcome of a write at the right term.
type Outcome uint8

// Outcomes.
const (
	// Applied: the value was written now, or by an earlier arrival of the same request.
	Applied Outcome = iota + 1
	// Conflict: the key has another version than the writer saw.
	Conflict
	// Superseded: a later request of the client was applied; this one never will be.
	Superseded
)

// Store holds the shards. Safe for concurrent use.
type Store struct {
	mu     sync.RWMutex
	shards map[string]*shardData
}

type shardData struct {
	mu      sync.Mutex
	term    uint64
	entries map[string]*record
}

type record struct {
	Entry
	applied []appliedRequest // oldest first, one per client, at most MaxClients
}

type appliedRequest struct {
	RequestID
	wrote Entry
}

// New makes an empty store.
func New() *Store { return &Store{shards: map[string]*shardData{}} }

// RaiseTerm makes a term the only one that may read and write a shard.
func (s *Store) RaiseTerm(shard string, term uint64) error {
	s.mu.Lock()
	d, ok := s.shards[shard]
	if !ok {
		d = &shardData{entries: map[string]*record{}}
		s.shards[shard] = d
	}
	s.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if term < d.term {
		return fmt.Errorf("raise term: shard %s: %d is below %d: %w", shard, term, d.term, ErrStaleTerm)
	}
	d.term = term
	return nil
}

// lock finds a shard and locks it for an operation at a term.
func (s *Store) lock(op, shard string, term uint64) (*shardData, error) {
	s.mu.RLock()
	d, ok := s.shards[shard]
	s.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("%s: shard %s: at %d, none was raised: %w", op, shard, term, ErrTermNotRaised)
	}
	d.mu.Lock()
	switch {
	case term < d.term:
		defer d.mu.Unlock()
		return nil, fmt.Errorf("%s: shard %s: %d is below %d: %w", op, shard, term, d.term, ErrStaleTerm)
	case term > d.term:
		defer d.mu.Unlock()
		return nil, fmt.Errorf("%s: shard %s: %d is above %d: %w", op, shard, term, d.term, ErrTermNotRaised)
	}
	return d, nil
}

// Scan reads all entries of a shard.
func (s *Store) Scan(shard string, term uint64) (map[string]Entry, error) {
	d, err := s.lock("scan", shard, term)
	if err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	entries := make(map[string]Entry, len(d.entries))
	for key, r := range d.entries {
		entries[key] = r.Entry
	}
	return entries, nil
}

// Read reads one entry.
func (s *Store) Read(shard string, term uint64, key string) (Entry, error) {
	d, err := s.lock("read", shard, term)
	if err != nil {
		return Entry{}, err
	}
	defer d.mu.Unlock()
	if r, ok := d.entries[key]; ok {
		return r.Entry, nil
	}
	return Entry{}, nil
}

// Write stores a value if the key still has the version that the writer saw. The entry is what is stored afterwards, except that a
// repeated request gets what it wrote.
func (s *Store) Write(shard string, term uint64, key string, value int64, seen uint64, id RequestID) (Outcome, Entry, error) {
	d, err := s.lock("write", shard, term)
	if err != nil {
		return 0, Entry{}, err
	}
	defer d.mu.Unlock()
	r, ok := d.entries[key]
	if !ok {
		r = &record{}
	}
	i := slices.IndexFunc(r.applied, func(a appliedRequest) bool { return a.Client == id.Client })
	switch {
	case i >= 0 && r.applied[i].Number == id.Number:
		return Applied, r.applied[i].wrote, nil
	case i >= 0 && r.applied[i].Number > id.Number:
		return Superseded, r.Entry, nil
	case r.Version != seen:
		return Conflict, r.Entry, nil
	}
	if i >= 0 {
		r.applied = slices.Delete(r.applied, i, i+1)
	} else if len(r.applied) == MaxClients {
		r.applied = slices.Delete(r.applied, 0, 1)
	}
	r.Entry = Entry{Value: value, Version: r.Version + 1}
	r.applied = append(r.applied, appliedRequest{RequestID: id, wrote: r.Entry})
	d.entries[key] = r
	return Applied, r.Entry, nil
}
