package ledger

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/suggest"
)

// wishJob is an operator's wish that is being written. One at a time: the next is checked against what is durable then.
type wishJob struct {
	id   uint64
	wish wish.Wish
	op   WriteOp
	spec Spec
}

func (l *Ledger) request(ev Request) {
	if len(l.wishes) >= wishesMost {
		l.reply(ev.ID, &RequestError{NotNow, "queue", "too many wishes wait for the store; ask again later"})
		return
	}
	l.wishes = append(l.wishes, ev)
}

// nextWish begins the first wish that needs a write, and answers those that need none.
func (l *Ledger) nextWish() {
	for len(l.wishes) > 0 && l.pen.wish == nil && (l.pen.flight == nil || l.pen.flight.wish == nil) {
		r := l.wishes[0]
		switch w := r.Wish.(type) {
		case wish.AbortMove, wish.SkipStep:
			if !l.steer(r) {
				return
			}
			l.wishes = l.wishes[1:]
			continue
		case wish.CreateShards, wish.DeleteShards:
			if !l.changeShards(r) {
				return
			}
			l.wishes = l.wishes[1:]
			continue
		case wish.ReleaseHold:
			n, refusal := l.releaseHold()
			l.out.Replies = append(l.out.Replies, Reply{ID: r.ID, Err: refusal, Remaining: n})
			l.wishes = l.wishes[1:]
			continue
		case wish.UpdateApp:
			if l.tightening(w.Spec) {
				return
			}
		case wish.RequestMaintenance, wish.ApproveMaintenance, wish.FinishMaintenance, wish.CancelMaintenance, wish.CheckStop:
			l.wishes = l.wishes[1:]
			l.askEvents(r)
			continue
		case wish.CreateApp, wish.DeleteApp, wish.DrainServer, wish.ReleaseQuarantine:
		}
		job, refusal := l.prepare(r)
		if job == nil {
			l.wishes = l.wishes[1:]
			l.out.Replies = append(l.out.Replies, Reply{ID: r.ID, Err: refusal, Remaining: l.remainingFor(r.Wish)})
			continue
		}
		l.pen.wish, l.pen.hurry = job, true
	}
}

// prepare checks a wish. Without a job it is refused, or done already.
func (l *Ledger) prepare(r Request) (*wishJob, *RequestError) {
	switch w := r.Wish.(type) {
	case wish.CreateApp:
		return l.prepareCreate(r, w)
	case wish.UpdateApp:
		return l.prepareUpdate(r, w)
	case wish.DeleteApp:
		return l.prepareDelete(r, w)
	case wish.DrainServer:
		return l.prepareDrain(r, w)
	case wish.ReleaseQuarantine:
		return l.prepareRelease(r, w)
	case wish.AbortMove, wish.SkipStep: // steered
	case wish.RequestMaintenance, wish.ApproveMaintenance, wish.FinishMaintenance, wish.CancelMaintenance, wish.CheckStop: // asked of planned events
	case wish.CreateShards, wish.DeleteShards: // rows are changed
	case wish.ReleaseHold: // done at once
	}
	return nil, &RequestError{Unsupported, "wish", "a wish that this version knows"}
}

func (l *Ledger) prepareCreate(r Request, w wish.CreateApp) (*wishJob, *RequestError) {
	if field, expected := w.Spec.Check(); field != "" {
		return nil, &RequestError{Invalid, field, expected}
	}
	if l.apps[w.Spec.Name] != nil {
		return nil, &RequestError{AlreadyExists, "name", fmt.Sprintf("a new name: app %q exists; update it instead", w.Spec.Name)}
	}
	if w.Spec.ResourceVersion != 0 {
		return nil, &RequestError{Invalid, "resource_version", "0 for a new app"}
	}
	spec := w.Spec
	spec.ResourceVersion = 1
	return &wishJob{r.ID, w, PutSpec{spec}, spec}, nil
}

func (l *Ledger) prepareUpdate(r Request, w wish.UpdateApp) (*wishJob, *RequestError) {
	a := l.apps[w.Spec.Name]
	if a == nil {
		return nil, l.noApp(w.Spec.Name)
	}
	if bad := a.conflicts(w.Spec.ResourceVersion); bad != nil {
		return nil, bad
	}
	if field, expected := a.spec.CheckUpdate(w.Spec); field != "" {
		return nil, &RequestError{Invalid, field, expected}
	}
	if bad := l.tighten(a, w.Spec); bad != nil {
		return nil, bad
	}
	spec := w.Spec
	spec.ResourceVersion++
	return &wishJob{r.ID, w, PutSpec{spec}, spec}, nil
}

