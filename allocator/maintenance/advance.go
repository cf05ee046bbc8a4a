package maintenance

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// look is one look at all events.
type look struct {
	b     *Book
	now   shard.Instant
	wall  time.Time
	view  *caps.View
	taken map[shard.ServerID]bool // by active pieces
}

// Advance decides about all pieces, as things are: wall is the time of day, which starts, deadlines and windows are in.
func (b *Book) Advance(now shard.Instant, wall time.Time, view *caps.View) {
	view = b.complete(now, view)
	l := &look{b, now, wall, view, map[shard.ServerID]bool{}}
	var open []*entry
	for _, id := range shard.SortedKeys(b.all) {
		n := b.all[id]
		if n.wanted.Over() {
			continue
		}
		open = append(open, n)
		for i := range n.wanted.Pieces {
			l.follow(n, i)
			if n.wanted.Pieces[i].State.Active() || n.isDurable(i).Active() {
				l.take(n.wanted.Pieces[i].Covers)
			}
		}
	}
	l.approve(open)
}

func (l *look) take(list []event.Covered) {
	for _, c := range list {
		l.taken[c.Server] = true
	}
}

// follow takes one piece on that is active, or can be no more.
func (l *look) follow(n *entry, i int) {
	p := &n.wanted.Pieces[i]
	if p.State.Over() || n.isDurable(i) != p.State {
		return // over, or its row is being written
	}
	returned, known := l.returned(p)
	switch {
	case p.State == event.Waiting && !known && n.wanted.Kind == event.Decommission:
		l.b.set(l.now, n, i, event.Done, 0, "its servers are gone")
	case p.State == event.Waiting && l.missing(p, n.wanted.Duration) != "":
		l.b.set(l.now, n, i, event.Expired, 0, fmt.Sprintf("%s was not there for %s", l.missing(p, n.wanted.Duration), n.wanted.Duration))
	case p.State == event.Waiting && !n.wanted.Deadline.IsZero() && l.wall.Add(n.wanted.Duration).After(n.wanted.Deadline):
		l.b.set(l.now, n, i, event.Expired, 0, "not approved in time for its deadline; last: "+p.Why)
	case p.State == event.Waiting:
	case p.State == event.Approved && slices.ContainsFunc(p.Covers, l.back) && !n.wanted.Announced: // it crashed: nobody was told to restart it yet
		l.b.set(l.now, n, i, event.Waiting, 0, "a server came back by itself before it was prepared")
	case returned && n.wanted.Kind.Returns() && !n.wanted.Announced:
		l.b.set(l.now, n, i, event.Done, 0, "its servers are back")
	case n.wanted.Kind == event.Decommission && !known:
		l.b.set(l.now, n, i, event.Done, 0, "its servers are gone")
	case p.State == event.Approved && (l.prepared(n, p) || n.wanted.Announced && !l.wall.Before(n.wanted.Start)):
		l.b.set(l.now, n, i, event.Ready, n.wanted.Duration, "")
	case p.State == event.Approved && n.left(l.now, i) == 0 && !n.wanted.Announced:
		l.b.set(l.now, n, i, event.Waiting, 0, fmt.Sprintf("it could not be prepared in %s: %s", Patience, l.unprepared(n, p)))
	case p.State == event.Approved:
		p.Why = l.unprepared(n, p)
	case n.left(l.now, i) == 0:
		l.b.set(l.now, n, i, event.Expired, 0, fmt.Sprintf("nobody said within %s that it was done", n.wanted.Duration))
	}
}

// returned reports whether all servers of an approved piece have come back in a newer incarnation, and whether any of them is known at all.
func (l *look) returned(p *event.Piece) (returned, known bool) {
	returned = true
	for _, c := range p.Covers {
		s := l.view.Find(c.Server)
		known = known || s != nil && s.Incarnation != 0
		returned = returned && l.back(c)
	}
	return returned, known
}

// back reports whether a server that was approved is up in another incarnation.
func (l *look) back(c event.Covered) bool {
	s := l.view.Find(c.Server)
	return s != nil && s.Incarnation != c.Incarnation && s.Down == ""
}

// missing is a server of a piece that nobody has seen for longer than a piece may be down; empty: there is none.
func (l *look) missing(p *event.Piece, longest time.Duration) shard.ServerID {
	for _, c := range p.Covers {
		if since := l.b.absent.since[c.Server]; !since.IsZero() && since.WaitAge(l.now) >= longest {
			return c.Server
		}
	}
	return ""
}

// unprepared says what is still to be done on the servers of a piece; empty: nothing.
func (l *look) unprepared(n *entry, p *event.Piece) string {
	for _, c := range p.Covers {
		s := l.view.Find(c.Server)
		if s == nil || s.Incarnation != c.Incarnation {
			continue // over: what it had is a failover's business
		}
		left, what := s.Replicas, "replicas"
		switch event.WorkFor(n.wanted.Kind, n.wanted.Impact, l.view.Apps[s.App].Everything) {
		case event.Nothing:
			left = 0
		case event.Demote:
			left, what = s.Promotable, "primaries that another replica can take over"
		case event.Primaries:
			left, what = s.Primaries, "primaries"
		case event.All:
		}
		if left > 0 {
			return fmt.Sprintf("%s has %d %s to give away", c.Server, left, what)
		}
		if s.Moves > 0 {
			return fmt.Sprintf("%s has %d moves under way", c.Server, s.Moves)
		}
	}
	return ""
}

