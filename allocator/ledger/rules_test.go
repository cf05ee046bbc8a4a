package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// bare drives a ledger by single events, without a world: what matters here is what one event does.
type bare struct {
	t       testing.TB
	core    *ledger.Ledger
	now     shard.Instant
	out     ledger.Effects
	streams ledger.StreamID
}

func newBare(t testing.TB, s ledger.Settings, loaded ledger.Loaded) *bare {
	b := &bare{t: t, core: ledger.New(s), now: shard.Instant{Boot: 1e15, Raw: 2e15}}
	loaded.Epoch = shard.Epoch{Generation: loaded.Epoch.Generation, Index: 9}
	loaded.Acquired, loaded.Confirmed, loaded.Clean = b.now, b.now, true
	b.step(loaded)
	return b
}

func (b *bare) step(ev ledger.Event) {
	b.out.Reset()
	b.core.Step(b.now, ev, &b.out)
}

func (b *bare) pass(d time.Duration) {
	b.out.Reset()
	for ; d > 0; d -= 100 * time.Millisecond {
		b.now = b.now.Add(100 * time.Millisecond)
		b.core.Tick(b.now, &b.out)
	}
}

func info(name string, inc shard.Incarnation) shard.Server {
	return shard.Server{ID: shard.MakeServerID(name, theApp), App: theApp, Agent: name, Incarnation: inc, DataAddress: name + ":1"}
}

func key(name string, inc shard.Incarnation) ledger.Registration {
	return ledger.Registration{Server: info(name, inc), Session: "s", Create: uint64(inc)}
}

func appOf(rows ...ledger.Row) []ledger.AppState {
	return []ledger.AppState{{Spec: ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: uint32(len(rows))}}, ResourceVersion: 1}, Rows: rows}}
}

func owned(name string, inc shard.Incarnation, term shard.Term) ledger.Row {
	return ledger.Row{Term: term, Move: shard.MoveID(term), PrimaryTerm: term, Primary: ledger.Owner{Server: shard.MakeServerID(name, theApp), Incarnation: inc}}
}

// attach says hello and lets the ledger read the key.
func (b *bare) attach(h ledger.Hello, k *ledger.Registration) ledger.StreamID {
	b.streams++
	h.Stream = b.streams
	b.step(h)
	read := ledger.RegistrationRead{Server: h.Server.ID, Asked: b.now}
	if k != nil {
		read.Found, read.Key = true, *k
	}
	b.step(read)
	return h.Stream
}

// said is what was sent on a stream by the last step.
func (b *bare) said(to ledger.StreamID) string {
	var list []string
	for _, m := range b.out.Messages {
		if m.Stream != to {
			continue
		}
		switch body := m.Body.(type) {
		case message.Command:
			list = append(list, fmt.Sprintf("%s %s %s", body.ID.Kind, body.ID.Shard, body.ID.Order))
		case message.Refuse:
			list = append(list, fmt.Sprintf("Refuse duplicate=%t retry=%t", body.Duplicate, body.Retry))
		case message.Grant:
			list = append(list, fmt.Sprintf("Grant %d %s", body.Sequence, body.Remaining))
		case message.Close, message.DrainProgress, message.Fenced, message.Probe, message.RestGranted, message.Welcome:
			list = append(list, strings.TrimPrefix(fmt.Sprintf("%T", body), "message."))
		}
	}
	return strings.Join(list, "; ")
}

func (b *bare) expect(to ledger.StreamID, want string) {
	b.t.Helper()
	if got := b.said(to); got != want {
		b.t.Fatalf("sent on stream %d: %q, want %q", to, got, want)
	}
}

