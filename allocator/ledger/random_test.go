package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/probation"
	wanted "github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestRandom plays random faults: crashes of leaders, agents and applications, pauses, lost keys and locks, streams that hold or lose what
// is on them, commands that arrive late or again, callbacks that fail or never answer, writes that wait or fail, clocks that drift.
// World.check and the other checkers look after every step; in the end everything calms down, and every shard must have an owner. Each
// case draws a few kinds of faults and repeats them: rare combinations are met far more often than if all kinds were mixed.
func TestRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		playRandom(t, rapid.SliceOfN(rapid.IntRange(0, len(actions)-1), 2, 9).Draw(t, "kinds of faults"))
	})
}

// TestRandomExclusiveness plays only what matters where an app promises one primary at times, and at times not.
func TestRandomExclusiveness(t *testing.T) {
	var kinds []int
	for i, a := range actions {
		if slices.Contains([]string{"operator wants one primary, or not", "time passes", "agent alone or back", "leader crashes", "leader isolated",
			"agent prefers a stale leader"}, a.name) {
			kinds = append(kinds, i)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		playRandom(t, rapid.SliceOfN(rapid.SampledFrom(kinds), 3, 9).Draw(t, "kinds of faults"))
	})
}

func playRandom(t *rapid.T, kinds []int) {
	w := randomWorld(t)
	for range rapid.IntRange(20, 120).Draw(t, "actions") {
		act(t, w, kinds)
		w.mustBeWhole(t)
	}
	w.calm()
	w.run(60 * second)
	w.mustBeWhole(t)
	w.mustBeOwned(t)
}

func (w *world) mustBeWhole(t interface{ Fatalf(string, ...any) }) {
	if len(w.faults) > 0 {
		t.Fatalf("broken promises:\n%s\ntrace:\n%s", lines(w.faults), lines(w.trace[max(0, len(w.trace)-400):]))
	}
}

func lines(list []string) string {
	out := ""
	for _, l := range list {
		out += l + "\n"
	}
	return out
}

// restless are settings for random worlds: a stale leader grants long after its successor could fence, were it not for R1, and probations are over
// before the end, when every server must take shards.
func restless() ledger.Settings {
	s := quick()
	s.LeaderValidity = 9e9
	s.Probation = probation.Terms{Window: 20 * time.Second, First: 2 * time.Second, Most: 8 * time.Second}
	return s
}

func randomWorld(t *rapid.T) *world {
	w := newWorld(restless())
	w.plan = w.restless
	drift := rapid.SampledFrom([]int64{1000, 990, 1010})
	for i := range 3 {
		w.addAgent(fmt.Sprintf("a%d", i), fmt.Sprintf("z%d", i%2), drift.Draw(t, "agent's clock"))
	}
	w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 4}}, ResourceVersion: 1}
	w.store.chunks[0] = make([]ledger.Row, 4)
	w.elect(drift.Draw(t, "leader's clock"))
	w.run(3 * second)
	return w
}

// restless places like spread, and moves shards elsewhere with every plan.
func (w *world) restless(in placement.Input) placement.Plan {
	p := spread(in)
	w.names++
	n, moves := len(in.Shards), 0
	for i := range n {
		s := in.Shards[(i+w.names)%n]
		r := s.Primary()
		if s.Pinned || r == nil {
			continue
		}
		to := in.Servers[(r.On+1+w.names%max(1, len(in.Servers)-1))%len(in.Servers)]
		if to.Accepts && in.Servers[r.On].ID != to.ID {
			p.Moves = append(p.Moves, placement.Move{Shard: s.Index, Kind: placement.Migrate, From: in.Servers[r.On].ID, To: to.ID, Reason: placement.Balance})
			if moves++; moves == 3 {
				break
			}
		}
	}
	return p
}

type action struct {
	name string
	do   func(t *rapid.T, w *world)
}

func act(t *rapid.T, w *world, kinds []int) {
	a := actions[kinds[rapid.IntRange(0, len(kinds)-1).Draw(t, "action")]]
	w.note("ACTION %s", a.name)
	a.do(t, w)
	if w.store.lock == nil && rapid.IntRange(0, 2).Draw(t, "elect") > 0 {
		ld := w.elect(rapid.SampledFrom([]int64{1000, 990, 1010}).Draw(t, "leader's clock"))
		w.note("ACTION elected %s", ld.name)
	}
	w.run(rapid.Int64Range(0, 12).Draw(t, "steps") * step)
}

