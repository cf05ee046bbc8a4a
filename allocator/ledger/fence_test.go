package ledger_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// The session of a fenced server is destroyed also where the key was seen to be gone before the fence was known to be durable.
func TestFencedSessionIsDestroyedWhateverWasReadMeanwhile(t *testing.T) {
	l := ledger.New(ledger.Settings{}.Defaults())
	out, now := new(ledger.Effects), shard.Instant{Boot: 1, Raw: 1}
	owner := ledger.Owner{Server: "x.kv", Incarnation: 7}
	l.Step(now, ledger.Loaded{
		Epoch: shard.Epoch{Index: 1}, Acquired: now, Confirmed: now, Clean: true,
		Apps: []ledger.AppState{{
			Spec: ledger.Spec{Name: "kv", Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 1}}, MaxMoves: 1, MaxMovesServer: 1},
			Rows: []ledger.Row{{Term: 1, Move: 1, Primary: owner, PrimaryTerm: 1}},
		}},
		Registered: []ledger.Registration{{
			Server: shard.Server{ID: "x.kv", App: "kv", Agent: "x", Incarnation: 7}, Session: "s7", Create: 5,
		}},
	}, out)
	var fence *ledger.Write
	for range 1200 { // a minute
		for i, w := range out.Writes {
			if slices.ContainsFunc(w.Ops, func(op ledger.WriteOp) bool { _, ok := op.(ledger.PutFence); return ok }) {
				fence = &out.Writes[i]
			}
		}
		if fence != nil {
			break
		}
		out.Reset()
		now = now.Add(50 * time.Millisecond)
		l.Step(now, ledger.LockConfirmed{Asked: now}, out)
		l.Tick(now, out)
	}
	if fence == nil {
		t.Fatal("a server that never attached was not fenced")
	}
	id := fence.ID
	l.Step(now, ledger.RegistrationRead{Server: "x.kv", Asked: now}, out)
	out.Reset()
	l.Step(now, ledger.WriteDone{ID: id, Outcome: ledger.Committed}, out)
	if !slices.Equal(out.Sessions, []string{"s7"}) {
		t.Errorf("sessions to destroy: %q, expected s7", out.Sessions)
	}
}

// TestNobodyProbesTheUnknown: of an owner whose key was gone when the leader loaded, nobody knows the address. Nobody is asked to try it, for what
// fails at no address is no evidence (R15). Found by `shardmanager sim --seed 224`.
func TestNobodyProbesTheUnknown(t *testing.T) {
	kb := key("b", 8)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{kb}})
	b.attach(ledger.Hello{Server: info("b", 8)}, &kb)
	suspected := false
	for range 100 {
		b.step(ledger.LockConfirmed{Asked: b.now})
		b.step(ledger.Renew{Stream: b.streams, Sequence: uint64(b.now.Boot), AskedNS: b.now.Boot})
		b.pass(100 * time.Millisecond)
		for _, m := range b.out.Messages {
			if p, ok := m.Body.(message.Probe); ok {
				t.Fatalf("asked to try %+v", p.Target)
			}
		}
		for _, d := range b.out.Trace {
			suspected = suspected || d.What == "lost" && d.Server == info("a", 7).ID
		}
	}
	if !suspected {
		t.Error("its owner was never lost: this test shows nothing")
	}
}