// TestHello is R26 and R14: only the incarnation in the key is welcomed.
func TestHello(t *testing.T) {
	k7, k8, foreign := key("a", 7), key("a", 8), key("a", 8)
	k8.Ended = []shard.Incarnation{7}
	held := func(term shard.Term) []shard.Held {
		return []shard.Held{{Shard: "0", Phase: shard.Serving, Term: term, Max: shard.Order{Term: term, Move: shard.MoveID(term)}}}
	}
	for _, c := range []struct {
		name  string
		hello ledger.Hello
		key   *ledger.Registration
		rows  ledger.Row
		want  string
	}{
		{"in the key", ledger.Hello{Server: info("a", 7)}, &k7, ledger.Row{}, "Welcome"},
		{"another holds the key", ledger.Hello{Server: info("a", 6)}, &k7, ledger.Row{}, "Refuse duplicate=true retry=false"},
		{"replaced in the key", ledger.Hello{Server: info("a", 7)}, &k8, ledger.Row{}, "Fenced"},
		{"no key", ledger.Hello{Server: info("a", 7)}, nil, ledger.Row{}, "Fenced"},
		{"no key, and a row names it", ledger.Hello{Server: info("a", 7), Held: held(3)}, nil, owned("a", 7, 3), "Refuse duplicate=false retry=true"},
		{"ended: a newer one is in the key", ledger.Hello{Server: info("a", 7), Held: held(3)}, &k8, owned("a", 7, 3), "Fenced"},
		{"another host's agent is in the key", ledger.Hello{Server: info("a", 7), Held: held(3)}, &foreign, owned("a", 7, 3), "Refuse duplicate=false retry=true"},
		{"serves what the row says", ledger.Hello{Server: info("a", 7), Held: held(3)}, &k7, owned("a", 7, 3), "Welcome"},
		{"draining", ledger.Hello{Server: info("a", 7), Held: held(3), Draining: true}, &k7, owned("a", 7, 3), "Welcome; DrainProgress"},
		{"a term that nobody issued", ledger.Hello{Server: info("a", 7), Held: held(4)}, &k7, owned("a", 7, 3), "Refuse duplicate=false retry=true"},
		{"obeys a later leader", ledger.Hello{Server: info("a", 7), HighestEpoch: shard.Epoch{Index: 10}}, &k7, ledger.Row{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBare(t, quick(), ledger.Loaded{Apps: appOf(c.rows), Registered: []ledger.Registration{k7}})
			if c.want == "" {
				c.hello.Stream = 1
				b.step(c.hello)
				b.expect(1, "Refuse duplicate=false retry=true")
				return
			}
			b.expect(b.attach(c.hello, c.key), c.want)
		})
	}
}

// TestHelloWaitsForAReadThatBeganAfterIt: an older read may not know the incarnation yet.
func TestHelloWaitsForAReadThatBeganAfterIt(t *testing.T) {
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(ledger.Row{})})
	old := b.now
	b.pass(100 * time.Millisecond)
	b.step(ledger.Hello{Stream: 1, Server: info("a", 7)})
	b.step(ledger.RegistrationRead{Server: info("a", 7).ID, Asked: old})
	b.expect(1, "")
	if len(b.out.Reads) != 1 {
		t.Fatalf("no second read was asked for: %v", b.out.Reads)
	}
	b.step(ledger.RegistrationRead{Server: info("a", 7).ID, Asked: b.now, Found: true, Key: key("a", 7)})
	b.expect(1, "Welcome")
}

// TestNewestStreamCloses is R3.
func TestNewestStreamCloses(t *testing.T) {
	k := key("a", 7)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(ledger.Row{}), Registered: []ledger.Registration{k}})
	first := b.attach(ledger.Hello{Server: info("a", 7)}, &k)
	second := b.attach(ledger.Hello{Server: info("a", 7)}, &k)
	b.expect(first, "Close")
	b.step(ledger.Renew{Stream: first, Sequence: 1})
	b.expect(first, "Grant 1 0s")
	b.step(ledger.Renew{Stream: second, Sequence: 1})
	b.expect(second, "Grant 1 2.5s")
	b.step(ledger.Detached{Stream: first, Reset: true})
	b.step(ledger.Renew{Stream: second, Sequence: 2})
	b.expect(second, "Grant 2 2.5s")
}