func anAgent(t *rapid.T, w *world) *agent {
	return w.agents[rapid.IntRange(0, len(w.agents)-1).Draw(t, "agent")]
}

func aLeader(t *rapid.T, w *world) *leader {
	if len(w.leaders) == 0 {
		return nil
	}
	return w.leaders[rapid.IntRange(0, len(w.leaders)-1).Draw(t, "leader")]
}

func onAgent(do func(t *rapid.T, w *world, a *agent)) func(*rapid.T, *world) {
	return func(t *rapid.T, w *world) { do(t, w, anAgent(t, w)) }
}

func onLeader(do func(t *rapid.T, w *world, ld *leader)) func(*rapid.T, *world) {
	return func(t *rapid.T, w *world) {
		if ld := aLeader(t, w); ld != nil {
			do(t, w, ld)
		}
	}
}

var actions = []action{
	{"time passes", func(t *rapid.T, w *world) { w.run(rapid.Int64Range(1, 60).Draw(t, "steps") * step) }},
	{"agent paused or resumed", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.paused = a.up && !a.paused })},
	{"application hangs or goes on", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.hang(a.active() && !a.hung) })},
	{"application cut off from its agent or back", onAgent(func(_ *rapid.T, _ *world, a *agent) {
		a.silence()
		a.unpulled = !a.unpulled
	})},
	{"agent's process away or back", onAgent(func(_ *rapid.T, _ *world, a *agent) {
		a.agentDown = a.up && !a.agentDown
		a.hangUp()
	})},
	{"host crashes", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.crash() })},
	{"host returns", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.restart() })},
	{"application dies", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.appDies() })},
	{"incarnation ends, unproven", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.endsUnproven() })},
	{"key lost", onAgent(func(_ *rapid.T, w *world, a *agent) { delete(w.store.keys, a.id) })},
	{"stream breaks", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.hangUp() })},
	{"stream holds or flows", onAgent(func(_ *rapid.T, _ *world, a *agent) {
		if a.conn != nil {
			a.conn.held = !a.conn.held
		}
	})},
	{"agent cut off or back", onAgent(func(_ *rapid.T, _ *world, a *agent) {
		if a.cut = !a.cut; a.cut {
			a.hangUp()
		}
	})},
	{"agent's store away or back", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.blind = !a.blind })},
	{"agent alone or back", onAgent(func(_ *rapid.T, _ *world, a *agent) {
		a.cut = !a.cut
		if a.blind, a.hidden = a.cut, a.cut; a.cut {
			a.hangUp()
		}
	})},
	{"hidden from probes or not", onAgent(func(_ *rapid.T, _ *world, a *agent) { a.hidden = !a.hidden })},
	{"drain on or off", onAgent(func(_ *rapid.T, _ *world, a *agent) {
		a.drain = !a.drain
		a.say(ledger.DrainRequested{Stream: a.stream(), On: a.drain})
	})},
	{"rest", onAgent(func(t *rapid.T, _ *world, a *agent) {
		a.away = rapid.Int64Range(1, 20).Draw(t, "away") * second
		a.askRest()
	})},
	{"callback fails or works", onAgent(func(t *rapid.T, _ *world, a *agent) {
		k := rapid.SampledFrom([]message.Kind{message.AddShard, message.PrepareAddShard, message.PrepareDropShard, message.DropShard}).Draw(t, "kind")
		if _, ok := a.failing[k]; ok {
			delete(a.failing, k)
		} else if a.failing[k] = ledger.Failed; k == message.PrepareDropShard {
			a.failing[k] = rapid.SampledFrom([]ledger.Status{ledger.Failed, ledger.Busy}).Draw(t, "status")
		}
	})},
	{"answers lost or not", onAgent(func(t *rapid.T, _ *world, a *agent) {
		k := rapid.SampledFrom([]message.Kind{message.AddShard, message.DropShard, message.PrepareAddShard, message.PrepareDropShard, message.CancelMove}).Draw(t, "kind")
		a.mute[k] = !a.mute[k]
	})},
	{"old command arrives again", func(t *rapid.T, w *world) {
		if len(w.sent) == 0 {
			return
		}
		s := w.sent[len(w.sent)-1-rapid.IntRange(0, min(len(w.sent)-1, 40)).Draw(t, "command")]
		for _, a := range w.agents {
			if a.id == s.to.Server && a.active() {
				status := a.obey(s.c)
				a.say(ledger.Result{Stream: a.stream(), ID: s.c.ID, Status: status})
			}
		}
	}},
	{"agent prefers a stale leader", func(t *rapid.T, w *world) {
		if a, ld := anAgent(t, w), aLeader(t, w); ld != nil {
			a.prefer = ld
			a.hangUp()
		}
	}},
	{"operator aborts a move or skips a step", onLeader(func(t *rapid.T, w *world, ld *leader) {
		id := w.aShard(t)
		ld.requests++
		if rapid.Bool().Draw(t, "abort") {
			ld.step(ledger.Request{ID: ld.requests, Wish: wish.AbortMove{App: theApp, Shard: id}})
			return
		}
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.SkipStep{App: theApp, Shard: id, Force: rapid.Bool().Draw(t, "force")}})
	})},
	{"all agents paused or resumed", func(_ *rapid.T, w *world) {
		for _, a := range w.agents {
			a.paused = a.up && !a.paused
		}
	}},
	{"shard becomes poison or is healed", func(t *rapid.T, w *world) {
		id := w.aShard(t)
		if w.poison == nil {
			w.poison = map[shard.ID]bool{}
		}
		w.poison[id] = !w.poison[id]
	}},
	{"operator ends a quarantine", onLeader(func(t *rapid.T, w *world, ld *leader) {
		id := w.aShard(t)
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.ReleaseQuarantine{App: theApp, Shard: id}})
	})},
	{"operator releases a hold", onLeader(func(_ *rapid.T, _ *world, ld *leader) {
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.ReleaseHold{}})
	})},
	{"leader paused or resumed", onLeader(func(_ *rapid.T, _ *world, ld *leader) { ld.paused = !ld.paused })},
	{"leader's store away or back", onLeader(func(_ *rapid.T, _ *world, ld *leader) { ld.blind = !ld.blind })},
	{"writes wait or flow", onLeader(func(_ *rapid.T, _ *world, ld *leader) { ld.slow = !ld.slow })},
	{"store full or not", func(_ *rapid.T, w *world) { w.store.failing = !w.store.failing }},
	{"leader crashes", onLeader(func(t *rapid.T, w *world, ld *leader) {
		if rapid.Bool().Draw(t, "its last write commits") {
			for _, wr := range ld.writes {
				w.commit(ld, wr)
			}
		}
		ld.die()
		if w.store.lock == ld {
			w.store.lock = nil
		}
	})},
	{"leader isolated", onLeader(func(_ *rapid.T, w *world, ld *leader) {
		if ld.blind = true; w.store.lock == ld {
			w.store.lock = nil
		}
	})},
	{"lock lost", func(_ *rapid.T, w *world) { w.store.lock = nil }},
	{"leader stops in order", onLeader(func(_ *rapid.T, _ *world, ld *leader) { ld.step(ledger.StopRequested{}) })},
	{"operator wants one primary, or not", onLeader(func(t *rapid.T, w *world, ld *leader) {
		next := *w.store.spec
		next.NonExclusive, next.OnLoss, next.AcceptOverlap = false, 0, false
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			next.NonExclusive = true
		case 1:
			next.NonExclusive, next.OnLoss = true, wanted.Fence
		case 2:
			next.OnLoss, next.AcceptOverlap = wanted.Hold, true
		}
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.UpdateApp{Spec: next}})
	})},
	{"deployer asks, ends or takes back", onLeader(deploy)},
	{"leader drains a server", onLeader(func(t *rapid.T, w *world, ld *leader) {
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.DrainServer{Server: anAgent(t, w).id, Undo: rapid.Bool().Draw(t, "undo")}})
	})},
}