// TestSilentIsNotStubborn: who is silent has not refused anything. It is judged by its silence, and for what it does not do only once it is heard of
// again. Found by `shardmanager sim --seed 337`, where a leader that was cut off from most servers fenced them for that.
func TestSilentIsNotStubborn(t *testing.T) {
	a, b := ledger.Owner{Server: info("a", 7).ID, Incarnation: 7}, ledger.Owner{Server: info("b", 8).ID, Incarnation: 8}
	row := ledger.Row{Term: 4, Move: 5, Primary: a, PrimaryTerm: 3, Open: &ledger.OpenMove{Move: 4, Term: 4, From: a, To: b, Phase: ledger.Aborting}}
	ka, kb := key("a", 7), key("b", 8)
	s := quick()
	s.PartitionGrace = time.Hour
	w := newBare(t, s, ledger.Loaded{Apps: appOf(row), Registered: []ledger.Registration{ka, kb}})
	fenced := ""
	look := func() { // others reach whoever is silent
		for _, d := range w.out.Trace {
			if d.What == "fence" {
				fenced = d.Why
			}
		}
		for _, m := range w.out.Messages {
			if p, ok := m.Body.(message.Probe); ok {
				w.step(ledger.ProbeAnswer{Stream: m.Stream, ID: p.ID, Server: p.Target.ID, Agent: evidence.Answered, Application: evidence.Answered})
			}
		}
	}
	first := w.attach(ledger.Hello{Server: info("a", 7), Held: []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}}}}, &ka)
	second := w.attach(ledger.Hello{Server: info("b", 8), Held: []shard.Held{{Shard: "0", Phase: shard.Prepared, Term: 4, Max: shard.Order{Term: 4, Move: 4}}}}, &kb)
	beat := func(seconds int, both bool) {
		for range 10 * seconds {
			w.step(ledger.LockConfirmed{Asked: w.now})
			for _, id := range []ledger.StreamID{first, second} {
				if id == first || both {
					w.step(ledger.Renew{Stream: id, Sequence: uint64(w.now.Boot), AskedNS: w.now.Boot})
				}
			}
			w.pass(100 * time.Millisecond)
			look()
		}
	}
	if beat(2, true); fenced != "" {
		t.Fatalf("fenced at once: %s", fenced)
	}
	if beat(20, false); fenced != "" {
		t.Fatalf("fenced while silent: %s", fenced)
	}
	if beat(4, true); fenced != "" {
		t.Fatalf("fenced as soon as it was heard of again: %s", fenced)
	}
	if beat(20, true); !strings.Contains(fenced, "did not stop shard 0") {
		t.Errorf("it does not do as it is told, and is heard of: fenced %q", fenced)
	}
}

// TestHeirThatRests: a primary is lost while the only secondary in sync has a rest lease. The shard waits for it, and goes to it once that is over, also
// if its agent gave the restart up and never went. Found by `shardmanager sim --seed 586`.
func TestHeirThatRests(t *testing.T) {
	a, b := ledger.Owner{Server: info("a", 7).ID, Incarnation: 7}, ledger.Owner{Server: info("b", 8).ID, Incarnation: 8}
	order := shard.Order{Term: 3, Move: 3}
	row := ledger.Row{Term: 3, Move: 3, Primary: a, PrimaryTerm: 3, MembersMove: 3, Secondaries: []ledger.Secondary{{Owner: b, Order: order, State: ledger.InSync}}}
	apps := appOf(row)
	apps[0].Spec.Replication, apps[0].Spec.Replicas = spec.PrimarySecondary, 2
	ka, kb := key("a", 7), key("b", 8)
	w := newBare(t, quick(), ledger.Loaded{Apps: apps, Registered: []ledger.Registration{ka, kb}})
	first := w.attach(ledger.Hello{Server: info("a", 7), Replicates: true, Held: []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 3, Max: order, Activated: true}}}, &ka)
	second := w.attach(ledger.Hello{Server: info("b", 8), Replicates: true, Held: []shard.Held{{Shard: "0", Phase: shard.Following, Term: 3, Max: order}}}, &kb)
	granted := ledger.Owner{}
	settle := func() {
		for len(w.out.Writes) > 0 {
			for _, op := range w.out.Writes[0].Ops {
				if c, ok := op.(ledger.PutChunk); ok {
					granted = c.Rows[0].Primary
				}
			}
			w.step(ledger.WriteDone{ID: w.out.Writes[0].ID, Outcome: ledger.Committed})
		}
	}
	do := func(ev ledger.Event) {
		w.step(ev)
		settle()
	}
	beat := func(seconds int) {
		for range 10 * seconds {
			do(ledger.LockConfirmed{Asked: w.now})
			do(ledger.Renew{Stream: second, Sequence: uint64(w.now.Boot), AskedNS: w.now.Boot})
			w.pass(100 * time.Millisecond)
			settle()
		}
	}
	beat(1)
	do(ledger.RestRequested{Stream: second, Sequence: 1, Length: 20 * time.Second})
	do(ledger.Ended{Stream: first, Incarnation: 7, ProvenDead: true, Reason: "killed"})
	beat(2)
	if granted == b {
		t.Fatal("granted to an agent that may be away")
	}
	if n := w.core.Summary().Unplaced; n != 1 {
		t.Errorf("%d shards have no primary, by the summary, while one waits for its heir", n)
	}
	if beat(22); granted != b {
		t.Errorf("the rest is over, and the primary is %v", granted)
	}
}
