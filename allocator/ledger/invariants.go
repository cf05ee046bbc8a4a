package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/row"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// recountMost is how many rows are recounted after every write; those of larger apps after each recountEach-th.
const recountMost, recountEach = 256, 64

// checkChange holds a row that is about to be staged to the rules.
func (l *Ledger) checkChange(a *app, at shard.Index, next *Row) {
	_, pending := a.staged[at]
	invariant.Check(!pending && !a.removed, "%s/%d: a second change while one is not durable yet (R24)", a.spec.Name, at)
	old, w := &a.rows[at], a.work[at]
	stopped := func(o Owner) bool {
		return l.known(o).gone() || w != nil && old.Open != nil && (o == old.Open.From && w.handed || o == old.Open.To && w.stopped)
	}
	wrong := row.Change{Old: old, Next: next, Stopped: stopped}.Wrong()
	invariant.Check(wrong == "", "%s/%d: %s: %+v becomes %+v", a.spec.Name, at, wrong, *old, *next)
}

// checkCounts recounts what is kept by increments, and what watchers of maps know.
func (l *Ledger) checkCounts() {
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		if a.removed || len(a.rows) > recountMost && l.pen.last%recountEach != 0 {
			continue
		}
		t, named := row.NewTally(), map[*server]int{}
		for i := range a.rows {
			var staged *Row
			if next, ok := a.staged[shard.Index(i)]; ok {
				staged = &next
			}
			t.Add(&a.rows[i], staged)
			e := a.published.entries[i]
			for _, s := range append(e.others[:len(e.others):len(e.others)], e.server) {
				named[s]++
			}
		}
		invariant.Check(a.moves == t.Moves, "app %s has %d moves, %d are counted", name, t.Moves, a.moves)
		for _, id := range l.order {
			s := l.servers[id]
			_, listed := a.published.servers[id]
			invariant.Check(named[s] == 0 || listed && s.named >= named[s], "app %s: %d shards name %s, which is listed: %t, and has %d", name, named[s], id, listed, s.named)
			for _, f := range s.all() {
				invariant.Check(f.app != name || f.owned == t.Primaries[f.Owner] && f.seconded == t.Secondaries[f.Owner] && f.moves == t.Touching[f.Owner],
					"%v counts %d, %d and %d: %+v", f.Owner, f.owned, f.seconded, f.moves, t)
			}
		}
	}
}