// TestGrantNeedsAProofOfTheLock is DESIGN §5: a proof counts from before it was asked for.
func TestGrantNeedsAProofOfTheLock(t *testing.T) {
	s, k := quick(), key("a", 7)
	b := newBare(t, s, ledger.Loaded{Apps: appOf(ledger.Row{}), Registered: []ledger.Registration{k}})
	a := b.attach(ledger.Hello{Server: info("a", 7)}, &k)
	asked := b.now
	b.pass(s.LeaderValidity - 100*time.Millisecond)
	b.step(ledger.Renew{Stream: a, Sequence: 1})
	b.expect(a, "Grant 1 2.5s")
	b.pass(100 * time.Millisecond)
	b.step(ledger.LockConfirmed{Asked: asked})
	b.step(ledger.Renew{Stream: a, Sequence: 2})
	b.expect(a, "Grant 2 0s")
	b.step(ledger.LockConfirmed{Asked: b.now})
	b.step(ledger.Renew{Stream: a, Sequence: 3})
	b.expect(a, "Grant 3 2.5s")
	b.step(ledger.StopRequested{})
	b.step(ledger.Renew{Stream: a, Sequence: 4})
	b.expect(a, "Grant 4 0s")
}

// TestImpostor: an attached server that renews is not ended by another incarnation in its key; it is fenced, without touching that key,
// and waited for.
func TestImpostor(t *testing.T) {
	k := key("a", 7)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{k}})
	held := []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}}}
	a := b.attach(ledger.Hello{Server: info("a", 7), Held: held}, &k)
	b.step(ledger.Renew{Stream: a, Sequence: 1})
	other := key("a", 8)
	b.step(ledger.RegistrationsSeen{Keys: []ledger.Registration{other}})
	b.step(ledger.RegistrationRead{Server: other.Server.ID, Asked: b.now, Found: true, Key: other})
	if len(b.out.Writes) != 1 {
		t.Fatal("no fence is written")
	}
	fence, ok := b.out.Writes[0].Ops[0].(ledger.PutFence)
	if !ok || fence.Fence.Owner.Incarnation != 7 || fence.Registered == nil || fence.Registered.Server.Incarnation != 8 {
		t.Fatalf("wrote %+v", b.out.Writes[0].Ops)
	}
	b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	b.expect(a, "Fenced")
	if len(b.out.Sessions) != 0 {
		t.Errorf("the other's session is destroyed: %v", b.out.Sessions)
	}
	wait := shard.CoverDrift(quick().Validity)
	b.pass(wait - 100*time.Millisecond)
	if st := b.core.Servers(); st[0].State != report.Fencing {
		t.Errorf("over before its lease can be: %+v", st)
	}
	b.pass(300 * time.Millisecond)
	if st := b.core.Servers(); st[0].Server.Incarnation != 7 || st[0].State != report.Over {
		t.Errorf("not over after the wait: %+v", st)
	}
}

// TestFenceWaitsExactly is R8: CoverDrift(V) from the commit, to the nanosecond, and never less.
func TestFenceWaitsExactly(t *testing.T) {
	k := key("a", 7)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{k}})
	held := []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}}}
	a := b.attach(ledger.Hello{Server: info("a", 7), Held: held}, &k)
	b.step(ledger.Ended{Stream: a, Incarnation: 7, Reason: "test"})
	b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	if len(b.out.Sessions) != 1 {
		t.Errorf("its session is not destroyed: %v", b.out.Sessions)
	}
	end := b.now.Add(shard.CoverDrift(quick().Validity))
	for _, c := range []struct {
		at   shard.Instant
		over bool
	}{
		{end.Add(-1), false},
		{shard.Instant{Boot: end.Boot + 1e9, Raw: end.Raw - 1}, false}, // one clock ran fast
		{end, true},
	} {
		b.out.Reset()
		b.core.Tick(c.at, &b.out)
		if over := b.core.Servers()[0].State == report.Over; over != c.over {
			t.Errorf("%s after the end: over is %t", end.WaitAge(c.at), over)
		}
	}
}

