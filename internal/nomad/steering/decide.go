package steering

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// desk is a view, laid out for decisions.
type desk struct {
	*View
	set     Settings
	byID    map[string]*Allocation
	byShort map[string][]*Allocation
	live    map[shard.ServerID]*Server
	servers map[string][]*Server // of an allocation, by its id
	pieces  map[shard.ServerID][]*event.Piece
	ripe    map[event.Covered]bool // who may go down; but not by what is about to be taken back
	drained map[string]bool        // nodes, by their ids
	going   map[string]bool        // bases of the ids of events whose plan is Nomad's still
	books   map[string]*book       // by the base of their ids
	plan    Plan
}

// book has the events that were asked for one drain or deployment.
type book struct {
	base   string
	events []*event.Event
	last   int // number of the newest
}

// Decide says what is to be done.
func Decide(v *View, set Settings) Plan {
	d := lay(v, set)
	for i := range v.Nodes {
		if v.Nodes[i].Drain != nil {
			d.drain(&v.Nodes[i])
		}
	}
	for i := range v.Deployments {
		d.deploy(&v.Deployments[i])
	}
	for _, base := range shard.SortedKeys(d.books) {
		d.settle(d.books[base])
	}
	return d.plan
}

func lay(v *View, set Settings) *desk {
	d := &desk{View: v, set: set, byID: map[string]*Allocation{}, byShort: map[string][]*Allocation{}, live: map[shard.ServerID]*Server{},
		servers: map[string][]*Server{}, pieces: map[shard.ServerID][]*event.Piece{}, ripe: map[event.Covered]bool{}, drained: map[string]bool{}, going: map[string]bool{}, books: map[string]*book{}}
	for i := range v.Nodes {
		if n := &v.Nodes[i]; n.Drain != nil {
			d.going[drainID(n.ID, n.Drain.Started)], d.drained[n.ID] = true, true
		}
	}
	for i := range v.Deployments {
		d.going[deploymentPrefix+v.Deployments[i].ID] = true
	}
	for i := range v.Allocations {
		a := &v.Allocations[i]
		d.byID[a.ID] = a
		short := a.ID[:min(shortLength, len(a.ID))]
		d.byShort[short] = append(d.byShort[short], a)
	}
	for i := range v.Servers {
		s := &v.Servers[i]
		d.live[s.ID] = s
		if a := d.allocation(s.ID); a != nil {
			d.servers[a.ID] = append(d.servers[a.ID], s)
		}
	}
	for i := range v.Events {
		d.file(&v.Events[i])
	}
	return d
}

// file notes what is asked for by an event, and what it permits.
func (d *desk) file(e *event.Event) {
	base, n, numbered := cutNumber(e.ID)
	ours := numbered && Ours(e.ID)
	for i := range e.Pieces {
		p := &e.Pieces[i]
		for _, c := range p.Covers {
			d.pieces[c.Server] = append(d.pieces[c.Server], p)
			if p.State == event.Ready && (!ours || d.going[base]) {
				d.ripe[c] = true
			}
		}
	}
	if ours {
		b := d.book(base)
		b.events, b.last = append(b.events, e), max(b.last, n)
	}
}

func (d *desk) book(base string) *book {
	b := d.books[base]
	if b == nil {
		b = &book{base: base}
		d.books[base] = b
	}
	return b
}

// allocation is a server's; nil: none that is known. Of two whose ids begin alike it is neither, while both are there.
func (d *desk) allocation(id shard.ServerID) *Allocation {
	name := AllocationOf(id)
	if a := d.byID[name]; a != nil {
		return a
	}
	var found *Allocation
	for _, a := range d.byShort[name] {
		switch {
		case found == nil || found.State == Ended:
			found = a
		case a.State != Ended:
			return nil
		}
	}
	return found
}

// ready reports whether all servers of an allocation may go down. One without servers is never: there is nobody to ask for.
func (d *desk) ready(a *Allocation) bool {
	list := d.servers[a.ID]
	for _, s := range list {
		if !d.ripe[event.Covered{Server: s.ID, Incarnation: s.Incarnation}] {
			return false
		}
	}
	return len(list) > 0
}

// serves reports whether a server of an allocation is attached.
func (d *desk) serves(a *Allocation) bool {
	return a.State == Live && slices.ContainsFunc(d.servers[a.ID], func(s *Server) bool { return s.Attached })
}

// ask asks for the servers of allocations that are in no open event.
func (d *desk) ask(b *book, list []*Allocation, r event.Request) {
	for _, a := range list {
		for _, s := range d.servers[a.ID] {
			if a.State == Live && !d.asked(b, s.ID) {
				r.Scope.Servers = append(r.Scope.Servers, s.ID)
			}
		}
	}
	if r.Scope.Empty() {
		return
	}
	slices.Sort(r.Scope.Servers)
	r.ID, r.Requester = b.base+"."+strconv.Itoa(b.last+1), "nomad-controller"
	d.tell(Request{r})
}

