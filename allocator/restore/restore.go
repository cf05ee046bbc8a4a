// Package restore puts a copy of what a cluster keeps back into its store, or keeps what is there, under a higher generation (PROTOCOL R14).
//
// Nobody leads meanwhile: it holds the leader's lock itself. In this order:
//
//  1. The lock is taken. No leader writes from here on.
//  2. The new generation is stored, marked as unfinished. From here on nobody leads before a restore has ended.
//  3. The keys of all servers are deleted: the store vouches for no incarnation that may hold anything. Their agents end them, and register new ones,
//     which hold nothing.
//  4. What earlier leaders and the store vouched for is waited out. Every incarnation that any row ever named is over.
//  5. The rows are written; of a copy, after the mark says so: what is stored then is to be kept no more. They name nobody, and their terms are of the new generation.
//  6. The mark goes, and the lock with it, in one transaction.
//
// One that is cut short is begun again from the start, by whoever runs it again. All of it may be done twice.
//
// Called by cmd/shardmanager. It decides nothing about shards: the next leader places them.
package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/generation"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Store is what a restore needs of the coordination store.
type Store interface {
	coord.KV
	coord.Sessions
}

// Deps is what a restore works with.
type Deps struct {
	Store    Store
	Keys     storage.Keys
	Settings timing.Settings // of the cluster's leases; where the lock says that longer ones were granted, those count
	Clock    func() shard.Instant
	Name     string                                           // who does it, for whoever looks at the lock
	Tell     func(what string, done, all uint64)              // how far it is
	Sleep    func(ctx context.Context, d time.Duration) error // until a time has passed, or ctx ends
}

// Source is what is written.
type Source struct {
	What    string        // for people: which file, taken when
	Entries []coord.Entry // in the order of keys; nil: what the store has now
	Above   uint64        // the new generation is above this one too
}

// Plan is what a restore would do.
type Plan struct {
	Generation uint64        // the new one
	Servers    int           // registered now: their incarnations end
	Writes     int           // keys that are written
	Deletes    int           // keys that are deleted
	Wait       time.Duration // until nobody has a lease any more, at most
}

// LedError says that a leader holds the lock.
type LedError struct{ Name, Address string }

func (e *LedError) Error() string {
	who := cmp.Or(e.Name, "somebody")
	if e.Address != "" {
		who += " at " + e.Address
	}
	return fmt.Sprintf("%s holds the leader's lock: stop every allocator of the cluster first (agents and applications may run on); "+
		"of one that was killed, the session ends within 20 s", who)
}

// ErrMixed says that there is nothing that could be kept.
var ErrMixed = errors.New("restore: a restore of a copy was cut short, and what is stored may be a mixture of both: run `shardmanager snapshot restore FILE` again, with the same file or another")

const (
	// callTime bounds one call of the store, listTime the read of everything.
	callTime = 3 * time.Second
	listTime = 30 * time.Second
	// restMost is the longest rest lease (PROTOCOL R19), for where a record cannot be read.
	restMost = 30 * time.Second
)

// present is what the store has now.
type present struct {
	entries    []coord.Entry
	leader     coord.Entry // zero: absent
	record     *pb.LeaderRecord
	generation generation.State
	highest    uint64        // generation that anything is of, or was heard of
	rest       time.Duration // longest that may be out
}

// Look reads what is there, and says what a restore would do. It changes nothing. A *LedError says that it cannot be done now.
func Look(ctx context.Context, d Deps, from Source) (Plan, error) {
	p, err := d.read(ctx, from)
	if err != nil {
		return Plan{}, err
	}
	if p.leader.Session != "" {
		return Plan{}, &LedError{p.record.GetAllocator(), p.record.GetAddress()}
	}
	work, err := d.work(p, from)
	if err != nil {
		return Plan{}, err
	}
	s := d.settings(p)
	work.plan.Wait = shard.CoverDrift(max(s.Validity, p.rest))
	if !p.record.GetClean() {
		work.plan.Wait += shard.CoverDrift(s.LeaderValidity)
	}
	return work.plan, nil
}

