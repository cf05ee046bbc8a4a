package ledger_test

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// A new leader knows from the rows that it loads how many shards each server is a secondary of, as it does for primaries.
func TestSecondariesAreCountedAfterALoad(t *testing.T) {
	core, out := ledger.New(quick()), ledger.Effects{}
	now := shard.Instant{Boot: 1000 * second, Raw: 1007 * second}
	primary, secondary := ledger.Owner{Server: "a0.kv", Incarnation: 1}, ledger.Owner{Server: "a1.kv", Incarnation: 2}
	row := ledger.Row{Term: 3, Move: 5, Primary: primary, PrimaryTerm: 3, MembersMove: 5,
		Secondaries: []ledger.Secondary{{Owner: secondary, Order: shard.Order{Term: 3, Move: 4}, State: ledger.InSync}}}
	app := spec.App{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 3}}, Replication: spec.PrimarySecondary, Replicas: 2, ResourceVersion: 1}
	core.Step(now, ledger.Loaded{Epoch: shard.Epoch{Index: 9}, Acquired: now, Confirmed: now, Clean: true, Apps: []ledger.AppState{{Spec: app, Rows: []ledger.Row{row, row, row}}}}, &out)
	for _, s := range core.Servers() {
		if want := map[shard.ServerID][2]int{"a0.kv": {3, 0}, "a1.kv": {0, 3}}[s.Server.ID]; s.Shards != want[0] || s.Secondaries != want[1] {
			t.Errorf("%s: primary of %d and secondary of %d shards, expected %v", s.Server.ID, s.Shards, s.Secondaries, want)
		}
	}
	if n := len(core.Servers()); n != 2 {
		t.Errorf("%d servers", n)
	}
}

// A newcomer that came for a server which has left the row since counts at itself only: the other would count it away, and be allowed a move
// too many.
func TestNewcomersForNobodyAreCountedAtOneEnd(t *testing.T) {
	core, out := ledger.New(quick()), ledger.Effects{}
	now := shard.Instant{Boot: 1000 * second, Raw: 1007 * second}
	loaded := ledger.Loaded{Epoch: shard.Epoch{Index: 9}, Acquired: now, Confirmed: now, Clean: true}
	for i, agent := range []string{"a0", "a1", "a2"} {
		s := shard.Server{ID: shard.MakeServerID(agent, theApp), App: theApp, Agent: agent, Incarnation: shard.Incarnation(i + 1)}
		loaded.Registered = append(loaded.Registered, ledger.Registration{Server: s, Session: agent, Create: uint64(i + 1)})
	}
	owner := func(i int) ledger.Owner {
		s := loaded.Registered[i].Server
		return ledger.Owner{Server: s.ID, Incarnation: s.Incarnation}
	}
	row := ledger.Row{Term: 3, Move: 5, Primary: owner(0), PrimaryTerm: 3,
		Secondaries: []ledger.Secondary{{Owner: owner(1), Order: shard.Order{Term: 3, Move: 5}, State: ledger.Joining, Replaces: owner(2)}}}
	app := spec.App{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 1}}, Replication: spec.PrimarySecondary, Replicas: 2, ResourceVersion: 1}
	loaded.Apps = []ledger.AppState{{Spec: app, Rows: []ledger.Row{row}}}
	core.Step(now, loaded, &out)
	core.Step(now, ledger.Request{ID: 1, Wish: wish.AbortMove{App: theApp, Shard: "0"}}, &out)
	if len(out.Writes) != 1 {
		t.Fatalf("the newcomer was not sent away: %+v", out)
	}
	for _, s := range core.Servers() {
		if s.Moves != 0 {
			t.Errorf("%s counts %d moves", s.Server.ID, s.Moves)
		}
	}
}

// A server that watchers know by its stream alone, since its key is gone, leaves the map when the ledger ends that stream: also where the
// ledger goes on remembering it, because it may serve without anybody's word.
func TestServersLeaveTheMapWithTheirStream(t *testing.T) {
	k := key("a", 7)
	apps := appOf(ledger.Row{})
	apps[0].Spec.NonExclusive, apps[0].Spec.OnLoss = true, spec.Hold
	b := newBare(t, quick(), ledger.Loaded{Apps: apps, Registered: []ledger.Registration{k}})
	m := b.out.Publish[0].Snapshot
	step := func(ev ledger.Event) {
		b.step(ev)
		for _, p := range b.out.Publish {
			next, err := m.Apply(*p.Delta)
			if err != nil {
				t.Fatal(err)
			}
			m = next
		}
	}
	stream := b.attach(ledger.Hello{Server: info("a", 7)}, &k)
	step(ledger.RegistrationRead{Server: k.Server.ID, Asked: b.now})
	step(ledger.Renew{Stream: stream, Sequence: 1, AskedNS: b.now.Boot, ServeOn: true})
	if n := len(m.Servers()); n != 1 {
		t.Fatalf("%d servers before", n)
	}
	for i := uint64(2); i < 20 && len(b.out.Writes) == 0; i++ { // its clocks stood still for half a minute: it is fenced
		b.now = b.now.Add(400 * time.Millisecond)
		step(ledger.LockConfirmed{Asked: b.now})
		step(ledger.Renew{Stream: stream, Sequence: i, AskedNS: b.now.Boot - 30*second, ServeOn: true})
	}
	for len(b.out.Writes) > 0 {
		step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	}
	if list := b.core.Servers(); len(list) > 0 && list[0].State != report.Over {
		t.Fatalf("not over: %+v", list)
	}
	if list := m.Servers(); len(list) > 0 {
		t.Errorf("the map lists %v, which is gone", list[0].ID)
	}
}
