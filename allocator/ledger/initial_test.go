package ledger_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// A new app with several replicas is complete as soon as its shards could be taken on, after few plans; then it is left alone.
func TestInitialReplicasArePlacedTogether(t *testing.T) {
	for _, replication := range []spec.Replication{spec.PrimarySecondary, spec.SecondaryOnly} {
		t.Run(fmt.Sprint(replication), func(t *testing.T) {
			const shards, replicas = 96, 3
			w := newWorld(quick())
			plans := 0
			w.plan = func(in placement.Input) placement.Plan {
				plans++
				return placement.Solve(in)
			}
			for i := range 6 {
				w.addAgent(fmt.Sprintf("a%d", i), fmt.Sprintf("z%d", i%3), 1000)
			}
			w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: shards}}, ResourceVersion: 1,
				Replication: replication, Replicas: replicas}
			w.store.chunks[0] = make([]ledger.Row, shards)
			w.elect(1000)
			began := w.real
			for !w.complete(replicas) && w.real < began+30*second {
				w.run(step)
			}
			if took := w.real - began; took > 3*second {
				t.Errorf("complete after %.1f s and %d plans, expected 3 s at most\n%s", float64(took)/1e9, plans, lines(w.trace[:min(len(w.trace), 100)]))
			}
			if plans > 8 {
				t.Errorf("%d plans until it was complete", plans)
			}
			w.run(10 * second)
			var told int
			plans, told = 0, len(w.sent)
			w.run(60 * second)
			if plans > 1 || len(w.sent) != told {
				t.Errorf("in a minute at rest %d plans were made and %d commands sent", plans, len(w.sent)-told)
			}
			w.mustBeWhole(t)
			w.mustBeReplicated(t)
		})
	}
}

// complete reports whether every shard has all its replicas, in sync.
func (w *world) complete(replicas int) bool {
	secondaries := replicas
	if w.replicated() {
		secondaries--
	}
	return !slices.ContainsFunc(w.rows(), func(r ledger.Row) bool {
		return len(r.Secondaries) != secondaries || slices.ContainsFunc(r.Secondaries, func(s ledger.Secondary) bool { return s.State != ledger.InSync })
	})
}
