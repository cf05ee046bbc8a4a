package maintenance

import (
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Kinds of refusals of what is asked for.
var (
	ErrInvalid  = errors.New("invalid")
	ErrUnknown  = errors.New("unknown")
	ErrExists   = errors.New("exists")
	ErrConflict = errors.New("conflict")
)

// AskError is a refusal: a field, and what is expected there. It wraps its kind.
type AskError struct {
	Kind     error
	Field    string
	Expected string
}

// Error implements error.
func (e *AskError) Error() string { return e.Field + ": " + e.Expected }

// Unwrap is its kind.
func (e *AskError) Unwrap() error { return e.Kind }

// Request takes on an event: asked is answered by Stored. The same request again, from a deployer that did not hear the answer, is answered alike.
func (b *Book) Request(now shard.Instant, wall time.Time, r event.Request, view *caps.View, asked uint64) *AskError {
	if field, expected := r.Check(wall); field != "" {
		return &AskError{ErrInvalid, field, expected}
	}
	view = b.complete(now, view)
	e := event.Event{Request: r}
	var bad *AskError
	if e.Pieces, bad = pieces(&r, view); bad != nil {
		return bad
	}
	if n := b.all[r.ID]; n != nil {
		if !sameRequest(&n.wanted, &e) {
			return &AskError{ErrExists, "id", fmt.Sprintf("a new one: %q is another event", r.ID)}
		}
		n.waiters = append(n.waiters, asked)
		b.store(now, n)
		return nil
	}
	open := 0
	for _, id := range shard.SortedKeys(b.all) {
		n := b.all[id]
		if n.wanted.Over() {
			continue
		}
		open++
		if who := meets(&n.wanted, &e); who != "" && !r.Announced && !n.wanted.Announced {
			return &AskError{ErrConflict, "scope", fmt.Sprintf("servers that are in no other open event: %s is in %q; wait for it, or cancel it there", who, id)}
		}
	}
	if open >= MostOpen {
		return &AskError{ErrConflict, "id", fmt.Sprintf("fewer than %d open events; cancel some first", MostOpen)}
	}
	n := newEntry(now, e)
	n.waiters = []uint64{asked}
	b.put(n)
	b.store(now, n)
	return nil
}

// pieces divides a request into what goes down at once: a server, or all servers of a host where the event hits hosts, or everything where it
// is announced.
func pieces(r *event.Request, view *caps.View) ([]event.Piece, *AskError) {
	named := map[shard.ServerID]bool{}
	hosts := map[string]bool{}
	for i := range view.Servers {
		s := &view.Servers[i]
		if r.Scope.Includes(s.ID, s.Locality) {
			named[s.ID] = true
			hosts[s.Locality.Host] = hosts[s.Locality.Host] || r.Impact.WholeHosts() && s.Locality.Host != ""
		}
	}
	for _, id := range r.Scope.Servers {
		if !named[id] {
			return nil, &AskError{ErrUnknown, "scope.servers", fmt.Sprintf("known servers, not %q; list them with `shardmanager servers`", id)}
		}
	}
	if len(named) == 0 {
		return nil, &AskError{ErrUnknown, "scope", "at least one server in it: no known server is there"}
	}
	var list []event.Piece
	at := map[string]int{}
	for i := range view.Servers {
		s := &view.Servers[i]
		key := string(s.ID)
		switch {
		case hosts[s.Locality.Host]:
			key = "host " + s.Locality.Host
		case !named[s.ID]:
			continue
		}
		if r.Announced {
			key = ""
		}
		k, known := at[key]
		if !known {
			k = len(list)
			at[key] = k
			list = append(list, event.Piece{State: event.Waiting})
		}
		list[k].Covers = append(list[k].Covers, event.Covered{Server: s.ID})
	}
	return list, nil
}

// sameRequest reports whether two events ask for the same.
func sameRequest(a, b *event.Event) bool {
	x, y := a.Request, b.Request
	same := x.Kind == y.Kind && x.Impact == y.Impact && x.Announced == y.Announced && x.Start.Equal(y.Start) && x.Deadline.Equal(y.Deadline) && x.Duration == y.Duration
	for i := range b.Pieces {
		for _, c := range b.Pieces[i].Covers {
			same = same && covers(a, c.Server)
		}
	}
	return same
}

func covers(e *event.Event, id shard.ServerID) bool {
	for i := range e.Pieces {
		if e.Pieces[i].Has(id) {
			return true
		}
	}
	return false
}

// meets is a server that two events are both to take down; empty: none.
func meets(open, e *event.Event) shard.ServerID {
	for i := range open.Pieces {
		for _, c := range open.Pieces[i].Covers {
			if !open.Pieces[i].State.Over() && covers(e, c.Server) {
				return c.Server
			}
		}
	}
	return ""
}

// Finish ends pieces in order, as their deployer says: those that have one of the servers, or all that were approved. A piece that is over stays as
// it is: saying so twice does no harm.
func (b *Book) Finish(now shard.Instant, id string, servers []shard.ServerID, asked uint64) *AskError {
	n, bad := b.find(id)
	if bad != nil {
		return bad
	}
	for _, s := range servers {
		if !covers(&n.wanted, s) {
			return &AskError{ErrUnknown, "servers", fmt.Sprintf("servers of event %q, not %q", id, s)}
		}
	}
	var list []int
	for i := range n.wanted.Pieces {
		p := &n.wanted.Pieces[i]
		meant := len(servers) == 0
		for _, s := range servers {
			meant = meant || p.Has(s)
		}
		switch {
		case !meant || p.State.Over():
		case p.State.Active():
			list = append(list, i)
		case len(servers) > 0:
			return &AskError{ErrConflict, "servers", fmt.Sprintf("servers that were approved: %s waits (%s)", p.Covers[0].Server, p.Why)}
		}
	}
	for _, i := range list {
		b.set(now, n, i, event.Done, 0, "the deployer says so")
	}
	n.waiters = append(n.waiters, asked)
	b.store(now, n)
	return nil
}

// Cancel takes back what of an event is not over.
func (b *Book) Cancel(now shard.Instant, id string, asked uint64) *AskError {
	n, bad := b.find(id)
	if bad != nil {
		return bad
	}
	for i := range n.wanted.Pieces {
		if !n.wanted.Pieces[i].State.Over() {
			b.set(now, n, i, event.Cancelled, 0, "taken back")
		}
	}
	n.waiters = append(n.waiters, asked)
	b.store(now, n)
	return nil
}

// Waive lets an event go ahead before its start and outside windows. Caps hold.
func (b *Book) Waive(now shard.Instant, id string, asked uint64) *AskError {
	n, bad := b.find(id)
	switch {
	case bad != nil:
		return bad
	case n.wanted.Over():
		return &AskError{ErrConflict, "id", fmt.Sprintf("an event that is not over: %q is", id)}
	case n.wanted.Announced:
		return &AskError{ErrConflict, "id", fmt.Sprintf("an event that is asked for: %q is announced, and happens at its start", id)}
	}
	n.wanted.Waived = true
	n.waiters = append(n.waiters, asked)
	b.store(now, n)
	return nil
}

func (b *Book) find(id string) (*entry, *AskError) {
	if n := b.all[id]; n != nil && !n.gone {
		return n, nil
	}
	return nil, &AskError{ErrUnknown, "id", fmt.Sprintf("the id of an event, not %q; list them with `shardmanager maintenance list`", id)}
}
