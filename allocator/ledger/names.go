package ledger

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// This file is the named key space: the application names its shards, which come and go as rows do. An index is free again once nobody
// can hold what it had; its terms go on from there, and so do those of an id that comes back at another index.

// namesMost is the most shards that one wish may create or delete: a chunk's worth, so that a wish is a few writes at most.
const namesMost = ChunkShards

// batch is a wish that is done once all its rows are durable.
type batch struct {
	reply Reply
	left  int
}

// find is the index of a shard's id; false if the app has no such shard now.
func (a *app) find(id shard.ID) (shard.Index, bool) {
	if !a.spec.Space.Named {
		return a.spec.Space.Hash.Index(id)
	}
	at, ok := a.named[id]
	return at, ok
}

// hole reports whether no shard has an index.
func (a *app) hole(at shard.Index) bool { return a.spec.Space.Named && a.rows[at].ID == "" }

// loadNames takes over the names of rows that were stored; names are those of shards that are being deleted too.
func (a *app) loadNames() {
	a.ids = make([]shard.ID, len(a.rows))
	for i := range a.rows {
		at, id := shard.Index(i), a.rows[i].ID
		if a.ids[i] = id; id == "" {
			a.free = append(a.free, at)
		} else {
			a.named[id] = at
		}
	}
}

// changeShards carries out a wish to create or delete shards. It reports false while a row that it needs is being written.
func (l *Ledger) changeShards(r Request) bool {
	var name shard.App
	var ids []shard.ID
	var check func(*app, shard.ID) *RequestError
	var stage func(*app, shard.ID) shard.Index
	switch w := r.Wish.(type) {
	case wish.CreateShards:
		name, ids, check, stage = w.App, w.IDs, (*app).mayCreate, l.createShard
	case wish.DeleteShards:
		name, ids, check, stage = w.App, w.IDs, (*app).mayDelete, l.deleteShard
	case wish.AbortMove, wish.SkipStep, wish.CreateApp, wish.UpdateApp, wish.DeleteApp, wish.DrainServer, wish.ReleaseHold, wish.ReleaseQuarantine,
		wish.RequestMaintenance, wish.ApproveMaintenance, wish.FinishMaintenance, wish.CancelMaintenance, wish.CheckStop:
	}
	a := l.apps[name]
	if a == nil || a.removed {
		l.reply(r.ID, l.noApp(name))
		return true
	}
	bad := a.checkNames(ids, check)
	if _, more := r.Wish.(wish.CreateShards); more && bad == nil && len(a.rows)-len(a.free)+len(ids) > shard.MaxShards {
		bad = &RequestError{Invalid, "shards", fmt.Sprintf("at most %d shards in an app, which has %d", shard.MaxShards, len(a.rows)-len(a.free))}
	}
	if bad != nil {
		l.reply(r.ID, bad)
		return true
	}
	for _, id := range ids {
		if at, ok := a.named[id]; ok {
			if _, pending := a.staged[at]; pending {
				return false
			}
		}
	}
	b := &batch{reply: Reply{ID: r.ID}, left: len(ids)}
	for _, id := range ids {
		at := stage(a, id)
		a.batches[at] = append(a.batches[at], b)
	}
	if len(ids) == 0 {
		l.answerAll([]Reply{b.reply})
	}
	return true
}

// checkNames says what is wrong with the ids of a wish: nothing is changed unless all of them are right.
func (a *app) checkNames(ids []shard.ID, check func(*app, shard.ID) *RequestError) *RequestError {
	if !a.spec.Space.Named {
		return &RequestError{Invalid, "app", fmt.Sprintf("an app with a named key space: the shards of %q are slices of a hash, fixed when it was created", a.spec.Name)}
	}
	if len(ids) > namesMost {
		return &RequestError{Invalid, "shards", fmt.Sprintf("at most %d in one call, not %d", namesMost, len(ids))}
	}
	seen := make(map[shard.ID]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			return &RequestError{Invalid, "shards", fmt.Sprintf("each id once, not %q again", id)}
		}
		seen[id] = true
		if bad := check(a, id); bad != nil {
			return bad
		}
	}
	return nil
}

func (a *app) mayCreate(id shard.ID) *RequestError {
	at, there := a.named[id]
	switch {
	case !shard.ValidName(string(id)):
		return &RequestError{Invalid, "shards", fmt.Sprintf("%s, not %q", shard.NameRule, id)}
	case there && a.rows[at].Deleting:
		return &RequestError{NotNow, "shards", fmt.Sprintf("an id that is free: %q is being deleted, and somebody may hold it still; ask again", id)}
	case there:
		return &RequestError{AlreadyExists, "shards", fmt.Sprintf("a new id: app %q has a shard %q", a.spec.Name, id)}
	}
	return nil
}

func (a *app) mayDelete(id shard.ID) *RequestError {
	if at, there := a.named[id]; !there || a.rows[at].Deleting {
		return noShard(a, id)
	}
	return nil
}

