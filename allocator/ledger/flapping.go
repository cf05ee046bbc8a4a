package ledger

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/allocator/wish"
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

// onProbation is how long a server gets no shards yet, and why; waived while no other server of its app takes any: to flap is better than no service.
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
	var taking, called, held []probation.Charge
	for _, at := range shard.SortedKeys(f.refs) {
		w, role := a.work[at], shard.Primary
		if a.rows[at].SecondaryOf(f.Owner) != nil {
			role = shard.Secondary
		}
		switch kind := w.calling(l.now, f); {
		case kind.TakesOn():
			taking = append(taking, a.charge(at, kind.Taken()))
		case kind != 0:
			called = append(called, a.charge(at, role))
		case w == nil || w.served || w.prepared:
			held = append(held, a.charge(at, role))
		}
	}
	if len(taking) > 0 {
		called = taking // what is new there is likelier than what it had
	}
	name := func(who probation.Suspect) shard.ID { return a.id(who.Index) }
	heldBack, acquitted := l.keeper.Died(l.now, f.Server, called, held, name, l.s.Quarantine)
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

// charge is a shard in one role, as something that a server may die of.
func (a *app) charge(at shard.Index, role shard.Role) probation.Charge {
	return probation.Charge{Suspect: probation.Suspect{App: a.spec.Name, Index: at}, Role: role}
}

// brokenWith is how long before the news of a death a callback may have failed by it: its connection breaks first.
const brokenWith = time.Second

// calling is the callback at an incarnation that is under way, or just failed, one that takes the shard on before others; 0: none.
func (w *work) calling(now shard.Instant, f *life) (kind purpose.Purpose) {
	if w == nil {
		return 0
	}
	for _, c := range w.calls {
		broken := c.fails > 0 && c.failed.WaitAge(now) < brokenWith
		if c.to == f && (c.open || broken) && !kind.TakesOn() {
			kind = c.purpose
		}
	}
	return kind
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

// suspectPatience bounds how long a suspect waits for copies of other shards: some may have nowhere to be.
const suspectPatience = 30 * time.Second

// suspectWaits says what a callback waits for that would take on a shard of which servers may have died; empty: nothing. Suspects are tried one
// by one at a server, since the companions of a poison shard would share its strikes for ever. Where there are secondaries the next server
// is put at risk only when every other shard can lose it again: two deaths in a row are two copies.
func (t *task) suspectWaits(c *call) string {
	if !c.purpose.TakesOn() {
		return ""
	}
	struck, suspected := t.keeper.Suspected(t.a.charge(t.at, c.purpose.Taken()))
	if !suspected {
		return ""
	}
	if n := t.thin(t.a) + t.only(c.to); n > 0 && !t.after(struck, suspectPatience) {
		return fmt.Sprintf("copies of %d other shards to be in sync again: a server may have died of this one", n)
	}
	if other := c.to.alone; other != nil && other != c && other.open && other.stream == c.to.stream && !other.next.Passed(t.now) {
		return "another shard to be taken on at " + string(c.to.Server) + ": one of them may be poison"
	}
	c.to.alone = c
	return ""
}

// thin counts the shards that have a copy and not as many in sync as they should, on servers that are heard of: what a silent server has may be lost,
// and a row may still name one that died. Suspects do not count.
func (l *Ledger) thin(a *app) int {
	if !a.spec.Replication.Primaries() || a.thinAt == l.now {
		return a.thin
	}
	a.thin, a.thinAt = 0, l.now
	for i := range a.rows {
		row, at := &a.rows[i], shard.Index(i)
		n, who := row.Copies(l.heard), probation.Suspect{App: a.spec.Name, Index: at}
		if n > 0 && n < a.replicas(at) && !row.Deleting && !l.keeper.Blamed(who) {
			a.thin++
		}
	}
	return a.thin
}

// only counts the other shards of which a server has the one copy, suspects too: those cannot wait for each other, but none is to be lost.
func (t *task) only(f *life) (n int) {
	for at := range f.refs {
		row := &t.a.rows[at]
		if at != t.at && t.a.spec.Policy().Replicas > 1 && row.Copies(t.heard) == 1 && row.Copies(func(o Owner) bool { return o == f.Owner }) == 1 {
			n++
		}
	}
	return n
}

// heard reports whether an owner lives, and was heard of.
func (l *Ledger) heard(o Owner) bool {
	f := l.known(o)
	return f != nil && f.attached() && f.alive() && !f.suspicion.suspect
}

// prepareRelease checks a wish to end a quarantine.
func (l *Ledger) prepareRelease(r Request, w wish.ReleaseQuarantine) (*wishJob, *RequestError) {
	who, ok := l.suspectOf(w.App, w.Shard)
	if !ok || l.keeper.Quarantined(w.App, who.Index) == "" {
		return nil, &RequestError{NotFound, "shard", fmt.Sprintf("a shard in quarantine, not %q of app %q", w.Shard, w.App)}
	}
	return &wishJob{r.ID, w, PutMark{probation.RemoveQuarantine(w)}, Spec{}}, nil
}

// quarantineReleased lets a shard be placed again.
func (l *Ledger) quarantineReleased(w wish.ReleaseQuarantine) {
	if who, ok := l.suspectOf(w.App, w.Shard); ok {
		l.keeper.Release(who)
		l.trace(Decision{What: "quarantine released", App: w.App, Shard: w.Shard})
		l.advance(l.apps[w.App], who.Index)
		l.membershipChanged(w.App)
	}
}