// asked reports whether a server is in an open event, or was taken back by somebody: that is respected.
func (d *desk) asked(b *book, id shard.ServerID) bool {
	return slices.ContainsFunc(d.pieces[id], func(p *event.Piece) bool { return !p.State.Over() }) ||
		b.has(func(p *event.Piece) bool { return p.State == event.Cancelled && p.Has(id) })
}

func (b *book) has(which func(*event.Piece) bool) bool {
	for _, e := range b.events {
		for i := range e.Pieces {
			if which(&e.Pieces[i]) {
				return true
			}
		}
	}
	return false
}

// stop stops the allocations that are ready, and returns those that are not.
func (d *desk) stop(list []*Allocation) (held []*Allocation) {
	for _, a := range list {
		switch {
		case a.State != Live:
		case d.ready(a):
			d.tell(Stop{a.Namespace, a.ID})
		default:
			held = append(held, a)
		}
	}
	return held
}

// settle finishes what has gone, and takes back what is left when Nomad's own plan is over.
func (d *desk) settle(b *book) {
	for _, e := range b.events {
		if e.Over() {
			continue
		}
		d.plan.Busy = true
		leaving := false // somebody is on the way out
		for i := range e.Pieces {
			p := &e.Pieces[i]
			if !p.State.Active() || len(p.Covers) == 0 {
				continue
			}
			switch {
			case d.gone(b, p):
				d.tell(Finish{e.ID, p.Covers[0].Server})
				leaving = true
			case d.reborn(p):
				d.tell(Finish{e.ID, p.Covers[0].Server}) // and is asked for again, as it lives now
			default:
				leaving = leaving || d.leaves(p)
			}
		}
		if !d.going[b.base] && !leaving {
			d.tell(Cancel{e.ID})
		}
	}
}

// gone reports whether all servers of a piece are, and served in their place.
func (d *desk) gone(b *book, p *event.Piece) bool {
	for _, c := range p.Covers {
		a := d.allocation(c.Server)
		switch {
		case d.live[c.Server] != nil, a != nil && a.State != Ended:
			return false
		case a == nil, !d.going[b.base] && a.Next == "": // Nomad forgot it, or has no place for another one
		case !d.replaced(a):
			return false
		}
	}
	return true
}

// replaced reports whether another allocation serves under the name of one that ended.
func (d *desk) replaced(a *Allocation) bool {
	for i := range d.Allocations {
		b := &d.Allocations[i]
		if b.ID != a.ID && b.Namespace == a.Namespace && b.Job == a.Job && b.Name == a.Name && d.serves(b) {
			return true
		}
	}
	return false
}

// lost reports whether time ran out for a piece, and a server of it went and was not replaced.
func (d *desk) lost(p *event.Piece) bool {
	return p.State == event.Expired && slices.ContainsFunc(p.Covers, func(c event.Covered) bool {
		a := d.allocation(c.Server)
		return a != nil && a.State != Live && !d.replaced(a)
	})
}

// reborn reports whether a server of a piece has another life than the one that was approved, and stays.
func (d *desk) reborn(p *event.Piece) bool {
	return slices.ContainsFunc(p.Covers, func(c event.Covered) bool {
		s, a := d.live[c.Server], d.allocation(c.Server)
		return s != nil && a != nil && a.State == Live && s.Incarnation != c.Incarnation
	})
}

// leaves reports whether an allocation of a piece is on its way out, or out with another one on its way.
func (d *desk) leaves(p *event.Piece) bool {
	return slices.ContainsFunc(p.Covers, func(c event.Covered) bool {
		a := d.allocation(c.Server)
		return a != nil && a.State != Live
	})
}

func (d *desk) tell(o Order) { d.plan.Orders = append(d.plan.Orders, o) }

// hold notes why a drain or a deployment does not go on, and counts it.
func (d *desk) hold(count *int, format string, args ...any) {
	*count++
	d.note(format, args...)
}

func (d *desk) note(format string, args ...any) {
	d.plan.Notes = append(d.plan.Notes, fmt.Sprintf(format, args...))
}

// why is what the first of some allocations waits for.
func (d *desk) why(held []*Allocation) string {
	for _, a := range held {
		for _, s := range d.servers[a.ID] {
			for _, p := range d.pieces[s.ID] {
				if !p.State.Over() && p.Why != "" {
					return string(s.ID) + ": " + p.Why
				}
			}
		}
	}
	return "its servers are being prepared"
}

// until is the last moment for something that began at a time, if its deadline may be put off; zero: there is none.
func (s Settings) until(began, deadline time.Time) time.Time {
	if last := began.Add(s.Patience); !deadline.IsZero() && last.After(deadline) {
		return last
	}
	return deadline
}
