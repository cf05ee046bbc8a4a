package ledger_test

import (
	"fmt"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// moving makes a world in which shard 0 of a0 is about to be moved to a1, and a2 looks on.
func moving(shards uint32) *world {
	w := newWorld(quick())
	for i := range 3 {
		w.addAgent(fmt.Sprintf("a%d", i), fmt.Sprintf("z%d", i), 1000)
	}
	w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: shards}}, ResourceVersion: 1}
	w.store.chunks[0] = make([]ledger.Row, shards)
	w.elect(1000)
	w.run(4 * second)
	return w
}

// wish makes the next plan contain a move, and asks for a plan.
func (w *world) wish(at shard.Index, to shard.ServerID) {
	done := false
	w.plan = func(in placement.Input) placement.Plan {
		p := spread(in)
		s := in.Shards[at]
		if r := s.Primary(); !done && r != nil && !s.Pinned {
			done = true
			from := in.Servers[r.On].ID
			p.Moves = append(p.Moves, placement.Move{Shard: at, Kind: placement.Migrate, From: from, To: to, Reason: placement.Balance})
			p.Decisions = append(p.Decisions, placement.Decision{Shard: at, Kind: placement.Migrate, From: from, To: to, Reason: placement.Balance, Why: "wished for"})
		}
		return p
	}
	w.nudge()
}

// faults of a party, and what brings it back where that does not happen by itself.
var partyFaults = []struct {
	name   string
	strike func(w *world)
}{
	{"the source's host crashes", func(w *world) { w.agents[0].crash() }},
	{"the source's host crashes and returns", func(w *world) { w.agents[0].crash(); w.agents[0].restart() }},
	{"the source's application dies", func(w *world) { w.agents[0].appDies() }},
	{"the source pauses", func(w *world) { w.agents[0].paused = true }},
	{"the source's agent is away", func(w *world) { w.agents[0].agentDown = true; w.agents[0].hangUp() }},
	{"the source's stream breaks", func(w *world) { w.agents[0].hangUp() }},
	{"the source's key is lost", func(w *world) { delete(w.store.keys, w.agents[0].id) }},
	{"the target's host crashes", func(w *world) { w.agents[1].crash() }},
	{"the target's host crashes and returns", func(w *world) { w.agents[1].crash(); w.agents[1].restart() }},
	{"the target's application dies", func(w *world) { w.agents[1].appDies() }},
	{"the target pauses", func(w *world) { w.agents[1].paused = true }},
	{"the target's agent is away", func(w *world) { w.agents[1].agentDown = true; w.agents[1].hangUp() }},
	{"the target's stream breaks", func(w *world) { w.agents[1].hangUp() }},
	{"both hosts crash", func(w *world) { w.agents[0].crash(); w.agents[1].crash() }},
	{"the leader crashes", func(w *world) { w.crashLeader(false); w.elect(1000) }},
	{"the leader crashes after its last write", func(w *world) { w.crashLeader(true); w.elect(1000) }},
	{"the leader stops in order", func(w *world) { w.store.lock.step(ledger.StopRequested{}) }},
	{"the leader and the source crash", func(w *world) { w.crashLeader(true); w.elect(1000); w.agents[0].crash() }},
	{"the leader and the target crash", func(w *world) { w.crashLeader(false); w.elect(1000); w.agents[1].crash() }},
	{"the leader is isolated", func(w *world) { w.store.lock.blind = true; w.store.lock = nil; w.elect(1000) }},
	{"the store is full", func(w *world) { w.store.failing = true }},
	{"the source answers no more", func(w *world) { w.agents[0].conn.held = true }},
	{"the target answers no more", func(w *world) { w.agents[1].conn.held = true }},
}

func (w *world) crashLeader(commit bool) {
	ld := w.store.lock
	if commit {
		for _, wr := range ld.writes {
			w.commit(ld, wr)
		}
	}
	ld.die()
	w.store.lock = nil
}

// TestCrashBetweenSteps strikes each party before every step of a whole move, lets the fault last, ends it, and looks whether every shard
// is owned in the end and no promise was broken on the way.
func TestCrashBetweenSteps(t *testing.T) {
	begun := map[ledger.MovePhase]int{}
	for _, f := range partyFaults {
		t.Run(f.name, func(t *testing.T) {
			for at := int64(8); at < 34; at++ {
				w := moving(3)
				source := w.rows()[0].Primary.Server
				w.sortAgents(source)
				w.wish(0, w.agents[1].id)
				w.run(at * step)
				if m := w.rows()[0].Open; m != nil {
					begun[m.Phase]++
				}
				w.note("STRIKE")
				f.strike(w)
				w.run(15 * second)
				w.mustBeWhole(t)
				w.calm()
				w.run(20 * second)
				w.mustBeWhole(t)
				w.mustBeOwned(t)
			}
		})
	}
	for _, phase := range []ledger.MovePhase{ledger.Opened, ledger.Moved} {
		if begun[phase] == 0 {
			t.Errorf("no fault struck in phase %d: the test does not test what it says", phase)
		}
	}
}

// sortAgents puts the source first.
func (w *world) sortAgents(source shard.ServerID) {
	for i, a := range w.agents {
		if a.id == source {
			w.agents[0], w.agents[i] = w.agents[i], w.agents[0]
		}
	}
}
