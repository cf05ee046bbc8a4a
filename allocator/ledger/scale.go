package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/scaling"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// replicas is how many replicas a shard should have.
func (a *app) replicas(at shard.Index) int { return a.scaler.Wanted(at, a.spec.Policy().Replicas) }

// scale says anew how many replicas the shards of an app should have, where that follows their load. No more shards change at once than may move.
func (l *Ledger) scale(a *app, in *placement.Input) {
	if a.spec.Scaling == nil || len(a.unplaced) > 0 {
		return // whatever has no primary comes first
	}
	a.scaler.Begin(l.now, *a.spec.Scaling, scaling.Places(in), in.Policy.Moves-a.moves-a.plan.Missing)
	var kept []Owner
	for i := range a.rows {
		at := shard.Index(i)
		if a.rows[i].Deleting || a.hole(at) {
			continue
		}
		kept = a.rows[i].Kept(kept[:0])
		if why := a.scaler.Look(at, kept, in.Policy.Replicas, func() string { return l.restless(a, at) }); why != "" {
			l.trace(Decision{What: "replicas wanted", App: a.spec.Name, Shard: a.id(at), Why: why})
		}
		in.Shards[i].Wanted = a.replicas(at)
	}
}

// grows reports whether a shard gets more replicas than it needs at least: one after another, and caps on moves hold for them.
func (t *task) grows() bool {
	return t.a.spec.Scaling != nil && len(t.row.Secondaries)+1 >= t.a.spec.LeastReplicas()
}

// restless says why a shard is to keep as many replicas as it has now; empty: it may get others.
func (l *Ledger) restless(a *app, at shard.Index) string {
	list, missing := l.replicaStatus(a, at)
	if _, pending := a.staged[at]; pending || a.rows[at].Open != nil || missing > 0 {
		return "its replicas to be whole and at rest"
	}
	for _, r := range list {
		if r.Down != "" {
			return string(r.Server) + ": " + r.Down
		}
	}
	return ""
}
