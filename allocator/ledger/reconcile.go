package ledger

import "github.com/shardmanager/shardmanager/internal/shard"

// reconcile compares what an incarnation holds with what the rows say (PROTOCOL R4): what it should serve and does not is granted
// again, what it should not hold is dropped, and everything that waits for it goes on.
func (l *Ledger) reconcile(f *life, held []shard.Held) {
	a := l.apps[f.app]
	if a == nil {
		return
	}
	has := make(map[shard.Index]shard.Held, len(held))
	var strays []shard.Index
	for _, h := range held {
		at, ok := a.find(h.Shard)
		if !ok {
			if h.Phase != shard.None {
				l.holdsUnknown(f, h.Shard, h.Max)
			}
			continue
		}
		has[at] = h
		if _, named := f.refs[at]; !named && h.Phase != shard.None {
			l.holdsStray(a, at, f)
			strays = append(strays, at)
		}
	}
	for _, at := range shard.SortedKeys(f.refs) {
		l.compare(a, at, f, has[at])
	}
	for _, at := range strays {
		l.advance(a, at)
	}
	l.advanceAll(f)
}

// holdsStray notes that an incarnation holds a shard that no row says it may.
func (l *Ledger) holdsStray(a *app, at shard.Index, f *life) {
	l.settledWork(a, at).addStray(f)
	l.trace(Decision{What: "stray shard", App: a.spec.Name, Shard: a.id(at), Server: f.Server, Incarnation: f.Incarnation,
		Why: "held, and no row says so"})
}

// compare looks at one shard that a row names the incarnation for.
func (l *Ledger) compare(a *app, at shard.Index, f *life, h shard.Held) {
	row := &a.rows[at]
	if s := row.SecondaryOf(f.Owner); s != nil {
		l.compareSecondary(a, at, s, h)
	}
	if row.Primary != f.Owner {
		return
	}
	w := a.work[at]
	if h.Phase == shard.Serving && h.Term == row.PrimaryTerm {
		if w == nil && row.MembersMove > 0 { // whether it heard of its last membership is not known
			w = l.workOf(a, at)
		}
		if w == nil {
			l.publishShard(a, at)
		} else if !w.served {
			(&task{l, a, at, row, w}).acknowledged()
		}
		return
	}
	if row.Open != nil && row.Open.Phase != Moved && h.Phase == shard.Forwarding {
		return // it hands over, or did
	}
	w = l.workOf(a, at)
	granted := shard.Order{Term: row.PrimaryTerm, Move: row.PrimaryMove}
	w.served = false
	w.idle = row.PrimaryMove == 0 || h.Max.Compare(granted) > 0 ||
		h.Max == granted && h.Phase != shard.Prepared && h.Phase != shard.Serving
}

// compareSecondary looks at one shard that a row names the incarnation as a secondary of.
func (l *Ledger) compareSecondary(a *app, at shard.Index, s *Secondary, h shard.Held) {
	if m := a.rows[at].Open; m != nil && (m.From == s.Owner || m.To == s.Owner) {
		return // its part in the move says what it is
	}
	if (s.State == Syncing || s.State == InSync) && h.Phase != shard.Following {
		w := l.settledWork(a, at)
		if s.State == InSync && h.Phase != shard.None && s.Order.Compare(h.Max) > 0 {
			w.astray = append(w.astray, acknowledgement{s.Owner, s.Order})
			return
		}
		w.lapsed = append(w.lapsed, acknowledgement{s.Owner, s.Order})
	}
}
