// Package maintenance approves planned events piece by piece (DESIGN §9, PROTOCOL R29). It is pure: values in, rows to be stored out.
//
// A piece waits until caps, windows and what failures already took permit it; then it is approved, and its servers count as down and are
// prepared; once they are, the deployer may go ahead, until the servers are back or the time is over. Whatever is decided becomes known only
// when it is durable. Called by allocator/ledger, which stores the rows, makes the view, and does the work on servers.
//
// Invariants, each with a test:
//   - at no time more is approved than the caps of a view permit, what is down counted once, but for announced events, which happen anyway;
//   - what one leader made durable the next goes on with;
//   - a piece ends: in order, by its time, or taken back. It is never approved twice at once.
package maintenance

import (
	"cmp"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// checkpointEvery is how often the row of an active event is stored anew: a new leader counts on from there, because clocks of two machines
	// are never compared. Until it is over a piece lasts that much longer, at most, for every change of leaders.
	checkpointEvery = time.Minute

	// Patience is how long the preparation of a piece may take; then the approval is taken back, and asked for again after a pause.
	Patience = 15 * time.Minute

	retryAfter = time.Minute // after a preparation that took too long, or that a crash ended

	// remembered is how many events that are over are kept to be shown.
	remembered = 100

	// MostOpen is how many events may be open at once.
	MostOpen = 1000
)

// Row is an event to be stored, or one to be deleted.
type Row struct {
	Event event.Event
	Gone  bool
}

// Note is something that became of a piece, durably.
type Note struct {
	Event string
	State event.State
	Piece event.Piece
}

// Book has the events of a group. The zero Book has none.
type Book struct {
	all    map[string]*entry
	rows   []string // ids whose rows are to be stored or deleted
	turn   uint64
	absent absentees
}

// entry is one event. What is wanted becomes durable by a row.
type entry struct {
	wanted  event.Event
	durable event.Event // pieces as stored; no pieces: nothing is stored yet
	since   []shard.Instant
	retry   []shard.Instant
	stored  shard.Instant // when its row was last asked for
	closed  shard.Instant
	gone    bool
	waiters []uint64 // requests to be answered when the row is durable
	riding  []uint64 // those whose row is being written
}

func newEntry(now shard.Instant, e event.Event) *entry {
	n := &entry{wanted: e.Clone(), stored: now, since: make([]shard.Instant, len(e.Pieces)), retry: make([]shard.Instant, len(e.Pieces))}
	for i := range n.since {
		n.since[i] = now
	}
	return n
}

// Load takes over what an earlier leader stored.
func (b *Book) Load(now shard.Instant, list []event.Event) {
	for _, e := range list {
		n := newEntry(now, e)
		n.durable, n.closed = e.Clone(), now
		b.put(n)
		b.turn = max(b.turn, e.Turn)
	}
}

func (b *Book) put(n *entry) {
	if b.all == nil {
		b.all = map[string]*entry{}
	}
	b.all[n.wanted.ID] = n
}

// left is what is left of an active piece; 0: its time is over.
func (n *entry) left(now shard.Instant, i int) time.Duration {
	return max(0, n.wanted.Pieces[i].Left-max(0, n.since[i].WaitAge(now)))
}

// isDurable is the state of a piece as it is stored; 0: nothing is.
func (n *entry) isDurable(i int) event.State {
	if len(n.durable.Pieces) == 0 {
		return 0
	}
	return n.durable.Pieces[i].State
}

// set changes a piece; it counts when its row is durable.
func (b *Book) set(now shard.Instant, n *entry, i int, to event.State, left time.Duration, why string) {
	p := &n.wanted.Pieces[i]
	p.State, p.Left, p.Why, p.Never = to, left, why, false
	n.since[i] = now
	if n.closed = now; to == event.Waiting {
		n.retry[i] = now.Add(retryAfter)
		for k := range p.Covers {
			p.Covers[k].Incarnation = 0
		}
	}
	b.store(now, n)
}

// store asks for the row of an event to be stored.
func (b *Book) store(now shard.Instant, n *entry) {
	n.stored = now
	if !slices.Contains(b.rows, n.wanted.ID) {
		b.rows = append(b.rows, n.wanted.ID)
	}
}

// Covering is the id of an event an active piece of which covers an incarnation now; the first by id, if there are several. Empty: none.
func (b *Book) Covering(who event.Covered) string {
	for _, id := range shard.SortedKeys(b.all) {
		n := b.all[id]
		for i := range n.wanted.Pieces {
			p := &n.wanted.Pieces[i]
			if (p.State.Active() || n.isDurable(i).Active()) && slices.Contains(p.Covers, who) {
				return id
			}
		}
	}
	return ""
}