// deploy is a deployer that asks, ends or takes back, whatever the state of what it means.
func deploy(t *rapid.T, w *world, ld *leader) {
	id := fmt.Sprint("e", rapid.IntRange(0, 3).Draw(t, "event"))
	ask := wish.Wish(wish.CancelMaintenance{ID: id})
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0, 1:
		r := event.Request{ID: id, Kind: event.Kind(rapid.IntRange(1, 4).Draw(t, "kind")), Impact: event.Impact(rapid.IntRange(1, 4).Draw(t, "impact")),
			Scope: event.Scope{Servers: []shard.ServerID{anAgent(t, w).id}}, Duration: time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second}
		if r.Announced = rapid.Bool().Draw(t, "announced"); r.Announced {
			r.Start = midnight
		}
		ask = wish.RequestMaintenance{Request: r}
	case 2:
		ask = wish.FinishMaintenance{ID: id}
	}
	ld.requests++
	ld.step(ledger.Request{ID: ld.requests, Wish: ask})
}

// calm ends all faults. Whoever is dead stays dead, while somebody lives.
func (w *world) calm() {
	w.note("CALM")
	w.plan = spread
	if w.store.spec.Replicas > 0 {
		w.plan = replicas
	}
	w.store.failing = false
	w.poison = nil
	clear(w.store.drains)
	for _, ld := range slices.Clone(w.leaders) {
		ld.paused, ld.blind, ld.slow = false, false, false
	}
	alive := false
	for _, a := range w.agents {
		a.paused, a.agentDown, a.cut, a.blind, a.hidden, a.prefer, a.back = false, false, false, false, false, nil, 0
		a.unpulled = false
		a.hang(false)
		clear(a.failing)
		clear(a.mute)
		if a.conn != nil {
			a.conn.held = false
		}
		if a.drain {
			a.drain = false
			a.say(ledger.DrainRequested{Stream: a.stream()})
		}
		alive = alive || a.up
	}
	if !alive {
		w.agents[0].restart()
	}
	w.run(3 * second) // stale leaders learn that they are
	if w.store.lock == nil || w.store.lock.dead {
		w.elect(1000)
	}
	ld := w.store.lock
	for _, a := range w.agents {
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.DrainServer{Server: a.id, Undo: true}})
	}
	for _, e := range ld.core.Events() {
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.CancelMaintenance{ID: e.ID}})
	}
	w.run(2 * second) // what waited to be said of deaths is heard
	for _, q := range ld.core.Summary().Quarantined {
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.ReleaseQuarantine{App: q.App, Shard: q.Shard}})
	}
}

