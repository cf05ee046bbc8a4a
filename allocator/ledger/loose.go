package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// An incarnation is loose if it may serve without anybody's word: its agent was told so, or may have been by an earlier leader, and has confirmed
// nothing else (PROTOCOL R34). No wait outlasts that. Invariant: no incarnation of an app that promises one primary is loose.

// mayServeOn is what the servers of an app are told.
func (l *Ledger) mayServeOn(name shard.App) bool {
	a := l.apps[name]
	return a != nil && a.spec.ServesOn() && a.strict.IsZero()
}

// endFenced lets the shards of a fenced incarnation go elsewhere once every lease of it is over; at once if its app does not wait for that, which is
// remembered (PROTOCOL R28).
func (l *Ledger) endFenced(f *life) {
	end, a := l.leasesEnd(f, f.fencedAt), l.apps[f.app]
	switch {
	case end.Passed(l.now):
		l.end4ever(f, "fenced and waited for: "+f.why)
	case a != nil && a.spec.NonExclusive && a.strict.IsZero():
		a.calm = shard.LaterOf(a.calm, end)
		l.end4ever(f, "fenced, and its app is not exclusive: "+f.why)
	}
}

// loose finds an incarnation of an app that is loose; nil: none is.
func (l *Ledger) loose(name shard.App) *life {
	for _, id := range l.order {
		for _, f := range l.servers[id].all() {
			if f.loose && f.app == name {
				return f
			}
		}
	}
	return nil
}

// tightening reports whether a wish for one primary has to wait: the servers are being told, and confirm with the renewal after next.
func (l *Ledger) tightening(next Spec) bool {
	a := l.apps[next.Name]
	if a == nil || a.conflicts(next.ResourceVersion) != nil || !a.spec.TightenedBy(next) {
		return false
	}
	if wrong, _ := a.spec.CheckUpdate(next); wrong != "" {
		return false
	}
	if a.strict.IsZero() {
		a.strict = l.now.Add(5 * l.s.Interval)
	}
	return l.loose(next.Name) != nil && !a.strict.Passed(l.now)
}

// tighten refuses a spec that promises one primary while somebody may be another; then the app stays as it is.
func (l *Ledger) tighten(a *app, next Spec) *RequestError {
	if !a.spec.TightenedBy(next) {
		return nil
	}
	field := "on_coordination_loss"
	if a.spec.NonExclusive {
		field = "exclusive"
	}
	if f := l.loose(next.Name); f != nil {
		a.strict = shard.Instant{}
		return &RequestError{Conflict, field, fmt.Sprintf("every server to have heard of it before: %s under incarnation %s has not, and may serve without a "+
			"lease. Let it reach an allocator and ask again; if it is gone for good, say with accept_overlap: true that it may be so", f.Server, f.Incarnation)}
	}
	if calm := shard.LaterOf(l.base, a.calm); !calm.Passed(l.now) { // until the base an earlier leader may tell somebody otherwise
		a.strict = shard.Instant{}
		return &RequestError{Conflict, field, fmt.Sprintf("no change before every lease is over that was not waited for: ask again in %s", calm.Remaining(l.now).Round(time.Millisecond))}
	}
	return nil
}

// loadLoose takes those for loose that an earlier leader fenced while their app let them serve on: nobody knows whether they have heard of it.
func (l *Ledger) loadLoose(fences []Fence, keys map[shard.ServerID]Registration) {
	for _, fence := range fences {
		a, key := l.apps[fence.Owner.Server.App()], keys[fence.Owner.Server]
		if a == nil || !a.spec.ServesOn() || key.Server.Incarnation == fence.Owner.Incarnation || slices.Contains(key.Ended, fence.Owner.Incarnation) {
			continue
		}
		if f := l.life(a.spec.Name, fence.Owner); len(f.refs) == 0 {
			f.over, f.why = true, fence.Reason
		}
	}
}