// TestLateLoopRestartsEvidence is R15: a loop that was late by more than a second, on either clock, has heard nobody because of itself.
func TestLateLoopRestartsEvidence(t *testing.T) {
	for name, test := range map[string]struct {
		late    shard.Instant
		suspect bool
	}{
		"just in time":         {shard.Instant{Boot: 1e9, Raw: 1e9}, true},
		"late":                 {shard.Instant{Boot: 1e9 + 1, Raw: 1e9 + 1}, false},
		"late on one clock":    {shard.Instant{Boot: 1e9 + 1, Raw: 1e9}, false},
		"late on the other":    {shard.Instant{Boot: 1e9, Raw: 1e9 + 1}, false},
		"a second, on neither": {shard.Instant{Boot: 1, Raw: 1}, true},
	} {
		k := key("a", 7)
		b := newBare(t, quick(), ledger.Loaded{Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{k}})
		b.attach(ledger.Hello{Server: info("a", 7)}, &k)
		now := b.now
		tick := func(by shard.Instant) report.ServerState {
			now = shard.Instant{Boot: now.Boot + by.Boot, Raw: now.Raw + by.Raw}
			b.out.Reset()
			b.core.Tick(now, &b.out)
			b.core.Step(now, ledger.LockConfirmed{Asked: now}, &b.out)
			return b.core.Servers()[0].State
		}
		for i := 0; tick(shard.Instant{Boot: 1e9, Raw: 1e9}) != report.Suspect; i++ {
			if i > 20 {
				t.Fatal("a silent server is not suspected")
			}
		}
		if suspect := tick(test.late) == report.Suspect; suspect != test.suspect {
			t.Errorf("%s: suspected %t, expected %t", name, suspect, test.suspect)
		}
	}
}

// TestResultsOfOthersMeanNothing: an acknowledgement counts only from the receiver, of the command that is due (the root rule, R3).
func TestResultsOfOthersMeanNothing(t *testing.T) {
	ka, kb := key("a", 7), key("b", 8)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(ledger.Row{}), Registered: []ledger.Registration{ka, kb}})
	sa := b.attach(ledger.Hello{Server: info("a", 7)}, &ka)
	sb := b.attach(ledger.Hello{Server: info("b", 8)}, &kb)
	b.pass(500 * time.Millisecond)
	b.step(ledger.PlanReady{Plan: placement.Plan{App: theApp, Moves: []placement.Move{{Kind: placement.Grant, To: info("a", 7).ID, Reason: placement.Place}}}})
	b.pass(200 * time.Millisecond)
	b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	b.expect(sa, "AddShard 0 10/1")
	right := message.CommandID{Epoch: shard.Epoch{Index: 9}, Incarnation: 7, Shard: "0", Order: shard.Order{Term: 10, Move: 1}, Kind: message.AddShard}
	wrong := map[string]ledger.Result{
		"another's stream": {Stream: sb, ID: right, Status: ledger.Done},
		"no stream":        {Stream: 99, ID: right, Status: ledger.Done},
	}
	for name, change := range map[string]func(*message.CommandID){
		"epoch":       func(id *message.CommandID) { id.Epoch.Index-- },
		"incarnation": func(id *message.CommandID) { id.Incarnation++ },
		"term":        func(id *message.CommandID) { id.Order.Term-- },
		"move":        func(id *message.CommandID) { id.Order.Move++ },
		"kind":        func(id *message.CommandID) { id.Kind = message.DropShard },
		"shard":       func(id *message.CommandID) { id.Shard = "1" },
	} {
		id := right
		change(&id)
		wrong[name] = ledger.Result{Stream: sa, ID: id, Status: ledger.Done}
	}
	for name, r := range wrong {
		if b.step(r); len(b.out.Publish) > 0 || len(b.core.Moves().Open) != 1 {
			t.Fatalf("wrong %s: taken for an acknowledgement", name)
		}
	}
	b.step(ledger.Result{Stream: sa, ID: right, Status: ledger.Done})
	if len(b.out.Publish) != 1 || len(b.core.Moves().Open) != 0 {
		t.Fatalf("the right one was not taken: %+v", b.core.Moves())
	}
}

