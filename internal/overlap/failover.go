package overlap

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Failover is how a shard came back after its owner's process was lost.
type Failover struct {
	Shard  string
	Server string        // the new owner; empty if none acknowledged anything
	At     int64         // end of the first acknowledged operation there
	Took   time.Duration // from the loss to At
}

// Lost reports whether no other process served the shard again within the histories.
func (f Failover) Lost() bool { return f.Server == "" }

// Failovers finds, for every shard that a process owned at an instant, the first operation that another process finished after it. The
// instant is that of the kill or the stop signal. A process that owned nothing then is an error: there is nothing to measure.
func (r *Report) Failovers(p Process, at int64) ([]Failover, error) {
	party, err := r.find(p, at)
	if err != nil {
		return nil, fmt.Errorf("failovers: %w", err)
	}
	var result []Failover
	for _, id := range shard.SortedKeys(r.claims) {
		if owner, ok := r.ownerAt(id, at); ok && owner.party == int32(party) {
			result = append(result, r.failover(id, owner, at))
		}
	}
	if len(result) == 0 {
		return nil, fmt.Errorf("failovers: process %q, pid %d, owned no shard at %d: %w", p.File, p.PID, at, ErrNoData)
	}
	return result, nil
}

func (r *Report) failover(id string, owner claim, at int64) Failover {
	first := Failover{Shard: id}
	for _, c := range r.claims[id] {
		if c.kind != Executed || c.party == owner.party || c.start < at || !first.Lost() && c.end >= first.At {
			continue
		}
		first.Server, first.At = r.lives[c.party][c.life].server, c.end
		first.Took = time.Duration(c.end - at)
	}
	return first
}

// OwnersAt is who owned each shard at an instant, by shard. A shard without an owner is absent; of several, which is an overlap, the
// one that began last is named. An owner killed at the instant is still its owner.
func (r *Report) OwnersAt(at int64) map[string]Claim {
	owners := map[string]Claim{}
	for id := range r.claims {
		if c, ok := r.ownerAt(id, at); ok {
			owners[id] = r.claim(c)
		}
	}
	return owners
}

// ownerAt finds the last owner whose claim, its end included, covers an instant.
func (r *Report) ownerAt(id string, at int64) (claim, bool) {
	claims := r.claims[id]
	after, _ := slices.BinarySearchFunc(claims, at+1, func(c claim, at int64) int {
		if c.start < at {
			return -1
		}
		return 1
	})
	for i := after - 1; i >= 0; i-- {
		if c := claims[i]; c.kind == Owner && c.end >= at {
			return c, true
		}
	}
	return claim{}, false
}