// mustBeOwned is promise 3: every shard is served by the owner that its row and the map name, and nothing is left over.
func (w *world) mustBeOwned(t interface{ Fatalf(string, ...any) }) {
	ld := w.store.lock
	bad := func(format string, args ...any) {
		t.Fatalf(format+"\nmoves: %+v\nservers: %+v\ntrace:\n%s", append(args, ld.core.Moves().Open, ld.core.Servers(), lines(w.trace[max(0, len(w.trace)-300):]))...)
	}
	for i, r := range w.rows() {
		id := w.idOf(shard.Index(i))
		if w.store.spec.Space.Named && r.ID == "" {
			continue
		}
		if r.Deleting {
			bad("shard %s is still being deleted: %+v", id, r)
		}
		var owner *agent
		for _, a := range w.agents {
			if a.id == r.Primary.Server && a.inc == r.Primary.Incarnation {
				owner = a
			}
			if s := a.shards[id]; a.up && s != nil && s.phase != shard.None && (a.id != r.Primary.Server || a.inc != r.Primary.Incarnation) {
				bad("shard %s: %s still holds it as %s", id, a.id, s.phase)
			}
		}
		if owner == nil || !owner.executes(id) || owner.shards[id].term != r.PrimaryTerm {
			bad("shard %s: row %+v: its owner does not serve it", id, r)
		}
		if r.Open != nil {
			bad("shard %s: its move %+v is stuck", id, *r.Open)
		}
		s, term := ld.maps[theApp].Lookup(shard.Index(i))
		if s == nil || s.ID != owner.id || term != r.PrimaryTerm || s.Incarnation != owner.inc {
			bad("shard %s: the map says %v at %d, the row %v at %d", id, s, term, r.Primary, r.PrimaryTerm)
		}
	}
	for _, s := range ld.maps[theApp].Servers() {
		if key, ok := w.store.keys[s.ID]; (!ok || key.Server.Incarnation != s.Incarnation) && !slices.ContainsFunc(w.agents, func(a *agent) bool {
			return a.welcome && a.inc == s.Incarnation
		}) {
			bad("the map lists %s/%d, which is gone", s.ID, s.Incarnation)
		}
	}
	if sum := ld.core.Summary(); sum.Unplaced != 0 || sum.OpenMoves != 0 {
		bad("left over: %+v", sum)
	}
}