// TestFencedByAnEarlierLeader: what a predecessor fenced is waited for anew, for a rest too, unless the agent says in the key that it ended it (PROTOCOL R11).
// Otherwise shards would stay where nobody serves them for as long as leaders change faster than that.
func TestFencedByAnEarlierLeader(t *testing.T) {
	owner := ledger.Owner{Server: info("a", 7).ID, Incarnation: 7}
	for _, c := range []struct {
		name  string
		ended []shard.Incarnation
		over  bool
	}{
		{"its agent ended it", []shard.Incarnation{5, 7}, true},
		{"its agent ended another", []shard.Incarnation{5}, false},
		{"another host's agent is in the key", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			newer, kb := key("a", 8), key("b", 9)
			newer.Ended = c.ended
			b := newBare(t, quick(), ledger.Loaded{
				Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{newer, kb},
				Fences: []ledger.Fence{{Owner: owner, Reason: "silent"}}, Rests: []ledger.Rest{{Owner: owner, Length: 30 * time.Second}},
			})
			over := func() bool {
				return slices.ContainsFunc(b.out.Trace, func(d ledger.Decision) bool {
					return d.What == "incarnation over" && d.Incarnation == owner.Incarnation
				})
			}
			if at := over(); at != c.over {
				t.Errorf("over at once: %t, expected %t", at, c.over)
			}
			if b.pass(29 * time.Second); over() {
				t.Error("over within the rest, or twice")
			}
			if b.pass(time.Minute); over() == c.over {
				t.Error("never over, or twice")
			}
		})
	}
}

// TestWriteLimits is R24 and the store's limits: whole chunks, in as many writes as it takes, one at a time.
func TestWriteLimits(t *testing.T) {
	const shards = 10*ledger.ChunkShards + 5
	rows := make([]ledger.Row, shards)
	for i := range rows {
		rows[i] = owned("a", 7, 3)
	}
	ka, kb := key("a", 7), key("b", 8)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(rows...), Registered: []ledger.Registration{ka, kb}})
	b.attach(ledger.Hello{Server: info("b", 8)}, &kb)
	var done []string
	var moves []placement.Move
	for i := range rows {
		moves = append(moves, placement.Move{Shard: shard.Index(i), Kind: placement.Grant, To: info("b", 8).ID, Reason: placement.Failover})
	}
	newer := key("a", 9)
	newer.Ended = []shard.Incarnation{7}
	b.step(ledger.RegistrationsSeen{Keys: []ledger.Registration{newer, kb}})
	b.step(ledger.RegistrationRead{Server: newer.Server.ID, Asked: b.now, Found: true, Key: newer})
	if len(b.out.Solve) != 1 {
		t.Fatalf("no plan is asked for although %d shards are lost", shards)
	}
	b.step(ledger.PlanReady{Plan: placement.Plan{App: theApp, Moves: moves}})
	seen := map[int]bool{}
	for len(b.out.Writes) > 0 {
		if len(b.out.Writes) != 1 {
			t.Fatalf("%d writes at once", len(b.out.Writes))
		}
		w := b.out.Writes[0]
		n := 0
		for _, op := range w.Ops {
			c := op.(ledger.PutChunk)
			seen[c.Chunk] = true
			n += len(c.Rows)
			for i, r := range c.Rows {
				if r.Primary.Server != info("b", 8).ID || r.Term != 4 {
					t.Fatalf("chunk %d row %d: %+v", c.Chunk, i, r)
				}
			}
		}
		done = append(done, fmt.Sprint(len(w.Ops)))
		if n*12 > 300<<10 {
			t.Errorf("a write of %d rows", n)
		}
		b.step(ledger.WriteDone{ID: w.ID, Outcome: ledger.Committed})
	}
	if len(seen) != 11 || strings.Join(done, " ") != "3 3 3 2" {
		t.Errorf("%d chunks in writes of %v", len(seen), done)
	}
}

