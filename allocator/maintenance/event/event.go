// Package event is the vocabulary of planned events: what is asked for, and how far each piece of it is (DESIGN §9). Values only; who may go
// ahead is decided by allocator/maintenance.
package event

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Kind is what is planned; the numbers are those of the wire.
type Kind uint8

// Kinds.
const (
	Restart      Kind = iota + 1 // processes stop and come back
	Upgrade                      // they come back with another version
	Drain                        // something else, which takes a while: a kernel, a disk
	Decommission                 // servers go for good
)

var kindNames = [...]string{"unknown", "restart", "upgrade", "drain", "decommission"}

// String names the kind.
func (k Kind) String() string { return nameOf(kindNames[:], int(k)) }

// Returns reports whether a server's next incarnation is the end of it for the server.
func (k Kind) Returns() bool { return k == Restart || k == Upgrade }

// Impact is what the event does to servers; the numbers are those of the wire.
type Impact uint8

// Impacts.
const (
	NetworkLoss    Impact = iota + 1 // they cannot be reached for a short while
	ProcessRestart                   // their processes end
	StateLoss                        // and what they kept on disk is gone
	MachineLoss                      // the whole host goes, with all servers on it
)

var impactNames = [...]string{"unknown", "network-loss", "process-restart", "state-loss", "machine-loss"}

// String names the impact.
func (i Impact) String() string { return nameOf(impactNames[:], int(i)) }

// WholeHosts reports whether it hits all servers of a host together.
func (i Impact) WholeHosts() bool { return i == NetworkLoss || i == MachineLoss }

// Work is what is done on a server before it goes down; more includes less.
type Work uint8

// Works.
const (
	Nothing   Work = iota
	Demote         // primaries with a secondary in sync give their role to it
	Primaries      // all primaries leave
	All            // all replicas leave
)

var workNames = [...]string{"nothing", "demote", "drain primaries", "drain all"}

// String names the work.
func (w Work) String() string { return nameOf(workNames[:], int(w)) }

// WorkFor is the work that an event of a kind and an impact takes. everything: the app says that a restart takes all replicas off.
func WorkFor(k Kind, i Impact, everything bool) Work {
	switch {
	case k == Decommission || i == StateLoss || i == MachineLoss || everything:
		return All
	case i == ProcessRestart:
		return Primaries
	}
	return Demote
}

// Scope is whom an event is about: servers by id, and all servers in fault domains.
type Scope struct {
	Servers                      []shard.ServerID
	Hosts, Racks, Zones, Regions []string
}

// Includes reports whether a server is in the scope.
func (s *Scope) Includes(id shard.ServerID, at shard.Locality) bool {
	return contains(s.Servers, id) || contains(s.Hosts, at.Host) || contains(s.Racks, at.Rack) || contains(s.Zones, at.Zone) || contains(s.Regions, at.Region)
}

// Empty reports whether it names nobody.
func (s *Scope) Empty() bool {
	return len(s.Servers)+len(s.Hosts)+len(s.Racks)+len(s.Zones)+len(s.Regions) == 0
}

func contains[T ~string](list []T, name T) bool {
	for _, n := range list {
		if n == name && name != "" {
			return true
		}
	}
	return false
}

// Request is what is asked for.
type Request struct {
	ID        string
	Kind      Kind
	Impact    Impact
	Scope     Scope
	Announced bool          // it happens at Start, whatever is answered
	Start     time.Time     // not before; zero: now
	Deadline  time.Time     // all of it must be over by then; zero: none
	Duration  time.Duration // that a piece may be down
	Reason    string        // for people
	Requester string        // for people
}

// Limits of requests.
const (
	LongestDuration = 7 * 24 * time.Hour
	longestText     = 256
	clockTolerance  = time.Minute // between the clocks of who asks and who answers
)

// Check says which field of a new request is wrong, and what was expected; empty: none.
func (r *Request) Check(now time.Time) (field, expected string) {
	switch {
	case !shard.ValidName(r.ID):
		return "id", fmt.Sprintf("%s, not %q", shard.NameRule, r.ID)
	case r.Kind < Restart || r.Kind > Decommission:
		return "kind", "restart, upgrade, drain or decommission"
	case r.Impact < NetworkLoss || r.Impact > MachineLoss:
		return "impact", "network-loss, process-restart, state-loss or machine-loss"
	case r.Scope.Empty():
		return "scope", "at least one server, host, rack, zone or region"
	case r.Duration <= 0 || r.Duration > LongestDuration:
		return "duration", fmt.Sprintf("above 0 and at most %s, not %s", LongestDuration, r.Duration)
	case r.Announced && r.Start.IsZero():
		return "start", "when it happens, as it is announced and not asked for"
	case !r.Start.IsZero() && r.Start.Before(now.Add(-clockTolerance)):
		return "start", fmt.Sprintf("a time to come, not %s; leave it out to start now", stamp(r.Start))
	case !r.Deadline.IsZero() && r.Deadline.Before(now.Add(r.Duration)):
		return "deadline", fmt.Sprintf("no sooner than the duration (%s) from now, not %s", r.Duration, stamp(r.Deadline))
	case !r.Deadline.IsZero() && r.Deadline.Before(r.Start.Add(r.Duration)):
		return "deadline", fmt.Sprintf("no sooner than the duration (%s) after the start, %s, not %s", r.Duration, stamp(r.Start), stamp(r.Deadline))
	case len(r.Reason) > longestText:
		return "reason", fmt.Sprintf("at most %d bytes, not %d", longestText, len(r.Reason))
	case len(r.Requester) > longestText:
		return "requester", fmt.Sprintf("at most %d bytes, not %d", longestText, len(r.Requester))
	}
	return "", ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func nameOf(names []string, i int) string {
	if i >= len(names) {
		return names[0]
	}
	return names[i]
}
