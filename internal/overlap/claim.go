package overlap

import (
	"fmt"
	"math"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// ClaimKind is why a process claims a shard.
type ClaimKind uint8

// Kinds of claims.
const (
	Owner ClaimKind = iota + 1
	Executed
)

// String names the kind.
func (k ClaimKind) String() string {
	if k == Owner {
		return "owner"
	}
	return "operation"
}

// Claim is an interval [Start, End) in which a process was, or acted as, the primary of a shard.
type Claim struct {
	Kind        ClaimKind
	Process     Process
	Server      string
	Incarnation uint64
	Term        uint64
	Start, End  int64
}

// String writes the claim for people.
func (c Claim) String() string {
	return fmt.Sprintf("%s %s at term %d (incarnation %s, pid %d) [%d, %d)",
		c.Server, c.Kind, c.Term, shard.Incarnation(c.Incarnation), c.Process.PID, c.Start, c.End)
}

// forever is the end of what did not end within a history.
const forever = math.MaxInt64

// span is a half-open interval.
type span struct{ start, end int64 }

// claim is a Claim in its compact form: a run has millions.
type claim struct {
	party int32 // index of the history
	life  int32 // index of the incarnation in its history
	kind  ClaimKind
	term  uint64
	span
}

// identity is one incarnation in a history.
type identity struct {
	server      string
	incarnation uint64
}

// extraction turns the records of one process into claims.
type extraction struct {
	party  int32
	lives  []identity
	open   map[string]claim // owner's claims that have not ended, by shard
	owners map[string][]claim
	leases []span
	claims map[string][]claim
	err    error
}

// extract adds the claims of one history, killed at an instant or forever, to claims.
func extract(party int, h History, killed int64, claims map[string][]claim) (lives []identity, err error) {
	x := &extraction{
		party: int32(party), lives: []identity{{server: fmt.Sprintf("pid-%d", h.Process.PID)}},
		open: map[string]claim{}, owners: map[string][]claim{}, claims: claims,
	}
	for _, r := range h.Records {
		x.take(r)
		if x.err != nil {
			return nil, fmt.Errorf("%s (pid %d): %w", h.Process.File, h.Process.PID, x.err)
		}
	}
	x.closeAll(forever)
	for _, id := range shard.SortedKeys(x.owners) {
		for _, c := range x.owners[id] {
			c.end = min(c.end, killed)
			x.underLease(id, c)
		}
	}
	return x.lives, nil
}

func (x *extraction) take(r Record) {
	switch r.Kind {
	case ServerNamed:
		// An incarnation dropped everything before the next one was registered (R2).
		x.closeAll(r.At)
		x.lives = append(x.lives, identity{server: r.Name, incarnation: r.Term})
	case Activated:
		if c, ok := x.open[r.Name]; ok {
			if c.term == r.Term {
				return // a repeated Activate: the first one began the claim
			}
			x.close(r.Name, r.At)
		}
		x.open[r.Name] = claim{party: x.party, life: x.life(), kind: Owner, term: r.Term, span: span{start: r.At}}
	case Released:
		if c, ok := x.open[r.Name]; ok && r.Term >= c.term {
			x.close(r.Name, r.At)
		}
	case LeaseExtended:
		if last := len(x.leases) - 1; last >= 0 && x.leases[last].end >= r.At {
			x.leases[last].end = max(x.leases[last].end, r.End)
		} else if r.End > r.At {
			x.leases = append(x.leases, span{start: r.At, end: r.End})
		}
	case LeaseRevoked:
		if last := len(x.leases) - 1; last >= 0 {
			x.leases[last].end = min(x.leases[last].end, r.At)
		}
	case Operation:
		if r.End < r.At {
			x.err = fmt.Errorf("operation on shard %s at term %d ends at %d before its start at %d", r.Name, r.Term, r.End, r.At)
			return
		}
		// An operation of no length happened all the same: it takes one nanosecond.
		s := span{start: r.At, end: max(r.End, r.At+1)}
		x.claims[r.Name] = append(x.claims[r.Name], claim{party: x.party, life: x.life(), kind: Executed, term: r.Term, span: s})
	case ProcessClosed:
		x.closeAll(r.At)
	case FileFull:
		x.err = fmt.Errorf("the history is full since %d: run for a shorter time or at a lower rate", r.At)
	case ProcessStarted:
		x.err = fmt.Errorf("a second start of a process within one history")
	default:
		x.err = fmt.Errorf("unknown kind of record %d: written by another version", r.Kind)
	}
}

func (x *extraction) life() int32 { return int32(len(x.lives) - 1) }

func (x *extraction) close(id string, at int64) {
	c := x.open[id]
	delete(x.open, id)
	c.end = at
	x.owners[id] = append(x.owners[id], c)
}

func (x *extraction) closeAll(at int64) {
	for _, id := range shard.SortedKeys(x.open) {
		x.close(id, at)
	}
}

// underLease adds the parts of an owner's claim in which the lease was valid.
func (x *extraction) underLease(id string, c claim) {
	for _, lease := range x.leases {
		part := c
		part.start, part.end = max(c.start, lease.start), min(c.end, lease.end)
		if part.start < part.end {
			x.claims[id] = append(x.claims[id], part)
		}
	}
}