func (l *look) prepared(n *entry, p *event.Piece) bool { return l.unprepared(n, p) == "" }

// approve approves what may be, one piece at a time: the event whose last approval is longest ago has the first choice.
func (l *look) approve(open []*entry) {
	for {
		slices.SortStableFunc(open, func(x, y *entry) int { return cmp.Compare(x.wanted.Turn, y.wanted.Turn) })
		if !slices.ContainsFunc(open, l.approveOne) {
			return
		}
	}
}

func (l *look) approveOne(n *entry) bool {
	leaves := l.leaves(n)
	for i := range n.wanted.Pieces {
		p := &n.wanted.Pieces[i]
		if p.State != event.Waiting || n.isDurable(i) != event.Waiting {
			continue
		}
		refused := l.refuses(n, i, leaves)
		if refused.Why != "" {
			p.Why, p.Never = refused.Why, refused.Never
			continue
		}
		for k := range p.Covers {
			if s := l.view.Find(p.Covers[k].Server); s != nil {
				p.Covers[k].Incarnation = s.Incarnation
			}
		}
		l.b.turn++
		n.wanted.Turn = l.b.turn
		l.b.set(l.now, n, i, event.Approved, l.patience(n), "")
		l.take(p.Covers)
		return true
	}
	return false
}

// patience is how long the preparation of a piece may take: of what is announced, until it happens.
func (l *look) patience(n *entry) time.Duration {
	if n.wanted.Announced {
		return max(Patience, n.wanted.Start.Sub(l.wall))
	}
	return Patience
}

// refuses says why a piece is not approved now; an empty refusal: it is. leaves is what speaks against the whole event. What is announced needs no
// approval: it is prepared in time.
func (l *look) refuses(n *entry, i int, leaves caps.Refusal) caps.Refusal {
	w := &n.wanted
	early := w.Start.Sub(l.wall)
	if w.Announced {
		if early > Patience {
			return caps.Refusal{Why: "its preparation begins " + Patience.String() + " before " + w.Start.UTC().Format(time.RFC3339)}
		}
		return caps.Refusal{}
	}
	if early > 0 && !w.Waived {
		return caps.Refusal{Why: "its start, " + w.Start.UTC().Format(time.RFC3339)}
	}
	if leaves.Why != "" {
		return leaves
	}
	if !n.retry[i].Passed(l.now) {
		return caps.Refusal{Why: w.Pieces[i].Why}
	}
	ids := make([]shard.ServerID, 0, len(w.Pieces[i].Covers))
	for _, c := range w.Pieces[i].Covers {
		if l.taken[c.Server] { // a server both approved and failed counts once, but it is not approved twice
			return caps.Refusal{Why: string(c.Server) + " is in another event"}
		}
		if s := l.view.Find(c.Server); s == nil || s.Down == whyAbsent {
			return caps.Refusal{Why: string(c.Server) + " is not there: it is waited for"}
		}
		ids = append(ids, c.Server)
	}
	if !w.Waived {
		if r := l.view.Shut(ids, l.wall, w.Duration); r.Why != "" {
			return r
		}
	}
	return l.view.Weigh(ids, l.taken)
}

// leaves says why the servers of an event may not go for good, all of them and those of others that go already; an empty refusal: they may.
func (l *look) leaves(n *entry) caps.Refusal {
	if n.wanted.Kind != event.Decommission {
		return caps.Refusal{}
	}
	going := map[shard.ServerID]bool{}
	for _, id := range shard.SortedKeys(l.b.all) {
		other := l.b.all[id]
		for i := range other.wanted.Pieces {
			p := &other.wanted.Pieces[i]
			if other != n && !p.State.Active() || p.State.Over() || other.wanted.Kind != event.Decommission {
				continue
			}
			for _, c := range p.Covers {
				going[c.Server] = true
			}
		}
	}
	return l.view.Spares(going)
}

// SafeToStop says why a server of the view may not be stopped now without harm; empty: it may. It may where a piece that covers it is ready, and where one would
// be approved and had nothing to prepare.
func (b *Book) SafeToStop(now shard.Instant, view *caps.View, id shard.ServerID) string {
	view = b.complete(now, view)
	s := view.Find(id)
	taken := map[shard.ServerID]bool{}
	for _, id := range shard.SortedKeys(b.all) {
		n := b.all[id]
		for i := range n.wanted.Pieces {
			p := &n.wanted.Pieces[i]
			switch {
			case !p.State.Active() && !n.isDurable(i).Active():
			case p.State == event.Ready && n.isDurable(i) == event.Ready && slices.Contains(p.Covers, event.Covered{Server: s.ID, Incarnation: s.Incarnation}):
				return ""
			default:
				for _, c := range p.Covers {
					taken[c.Server] = true
				}
			}
		}
	}
	switch {
	case s.Primaries > 0:
		return fmt.Sprintf("it is primary of %d shards; `shardmanager drain %s --wait` moves them away", s.Primaries, s.ID)
	case s.Moves > 0:
		return fmt.Sprintf("%d moves from or to it are under way", s.Moves)
	}
	return view.Weigh([]shard.ServerID{s.ID}, taken).Why
}
