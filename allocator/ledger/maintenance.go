package ledger

import (
	"errors"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// lookEvery is how often planned events are looked at while one is open.
const lookEvery = 250 * time.Millisecond

// planned is what the ledger knows of planned events (PROTOCOL R29).
type planned struct {
	maintenance.Book
	wall   time.Time     // the time of day
	wallAt shard.Instant // when that was read
	looked shard.Instant
}

func (l *Ledger) timeOfDay() time.Time { return l.events.wall.Add(l.events.wallAt.WaitAge(l.now)) }

// tickEvents lets planned events go on.
func (l *Ledger) tickEvents() {
	b := &l.events
	if b.wall.IsZero() || !l.after(b.looked, lookEvery) {
		return
	}
	b.looked = l.now
	b.Tick(l.now)
	if b.Open() {
		view := l.fleet()
		b.Advance(l.now, l.timeOfDay(), &view)
	}
}

// askEvents takes what is asked about planned events; it is answered once that is durable.
func (l *Ledger) askEvents(r Request) {
	var bad *maintenance.AskError
	switch w := r.Wish.(type) {
	case wish.RequestMaintenance:
		view := l.fleet()
		bad = l.events.Request(l.now, l.timeOfDay(), w.Request, &view, r.ID)
	case wish.ApproveMaintenance:
		bad = l.events.Waive(l.now, w.ID, r.ID)
	case wish.FinishMaintenance:
		bad = l.events.Finish(l.now, w.ID, w.Servers, r.ID)
	case wish.CancelMaintenance:
		bad = l.events.Cancel(l.now, w.ID, r.ID)
	case wish.CheckStop:
		why, unknown := l.mayStop(w.Server)
		l.out.Replies = append(l.out.Replies, Reply{ID: r.ID, Err: unknown, Note: why})
		return
	case wish.AbortMove, wish.SkipStep, wish.CreateShards, wish.DeleteShards, wish.CreateApp, wish.UpdateApp, wish.DeleteApp, wish.DrainServer, wish.ReleaseHold, wish.ReleaseQuarantine:
	}
	if bad == nil {
		l.pen.hurry = true
		return
	}
	kind := Invalid
	for of, k := range map[error]ErrorKind{maintenance.ErrUnknown: NotFound, maintenance.ErrExists: AlreadyExists, maintenance.ErrConflict: Conflict} {
		if errors.Is(bad, of) {
			kind = k
		}
	}
	l.reply(r.ID, &RequestError{kind, bad.Field, bad.Expected})
}

// eventsStored follows rows of planned events that are durable.
func (l *Ledger) eventsStored(rows []maintenance.Row) {
	if len(rows) == 0 {
		return
	}
	notes, answered := l.events.Stored(rows)
	for _, n := range notes {
		for _, c := range n.Piece.Covers {
			l.trace(Decision{What: "maintenance " + n.State.String(), Server: c.Server, Incarnation: c.Incarnation, Why: report.Joined(n.Event, n.Piece.Why)})
		}
	}
	for _, id := range answered {
		l.reply(id, nil)
	}
	for _, id := range l.order {
		f := l.servers[id].present()
		if f == nil {
			continue
		}
		a := l.apps[f.app]
		if work := l.events.Work(event.Covered(f.Owner), a != nil && a.spec.Maintenance.Everything); work != f.work {
			f.work = work
			l.drainChanged(f.server)
		}
	}
}

// Events lists the planned events, as they are stored.
func (l *Ledger) Events() []event.Event { return l.events.List(l.now) }

// mayStop says why a server may not be stopped now without harm; empty: it may.
func (l *Ledger) mayStop(id shard.ServerID) (why string, refusal *RequestError) {
	view := l.fleet()
	if view.Find(id) == nil {
		return "", &RequestError{NotFound, "server", "a known server, not " + string(id) + "; list them with `shardmanager servers`"}
	}
	return l.events.SafeToStop(l.now, &view, id), nil
}

// fleet is the view that planned events are weighed with.
func (l *Ledger) fleet() caps.View {
	v := caps.View{Apps: make(map[shard.App]caps.Caps, len(l.apps)), Needs: make(map[shard.App]caps.Needs, len(l.apps)), Cluster: l.s.Maintenance, Exposed: l.exposed}
	for name, a := range l.apps {
		v.Apps[name], v.Needs[name] = a.spec.Maintenance, a.spec.Needs()
	}
	if l.hold.On {
		v.Hold = "losses are held: " + l.hold.Why
	}
	for _, id := range l.order {
		f := l.servers[id].present()
		if f == nil {
			continue
		}
		s := caps.Server{ID: id, App: f.app, Locality: f.server.info.Locality, Incarnation: f.Incarnation, Primaries: f.owned, Replicas: len(f.refs), Moves: f.moves}
		if st := l.serverStatus(f.server, f); st.State != report.Attached {
			s.Down = st.State.String() + ": " + st.Reason
		} else if l.after(f.heard, l.s.Interval*3/2) { // also while evidence of silence is gathered anew
			s.Down = "silent"
		}
		if a := l.apps[f.app]; a != nil && f.work == event.Demote {
			s.Promotable = l.promotable(a, f)
		}
		v.Servers = append(v.Servers, s)
	}
	return v
}

// promotable counts the primaries of a server that a secondary in sync elsewhere could take over.
func (l *Ledger) promotable(a *app, f *life) int {
	n := 0
	for at := range f.refs {
		row := &a.rows[at]
		if row.Primary == f.Owner && slices.ContainsFunc(row.Secondaries, func(s Secondary) bool { return s.State == InSync && l.known(s.Owner).attached() }) {
			n++
		}
	}
	return n
}

// exposed is the worst shard of an app if servers went down, of those with a replica there. It costs a look at all of them.
func (l *Ledger) exposed(name shard.App, servers []shard.ServerID) (worst caps.Exposure) {
	a := l.apps[name]
	if a == nil {
		return worst
	}
	for _, id := range servers {
		s := l.servers[id]
		if s == nil || s.present() == nil {
			continue
		}
		f := s.present()
		for _, at := range shard.SortedKeys(f.refs) {
			e := caps.Exposure{Shard: a.id(at)}
			list, missing := l.replicaStatus(a, at)
			e.Unavailable = missing
			for i := range list {
				here := slices.Contains(servers, list[i].Server)
				if here {
					e.Here++
				}
				if here || list[i].Down != "" {
					e.Unavailable++
				}
			}
			if e.Unavailable > worst.Unavailable {
				worst = e
			}
		}
	}
	return worst
}

// replicaStatus lists the replicas of a shard, and how many its app's spec asks for beyond them.
func (l *Ledger) replicaStatus(a *app, at shard.Index) (list []report.Replica, missing int) {
	row, w := &a.rows[at], a.work[at]
	add := func(o Owner, r report.Replica) {
		r.Server, r.Incarnation = o.Server, o.Incarnation
		if f := l.known(o); f != nil {
			r.Judge(l.serverStatus(f.server, f), l.keeper.Quarantined(a.spec.Name, at), l.events.Covering(event.Covered(o)))
		}
		list = append(list, r)
	}
	if row.Primary.Incarnation != 0 {
		handing := w != nil && row.Open != nil && row.Open.Phase == Opened && w.prepared && w.mayHand
		add(row.Primary, report.Replica{Role: shard.Primary, Idle: !w.settled() || handing})
	}
	for i := range row.Secondaries {
		s := &row.Secondaries[i]
		add(s.Owner, report.Replica{Role: shard.Secondary, Progress: report.SecondaryProgress(s.State), Idle: s.State != InSync})
	}
	return list, max(0, a.replicas(at)-len(list))
}
