package ledger_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// A shard that was given back takes its room until that is durable: were the room given away before, in a chunk that is written first, a leader
// that came in between would find both there, and grant both (PROTOCOL R24; docs/model: M_STAGEDROOM).
func TestRoomIsFreeOnceThatIsDurable(t *testing.T) {
	w := newWorld(quick())
	w.addAgent("a0", "z0", 1000)
	w.addAgent("a1", "z1", 1000).failing[message.AddShard] = ledger.Failed
	w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 2}}, ResourceVersion: 1}
	w.store.chunks[0] = make([]ledger.Row, 2)
	ld := w.elect(1000)
	looked := 0
	w.plan = func(in placement.Input) placement.Plan {
		for i, row := range w.rows() {
			if !ld.slow || row.Primary.Server != "a1.kv" {
				continue
			}
			looked++
			if r := in.Shards[i].Primary(); r == nil || r.On < 0 || in.Servers[r.On].ID != "a1.kv" || !in.Shards[i].Pinned {
				t.Errorf("shard %d is on a1.kv by its durable row, and is planned as %+v", i, in.Shards[i])
			}
		}
		return spread(in)
	}
	traced := func(what string) bool {
		return slices.ContainsFunc(w.trace, func(line string) bool { return strings.Contains(line, what) })
	}
	for range 100 {
		w.run(step)
		ld.slow = ld.slow || traced("a1.kv: DropShard")
		if traced("shard given back") {
			break
		}
	}
	w.addAgent("a2", "z2", 1000) // a reason to plan
	w.run(3 * second)
	if looked == 0 {
		t.Fatalf("no plan was made while it was written that the shard was given back\n%s", lines(w.trace))
	}
	ld.slow = false
	w.run(20 * second)
	w.mustBeWhole(t)
}