// createShard stages a row for a new shard, at an index that is free or at the end.
func (l *Ledger) createShard(a *app, id shard.ID) shard.Index {
	var at shard.Index
	if n := len(a.free); n > 0 {
		at, a.free = a.free[n-1], a.free[:n-1]
	} else {
		at = shard.Index(len(a.rows))
		a.rows, a.ids = append(a.rows, Row{}), append(a.ids, "")
		a.published.entries = append(a.published.entries, entry{})
	}
	a.ids[at], a.named[id] = id, at
	next := Row{ID: id, Move: a.rows[at].Move + 1, Term: max(a.rows[at].Term, l.usedTerm())} // above all terms that the id ever had elsewhere
	l.stage(a, at, next, urgent, Decision{What: "shard created"})
	return at
}

// deleteShard stages the decision: from then on nobody is granted the shard, and whoever may hold it is told to drop it.
func (l *Ledger) deleteShard(a *app, id shard.ID) shard.Index {
	at := a.named[id]
	next := a.rows[at]
	next.Deleting = true
	next.Move++
	l.stage(a, at, next, urgent, Decision{What: "shard to be deleted"})
	return at
}

// namesStored follows a durable change of a shard's name or end.
func (l *Ledger) namesStored(a *app, at shard.Index, old, row *Row) {
	p := &a.published
	switch {
	case row.ID == "": // it is gone
		l.deletedTerm = max(l.deletedTerm, row.Term)
		if w := a.work[at]; w != nil {
			for _, f := range w.strays { // came back while the end was being written
				l.holdsUnknown(f, old.ID, shard.Order{Term: row.Term, Move: row.Move})
			}
		}
		delete(a.named, old.ID)
		l.keeper.ForgetShard(probation.Suspect{App: a.spec.Name, Index: at})
		a.avoid.Forget(at)
		a.left.Forget(at)
		a.loads.Forget(at)
		a.scaler.Forget(at)
		a.ids[at], a.free = "", append(a.free, at)
	case row.Deleting && !old.Deleting:
		a.clearUnplaced(at)
		l.publishEntry(a, at, entry{})
		p.changedNames = append(p.changedNames, shard.Named{Index: at})
	case old.ID == "":
		p.changedNames = append(p.changedNames, shard.Named{Index: at, ID: row.ID})
		if a.spec.Replication.Primaries() {
			a.setUnplaced(at, false)
		}
		a.plan.Want(l.now, solveSoon)
		l.reappeared(a, at)
	}
	for _, b := range a.batches[at] {
		if b.left--; b.left == 0 {
			l.answerAll([]Reply{b.reply})
		}
	}
	delete(a.batches, at)
}

// deleting brings a deleted shard to its end: everybody who may hold it drops it, or is over.
func (t *task) deleting() {
	o := shard.Order{Term: t.row.Term, Move: t.row.Move}
	held := len(t.w.strays) > 0
	for _, owner := range t.row.Owners() {
		f := t.known(owner)
		if f.gone() || t.w.acknowledgedBy(owner, o) {
			continue
		}
		held = true
		c := t.command(f, purpose.Delete, o)
		if t.stubborn(f, c.since) {
			t.fence(f, "it does not drop the deleted shard "+string(t.a.id(t.at)))
		}
	}
	if !held {
		t.stage(t.a, t.at, Row{Term: t.row.Term, Move: t.row.Move + 1}, lazy, Decision{What: "shard deleted", Why: "nobody holds it any more"})
	}
}

// unknown is a shard that an incarnation holds although the app has none of that name: it was deleted, and the incarnation was away.
type unknown struct {
	order shard.Order
	next  shard.Instant // to be told again then
	tries int
}

// holdsUnknown notes such a shard; tellUnknown tells the incarnation to drop it, until it did.
func (l *Ledger) holdsUnknown(f *life, id shard.ID, highest shard.Order) {
	if f.unknown == nil {
		f.unknown = map[shard.ID]unknown{}
	}
	f.unknown[id] = unknown{order: highest}
	l.trace(Decision{What: "stray shard", App: f.app, Shard: id, Server: f.Server, Incarnation: f.Incarnation, Why: "held, and the app has no such shard"})
}

func (l *Ledger) tellUnknown(f *life) {
	if !f.attached() {
		return
	}
	for _, id := range shard.SortedKeys(f.unknown) {
		if u := f.unknown[id]; u.next.Passed(l.now) {
			u.tries++
			u.next = l.now.Add(l.s.StepDeadline + timing.Backoff(u.tries))
			f.unknown[id] = u
			l.send(f.stream, message.Command{ID: message.CommandID{Epoch: l.epoch, Incarnation: f.Incarnation, Shard: id, Order: u.order, Kind: message.DropShard}, Deadline: l.s.StepDeadline})
		}
	}
}

// unknownDropped takes the answer.
func (l *Ledger) unknownDropped(f *life, ev Result) {
	if u, ok := f.unknown[ev.ID.Shard]; ok && ev.ID.Kind == message.DropShard && ev.ID.Order == u.order && (ev.Status == Done || ev.Status == Stale) {
		delete(f.unknown, ev.ID.Shard)
	}
}

// reappeared makes whoever still holds a shard of the name a stray of the new one.
func (l *Ledger) reappeared(a *app, at shard.Index) {
	id := a.id(at)
	for _, server := range l.order {
		for _, f := range l.servers[server].all() {
			if _, holds := f.unknown[id]; holds && f.app == a.spec.Name {
				delete(f.unknown, id)
				l.holdsStray(a, at, f)
			}
		}
	}
}