// Work is what is to be done on an incarnation: nothing, unless an approval of it is durable.
func (b *Book) Work(who event.Covered, everything bool) event.Work {
	most := event.Nothing
	for _, n := range b.all {
		for i := range n.wanted.Pieces {
			if p := &n.wanted.Pieces[i]; p.State.Active() && n.isDurable(i).Active() && slices.Contains(p.Covers, who) {
				most = max(most, event.WorkFor(n.wanted.Kind, n.wanted.Impact, everything))
			}
		}
	}
	return most
}

// Planned reports whether a server is still to go down in an event that has begun: what leaves other servers had better not go there.
func (b *Book) Planned(id shard.ServerID) bool {
	for _, n := range b.all {
		for i := range n.wanted.Pieces {
			if n.wanted.Turn == 0 {
				break
			}
			if p := &n.wanted.Pieces[i]; !p.State.Over() && p.Has(id) {
				return true
			}
		}
	}
	return false
}

// Underway reports whether servers of an app are to go down and come back in an event that has begun, or are away.
func (b *Book) Underway(app shard.App) bool {
	for _, n := range b.all {
		for i := range n.wanted.Pieces {
			p := &n.wanted.Pieces[i]
			of := func(c event.Covered) bool { return c.Server.App() == app }
			if n.wanted.Turn > 0 && n.wanted.Kind.Returns() && !p.State.Over() && slices.ContainsFunc(p.Covers, of) {
				return true
			}
		}
	}
	return false
}

// Open reports whether there is an event that is not over.
func (b *Book) Open() bool {
	for _, n := range b.all {
		if !n.wanted.Over() {
			return true
		}
	}
	return false
}

// Waiting reports whether rows wait to be stored.
func (b *Book) Waiting() bool { return len(b.rows) > 0 }

// Take hands out at most n rows, as things stand now. Stored or Return must follow.
func (b *Book) Take(now shard.Instant, n int) []Row {
	n = min(n, len(b.rows))
	rows := make([]Row, n)
	for i, id := range b.rows[:n] {
		e := b.all[id]
		rows[i] = Row{Event: e.wanted.Clone(), Gone: e.gone}
		for k := range rows[i].Event.Pieces {
			if p := &rows[i].Event.Pieces[k]; p.State.Active() {
				p.Left = max(time.Millisecond, e.left(now, k))
			}
		}
		e.riding, e.waiters = append(e.riding, e.waiters...), nil
	}
	b.rows = slices.Clone(b.rows[n:])
	return rows
}

// Return puts rows that could not be stored before all others again.
func (b *Book) Return(rows []Row) {
	ids := make([]string, 0, len(rows)+len(b.rows))
	for _, r := range rows {
		ids = append(ids, r.Event.ID)
	}
	for _, id := range b.rows {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	b.rows = ids
}

// Stored notes that rows are durable: what became of pieces, and the requests that may be answered.
func (b *Book) Stored(rows []Row) (notes []Note, answered []uint64) {
	for _, r := range rows {
		n := b.all[r.Event.ID]
		if n == nil {
			continue
		}
		for i := range r.Event.Pieces {
			if p := r.Event.Pieces[i]; p.State != n.isDurable(i) {
				notes = append(notes, Note{Event: r.Event.ID, State: p.State, Piece: p})
			}
		}
		n.durable = r.Event
		answered, n.riding = append(answered, n.riding...), nil
		if r.Gone {
			delete(b.all, r.Event.ID)
		}
	}
	return notes, answered
}

// List copies the events as they are stored, open ones first, each group by id.
func (b *Book) List(now shard.Instant) []event.Event {
	list := make([]event.Event, 0, len(b.all))
	for _, id := range shard.SortedKeys(b.all) {
		n := b.all[id]
		if len(n.durable.Pieces) == 0 {
			continue
		}
		e := n.durable.Clone()
		for i := range e.Pieces {
			p, w := &e.Pieces[i], &n.wanted.Pieces[i]
			if p.State != w.State {
				continue
			}
			p.Why, p.Never = w.Why, w.Never
			if p.State.Active() {
				p.Left = n.left(now, i)
			}
		}
		list = append(list, e)
	}
	slices.SortStableFunc(list, func(x, y event.Event) int {
		switch a, c := x.Over(), y.Over(); {
		case a == c:
			return 0
		case c:
			return -1
		}
		return 1
	})
	return list
}

// Tick stores active events anew from time to time, and forgets the oldest of those that are over.
func (b *Book) Tick(now shard.Instant) {
	var over []*entry
	for _, id := range shard.SortedKeys(b.all) {
		n := b.all[id]
		switch {
		case n.wanted.Active() && n.stored.WaitAge(now) >= checkpointEvery:
			b.store(now, n)
		case !n.gone && n.wanted.Over():
			over = append(over, n)
		}
	}
	if len(over) <= remembered {
		return
	}
	slices.SortStableFunc(over, func(x, y *entry) int { return cmp.Compare(y.closed.WaitAge(now), x.closed.WaitAge(now)) })
	for _, n := range over[:len(over)-remembered] {
		n.gone = true
		b.store(now, n)
	}
}
