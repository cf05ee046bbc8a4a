package ledger

import (
	"slices"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// load takes over from an earlier leader: everything it did is in the rows, everything it only knew is learnt again. Leases may be
// granted and moves carried on at once; the wait of a fence starts when the predecessor's last grant must have been (PROTOCOL R1).
func (l *Ledger) load(ev Loaded) {
	l.tenure = leading
	l.epoch, l.confirmed = ev.Epoch, ev.Confirmed
	l.base = l.s.PredecessorsEnd(ev.Acquired, ev.Clean)
	l.evidence = ev.Acquired.Add(l.s.Validity + settleExtra)
	for _, state := range ev.Apps {
		l.loadApp(state)
		l.apps[state.Spec.Name].calm = l.base.Add(shard.CoverDrift(max(l.s.Validity, restMost))) // an earlier leader may have handed over
	}
	fenced := make(map[Owner]string, len(ev.Fences))
	for _, f := range ev.Fences {
		fenced[f.Owner] = f.Reason
	}
	l.keeper.Load(l.now, ev.Probations, ev.Quarantines, l.suspectOf)
	l.events.Load(l.now, ev.Events)
	l.loadServers(ev, fenced)
	for _, id := range ev.Drains {
		l.server(id).drain = true
		l.watchDrain(l.server(id))
	}
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		l.publishWhole(a)
		a.plan.Settle(l.now)
		a.plan.Joined = l.now
		for i := range a.rows {
			l.advance(a, shard.Index(i))
		}
	}
	why := "the predecessor left cleanly"
	if !ev.Clean {
		why = "fences wait for the predecessor's last grant"
	}
	l.trace(Decision{What: "leading", Why: why})
}

func (l *Ledger) loadApp(state AppState) {
	a := newApp(state.Spec)
	l.apps[state.Spec.Name] = a
	if a.spec.Space.Named {
		a.rows = append(a.rows, state.Rows...)
		a.loadNames()
	}
	copy(a.rows, state.Rows)
	for i := range a.rows {
		row, at := &a.rows[i], shard.Index(i)
		row.PrimaryMove, row.MembersTold = 0, 0
		row.ForgetGone() // whose incarnation nothing else would count
		for _, o := range row.Owners() {
			if f := l.life(a.spec.Name, o); f != nil {
				f.refs[at] = struct{}{}
			}
		}
		if f := l.known(row.Primary); f != nil {
			f.owned++
		}
		for i := range row.Secondaries {
			if f := l.known(row.Secondaries[i].Owner); f != nil {
				f.seconded++
			}
		}
		l.countJoins(a, row, 1)
		if m := row.Open; m != nil {
			l.countMove(a, m.Ends(), 1)
			w := l.workOf(a, at)
			w.mayHand, w.reason, w.from = true, m.Reason, m.From.Server
			if m.Phase == Moved {
				row.PrimaryMove = m.Move
			}
		}
	}
}

// loadServers takes the keys as read after the acquire. Whoever is in a row and in no key is awaited, fenced, or over because a newer one is registered.
func (l *Ledger) loadServers(ev Loaded, fenced map[Owner]string) {
	keys := make(map[shard.ServerID]Registration, len(ev.Registered))
	for _, k := range ev.Registered {
		keys[k.Server.ID] = k
		l.server(k.Server.ID)
	}
	for _, r := range ev.Rests {
		l.loadRest(r, keys)
	}
	l.loadLoose(ev.Fences, keys)
	for _, id := range l.order {
		s := l.servers[id]
		for _, f := range s.all() {
			if why, ok := fenced[f.Owner]; ok && keys[id].Server.Incarnation != f.Incarnation && !slices.Contains(keys[id].Ended, f.Incarnation) {
				// Its key may have been taken while it was still attached, so a newer key alone proves nothing; its agent's word that it ended does.
				f.fencing, f.conflict, f.why, f.fencedAt = true, true, why, ev.Acquired
			}
		}
		key, found := keys[id]
		l.keyIs(s, found, key)
	}
}

// loadRest notes that a rest lease may be out: it was granted before the predecessor's last grant (PROTOCOL R19).
func (l *Ledger) loadRest(r Rest, keys map[shard.ServerID]Registration) {
	app := keys[r.Owner.Server].Server.App
	if s := l.servers[r.Owner.Server]; s != nil && len(s.lives) > 0 {
		app = s.all()[0].app
	}
	f := l.life(app, r.Owner)
	f.restLength, f.resting = r.Length, true
	f.rest = l.base.Add(shard.CoverDrift(r.Length))
}