func (l *Ledger) prepareDelete(r Request, w wish.DeleteApp) (*wishJob, *RequestError) {
	a := l.apps[w.Name]
	if a == nil {
		return nil, l.noApp(w.Name)
	}
	if bad := a.conflicts(w.ResourceVersion); bad != nil {
		return nil, bad
	}
	for _, id := range l.order {
		s := l.servers[id]
		for _, f := range s.all() {
			if f.app == w.Name && !f.over {
				return nil, &RequestError{Conflict, "name", fmt.Sprintf("no server registered for app %q: stop %s first", w.Name, id)}
			}
		}
	}
	a.removed = true // nothing of it is staged or stored any more
	return &wishJob{r.ID, w, RemoveApp{App: w.Name, Chunks: a.chunks()}, a.spec}, nil
}

func (l *Ledger) prepareDrain(r Request, w wish.DrainServer) (*wishJob, *RequestError) {
	s := l.servers[w.Server]
	if s == nil || s.key == nil && len(s.lives) == 0 && !s.drain {
		return nil, &RequestError{NotFound, "server", fmt.Sprintf("a known server, not %q%s; list them with `shardmanager servers`", w.Server, suggest.Or(w.Server, slices.Values(l.order)))}
	}
	if s.drain == !w.Undo {
		return nil, nil
	}
	return &wishJob{r.ID, w, PutDrain{Server: w.Server, On: !w.Undo}, Spec{}}, nil
}

// answerAll gives answers that waited until something was durable.
func (l *Ledger) answerAll(replies []Reply) { l.out.Replies = append(l.out.Replies, replies...) }

func (l *Ledger) noApp(name shard.App) *RequestError {
	return &RequestError{NotFound, "name", fmt.Sprintf("the name of an app, not %q%s; list them with `shardmanager apps`", name, suggest.Or(name, slices.Values(shard.SortedKeys(l.apps))))}
}

func (a *app) conflicts(version uint64) *RequestError {
	if version == a.spec.ResourceVersion {
		return nil
	}
	return &RequestError{Conflict, "resource_version",
		fmt.Sprintf("%d, the present one: somebody changed the app meanwhile; read it again", a.spec.ResourceVersion)}
}

// wishStored does what a wish means once it is durable, and answers.
func (l *Ledger) wishStored(j *wishJob) {
	l.wishes = l.wishes[1:]
	reply := Reply{ID: j.id}
	switch w := j.wish.(type) {
	case wish.CreateApp:
		a := newApp(j.spec)
		l.apps[j.spec.Name] = a
		for i := range a.rows {
			if a.spec.Replication.Primaries() {
				a.unplaced[shard.Index(i)] = false
			}
		}
		l.publishWhole(a)
		l.joined(j.spec.Name)
		l.trace(Decision{What: "app created", App: j.spec.Name})
		reply.Spec = j.spec
	case wish.UpdateApp:
		if a := l.apps[j.spec.Name]; a != nil {
			a.setSpec(j.spec)
			a.plan.Settle(l.now)
		}
		l.trace(Decision{What: "app updated", App: j.spec.Name})
		reply.Spec = j.spec
	case wish.DeleteApp:
		l.removeApp(w.Name)
	case wish.DrainServer:
		s := l.server(w.Server)
		s.drain = !w.Undo
		l.drainChanged(s)
		reply.Remaining = l.remainingFor(w)
	case wish.ReleaseQuarantine:
		l.quarantineReleased(w)
	case wish.ReleaseHold, wish.AbortMove, wish.SkipStep, wish.CreateShards, wish.DeleteShards, wish.RequestMaintenance, wish.ApproveMaintenance, wish.FinishMaintenance, wish.CancelMaintenance, wish.CheckStop: // need no write of their own
	}
	l.out.Replies = append(l.out.Replies, reply)
}

func (l *Ledger) removeApp(name shard.App) {
	for _, at := range shard.SortedKeys(l.apps[name].askers) {
		for _, r := range l.apps[name].askers[at] {
			l.reply(r.ID, l.noApp(name))
		}
	}
	for _, at := range shard.SortedKeys(l.apps[name].batches) {
		for _, b := range l.apps[name].batches[at] {
			if b.left > 0 {
				l.reply(b.reply.ID, l.noApp(name))
			}
			b.left = 0
		}
	}
	for i := range l.apps[name].rows {
		l.deletedTerm = max(l.deletedTerm, l.apps[name].rows[i].Term)
	}
	delete(l.apps, name)
	l.keeper.Forget(name)
	for _, id := range append([]shard.ServerID(nil), l.order...) {
		s := l.servers[id]
		for _, f := range s.lives {
			if f.app == name {
				f.refs, f.owned, f.moves = map[shard.Index]struct{}{}, 0, 0
			}
		}
		if s.info.App == name {
			s.named = 0
		}
		l.forget(s)
	}
	l.out.Publish = append(l.out.Publish, Publication{App: name, Removed: true})
	l.trace(Decision{What: "app deleted", App: name})
}