// TestCaps: a plan that ignores the caps is cut by them.
func TestCaps(t *testing.T) {
	rows := []ledger.Row{owned("a", 7, 3), owned("a", 7, 3), owned("a", 7, 3), owned("b", 8, 3)}
	ka, kb := key("a", 7), key("b", 8)
	loaded := ledger.Loaded{Apps: appOf(rows...), Registered: []ledger.Registration{ka, kb}}
	for _, c := range []struct{ moves, perServer, want int }{{2, 8, 2}, {8, 1, 1}, {0, 0, 4}} {
		loaded.Apps[0].Spec.MaxMoves, loaded.Apps[0].Spec.MaxMovesServer = c.moves, c.perServer
		b := newBare(t, quick(), loaded)
		serving := func(ids ...shard.ID) (held []shard.Held) {
			for _, id := range ids {
				held = append(held, shard.Held{Shard: id, Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}})
			}
			return held
		}
		b.attach(ledger.Hello{Server: info("a", 7), Held: serving("0", "1", "2")}, &ka)
		b.attach(ledger.Hello{Server: info("b", 8), Held: serving("3")}, &kb)
		b.pass(1500 * time.Millisecond)
		var plan placement.Plan
		for i, r := range rows {
			to := info("b", 8).ID
			if r.Primary.Server == to {
				to = info("a", 7).ID
			}
			plan.Moves = append(plan.Moves, placement.Move{Shard: shard.Index(i), Kind: placement.Migrate, From: r.Primary.Server, To: to, Reason: placement.Balance})
		}
		plan.App = theApp
		b.step(ledger.PlanReady{Plan: plan})
		if got := b.core.Summary().OpenMoves; got != c.want {
			t.Errorf("caps %d and %d: %d moves opened, want %d", c.moves, c.perServer, got, c.want)
		}
	}
}

// TestWishesAreBounded: the queue has a limit, and nobody waits for ever.
func TestWishesAreBounded(t *testing.T) {
	b := newBare(t, quick(), ledger.Loaded{})
	refused := 0
	for i := range 1100 {
		b.step(ledger.Request{ID: uint64(i), Wish: wish.CreateApp{Spec: ledger.Spec{Name: shard.App(fmt.Sprintf("a%d", i)), Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 1}}}}})
		for _, r := range b.out.Replies {
			if r.Err == nil || r.Err.Kind != ledger.NotNow {
				t.Fatalf("replied %+v", r)
			}
			refused++
		}
	}
	if refused != 100 {
		t.Errorf("%d wishes refused, want 100", refused)
	}
	b.step(ledger.StopRequested{})
	if len(b.out.Replies) != 1000 {
		t.Errorf("%d wishes answered at the stop, want 1000", len(b.out.Replies))
	}
	if b.out.Stop != nil {
		t.Error("stopped while a write is under way")
	}
	b.step(ledger.WriteDone{ID: 1, Outcome: ledger.Committed})
	if b.out.Stop == nil || !b.out.Stop.Clean {
		t.Errorf("stop is %+v, want a clean one", b.out.Stop)
	}
}

func TestSettings(t *testing.T) {
	if err := (ledger.Settings{}).Defaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	err := ledger.Settings{Interval: 1e9, Validity: 1e9, LeaderValidity: 1, PartitionGrace: -1, MaxWriteOps: 1, FenceWait: -1}.Validate()
	for _, field := range []string{"lease_validity", "leader_validity", "partition_grace", "probe_timeout", "batch_tick", "max_write_ops", "fence_wait"} {
		if err == nil || !strings.Contains(err.Error(), "settings: "+field+": expected") {
			t.Errorf("%s is not refused by: %v", field, err)
		}
	}
}

// TestBehind: a leader whose events wait asks for nothing new, whose answer would wait with them, and the age of a renewal says nothing of its
// sender's clocks (PROTOCOL R8). Both come back when it has caught up.
func TestBehind(t *testing.T) {
	k := key("a", 7)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(owned("b", 5, 3)), Registered: []ledger.Registration{k, key("b", 5)}})
	b.core.Behind(true)
	stray := []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 2, Max: shard.Order{Term: 2, Move: 2}}}
	a := b.attach(ledger.Hello{Server: info("a", 7), Held: stray}, &k)
	b.expect(a, "Welcome")
	b.pass(time.Second)
	b.expect(a, "")
	// The agent's clock stands still.
	renew := func() (fenced bool) {
		for i := range 8 {
			b.pass(time.Second)
			b.step(ledger.LockConfirmed{Asked: b.now})
			b.step(ledger.Renew{Stream: a, Sequence: uint64(i), AskedNS: 1})
			fenced = fenced || b.core.Servers()[0].State == report.Fencing
		}
		return fenced
	}
	if renew() {
		t.Error("fenced for what waited for the leader")
	}
	b.core.Behind(false)
	b.pass(100 * time.Millisecond)
	b.expect(a, "DropShard 0 3/3")
	if !renew() {
		t.Error("a machine that lost time is not fenced once the leader has caught up")
	}
}
