package gossip

import (
	"net"
	"strconv"

	"github.com/hashicorp/serf/serf"
)

// Status is how a member stands, as far as gossip knows.
type Status int

// Statuses.
const (
	Alive Status = iota + 1
	Leaving
	Left
	Failed
)

// String names the status.
func (s Status) String() string {
	switch s {
	case Alive:
		return "alive"
	case Leaving:
		return "leaving"
	case Left:
		return "left"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// Member is one life of a process that takes part.
type Member struct {
	Life string // name that no other life has
	Identity
	Apps    []string // that an agent serves, by name
	More    int      // apps for which its tags had no room
	Address string   // host:port of its gossip
	Status  Status
}

func memberOf(m serf.Member) Member {
	out := Member{Life: m.Name, Address: net.JoinHostPort(m.Addr.String(), strconv.Itoa(int(m.Port)))}
	out.Identity, out.Apps, out.More = identityOf(m.Tags)
	switch m.Status {
	case serf.StatusAlive:
		out.Status = Alive
	case serf.StatusLeaving:
		out.Status = Leaving
	case serf.StatusLeft:
		out.Status = Left
	case serf.StatusFailed, serf.StatusNone:
		out.Status = Failed
	}
	return out
}

// Kind is what happened to a member.
type Kind int

// Kinds of events.
const (
	Joined Kind = iota + 1
	Updated
	Departed
	Crashed
	Forgotten
	// Missed says that events were lost because the reader was too slow; Members has the truth.
	Missed
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Joined:
		return "joined"
	case Updated:
		return "updated"
	case Departed:
		return "left"
	case Crashed:
		return "failed"
	case Forgotten:
		return "forgotten"
	case Missed:
		return "missed"
	}
	return "unknown"
}

// Event is a change of the membership, as gossip saw it.
type Event struct {
	Kind   Kind
	Member Member // none if Missed
}

func eventsOf(e serf.Event) []Event {
	changed, ok := e.(serf.MemberEvent)
	if !ok {
		return nil
	}
	kind := map[serf.EventType]Kind{
		serf.EventMemberJoin: Joined, serf.EventMemberUpdate: Updated, serf.EventMemberLeave: Departed, serf.EventMemberFailed: Crashed, serf.EventMemberReap: Forgotten,
	}[changed.Type]
	if kind == 0 {
		return nil
	}
	out := make([]Event, len(changed.Members))
	for i, m := range changed.Members {
		out[i] = Event{Kind: kind, Member: memberOf(m)}
	}
	return out
}