// read reads everything consistently.
func (d Deps) read(ctx context.Context, from Source) (*present, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	p := &present{record: new(pb.LeaderRecord)}
	var err error
	if p.generation, err = generation.Read(ctx, d.Store, d.Keys); err != nil {
		if !errors.Is(err, wire.ErrCorrupt) || from.Above == 0 {
			return nil, fmt.Errorf("restore: %w", err)
		}
		p.generation.Record = new(pb.GenerationRecord) // the operator knows it
	}
	if p.entries, err = d.Store.List(ctx, d.Keys.Root()); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	sequence := new(pb.SequenceRecord)
	for _, e := range p.entries {
		switch {
		case e.Key == d.Keys.Leader():
			p.leader = e
			if wire.Decode(e.Value, p.record) != nil { // its holder says nothing: as one that left without the mark
				p.record = new(pb.LeaderRecord)
			}
		case e.Key == d.Keys.Sequence():
			_ = wire.Decode(e.Value, sequence) // it only adds to what rows and the key of the generation say
		case d.Keys.IsRest(e.Key):
			rest := new(pb.RestRecord)
			if length := restMost; wire.Decode(e.Value, rest) != nil {
				p.rest = max(p.rest, length)
			}
			p.rest = max(p.rest, time.Duration(rest.GetLengthNs()))
		}
	}
	p.highest = max(p.generation.Number(), p.generation.Record.GetHeard(), sequence.GetEpoch().GetGeneration(), p.record.GetGeneration(), from.Above)
	return p, nil
}

// settings are those by which leases were granted: the longer of what is configured, and of what the last leader said.
func (d Deps) settings(p *present) timing.Settings {
	s := d.Settings
	s.Validity = max(s.Validity, time.Duration(p.record.GetLeaseValidityNs()))
	s.LeaderValidity = max(s.LeaderValidity, time.Duration(p.record.GetLeaderValidityNs()))
	return s
}

// work is what a restore writes.
type work struct {
	plan     Plan
	register []coord.Entry // servers' keys
	ops      []coord.Op
}

// work compares what is there with what is to be there. Values that cannot be read are refused, unless they are to be replaced.
func (d Deps) work(p *present, from Source) (*work, error) {
	source := from.Entries
	if source == nil {
		if p.generation.Record.GetRestoring() && p.generation.Record.GetMixed() {
			return nil, ErrMixed
		}
		source = p.entries
	}
	w := new(work)
	highest := p.highest
	for _, list := range [][]coord.Entry{p.entries, source} {
		for _, e := range list {
			if _, was, err := d.Keys.Anew(e, 0); err == nil { // else it is read below, or replaced
				highest = max(highest, was)
			}
			if e.Key == d.Keys.Generation() {
				record := new(pb.GenerationRecord)
				_ = wire.Decode(e.Value, record) // of the store it was read already
				highest = max(highest, record.GetGeneration(), record.GetHeard())
			}
		}
	}
	var err error
	if w.plan.Generation, err = generation.Next(highest); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := d.compare(w, p, source); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return w, nil
}

func (d Deps) compare(w *work, p *present, source []coord.Entry) error {
	wanted, has := map[string][]byte{}, map[string]string{}
	var loaded []coord.Entry
	for _, e := range source {
		if !d.Keys.Restores(e.Key) {
			continue
		}
		value, _, err := d.Keys.Anew(e, w.plan.Generation)
		if err != nil {
			return err
		}
		wanted[e.Key] = value
		loaded = append(loaded, coord.Entry{Key: e.Key, Value: value})
	}
	if _, err := d.Keys.Load(loaded); err != nil { // as the next leader will
		return err
	}
	for _, e := range p.entries {
		if d.Keys.IsServer(e.Key) {
			w.register = append(w.register, e)
		} else if d.Keys.InGroup(e.Key) && !d.Keys.Own(e.Key) {
			has[e.Key] = string(e.Value)
		}
	}
	for _, key := range shard.SortedKeys(has) {
		if _, keeps := wanted[key]; !keeps {
			w.ops = append(w.ops, coord.Op{Verb: coord.Delete, Key: key})
		}
	}
	w.plan.Deletes = len(w.ops)
	for _, key := range shard.SortedKeys(wanted) {
		if old, ok := has[key]; !ok || old != string(wanted[key]) {
			w.ops = append(w.ops, coord.Op{Verb: coord.Set, Key: key, Value: wanted[key]})
		}
	}
	w.plan.Servers, w.plan.Writes = len(w.register), len(w.ops)-w.plan.Deletes
	return nil
}
