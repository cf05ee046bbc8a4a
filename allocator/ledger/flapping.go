package ledger

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// countFence counts a fence towards a server's probation, and returns the row to be stored with it (PROTOCOL R30). A write that is made again
// counts it once. One that its agent or an operator asked for is no sign of flapping.
func (l *Ledger) countFence(f *life) []WriteOp {
	if f.ownWord || len(f.askers) > 0 {
		return nil
	}
	if f.counted {
		return []WriteOp{PutMark{l.keeper.FencedAgain(l.now, f.Server)}}
	}
	f.counted = true
	row, length := l.keeper.Fenced(l.now, f.Server, f.why, l.s.Probation)
	if length > 0 {
		l.trace(Decision{What: "probation", App: f.app, Server: f.Server, Why: fmt.Sprintf("fenced again: no shards for %s", length)})
	}
	return []WriteOp{PutMark{row}}
}

// onProbation is how long a server gets no shards yet, and why. It is waived while no other server of its app takes any: to flap is better than
// not to serve.
func (l *Ledger) onProbation(f *life) (left time.Duration, reason string) {
	left, reason = l.keeper.Probations.On(l.now, f.Server)
	if left == 0 {
		return 0, ""
	}
	for _, id := range l.order {
		if o := l.servers[id].present(); o != nil && o.app == f.app && l.takes(o) {
			if otherLeft, _ := l.keeper.Probations.On(l.now, o.Server); otherLeft == 0 {
				return left, reason
			}
		}
	}
	return 0, ""
}

// died blames shards for a proven death, before anything of the server fails over.
func (l *Ledger) died(f *life) {
	a := l.apps[f.app]
	if a == nil {
		return
	}
	var inCallback, held []probation.Suspect
	for _, at := range shard.SortedKeys(f.refs) {
		w, who := a.work[at], probation.Suspect{App: f.app, Index: at}
		switch {
		case w != nil && w.calling(f):
			inCallback = append(inCallback, who)
		case w == nil || w.served || w.prepared:
			held = append(held, who)
		}
	}
	name := func(who probation.Suspect) shard.ID { return a.id(who.Index) }
	heldBack, acquitted := l.keeper.Died(l.now, f.Server, inCallback, held, name, l.s.Quarantine)
	for _, q := range heldBack {
		l.trace(Decision{What: "held back", App: q.App, Shard: q.Shard, Server: f.Server, Why: q.Why})
	}
	l.acquit(acquitted, "servers die without it")
}

// endTrials puts shards in quarantine that were held back while no server died any more.
func (l *Ledger) endTrials() {
	convicted, acquitted := l.keeper.Tick(l.now, func(name shard.App) bool {
		for _, id := range l.order {
			if f := l.servers[id].present(); f != nil && f.app == name && f.attached() && f.alive() {
				return true
			}
		}
		return false
	})
	for _, q := range convicted {
		l.trace(Decision{What: "quarantined", App: q.App, Shard: q.Shard, Why: q.Why})
	}
	l.acquit(acquitted, "no server is left")
}

// acquit lets shards be placed that were held back.
func (l *Ledger) acquit(list []probation.Suspect, why string) {
	for _, who := range list {
		a := l.apps[who.App]
		if a == nil {
			continue
		}
		l.trace(Decision{What: "held back no more", App: who.App, Shard: a.id(who.Index), Why: why})
		l.advance(a, who.Index)
	}
}

// calling reports whether a callback at an incarnation is under way.
func (w *work) calling(f *life) bool {
	for _, c := range w.calls {
		if c.to == f && c.open {
			return true
		}
	}
	return false
}

// suspectOf finds the shard that an id names.
func (l *Ledger) suspectOf(app shard.App, id shard.ID) (probation.Suspect, bool) {
	a := l.apps[app]
	if a == nil {
		return probation.Suspect{}, false
	}
	at, ok := a.find(id)
	return probation.Suspect{App: app, Index: at}, ok
}

// prepareRelease checks a wish to end a quarantine.
func (l *Ledger) prepareRelease(r Request, w ReleaseQuarantine) (*wishJob, *RequestError) {
	who, ok := l.suspectOf(w.App, w.Shard)
	if !ok || l.keeper.Quarantined(w.App, who.Index) == "" {
		return nil, &RequestError{NotFound, "shard", fmt.Sprintf("a shard in quarantine, not %q of app %q", w.Shard, w.App)}
	}
	return &wishJob{r.ID, w, PutMark{probation.RemoveQuarantine(w)}, Spec{}}, nil
}

// quarantineReleased lets a shard be placed again.
func (l *Ledger) quarantineReleased(w ReleaseQuarantine) {
	if who, ok := l.suspectOf(w.App, w.Shard); ok {
		l.keeper.Release(who)
		l.trace(Decision{What: "quarantine released", App: w.App, Shard: w.Shard})
		l.advance(l.apps[w.App], who.Index)
		l.membershipChanged(w.App)
	}
}
