package ledger_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	wanted "github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// FuzzWorld plays TestRandom, its choices made by the fuzzer.
func FuzzWorld(f *testing.F) {
	f.Add(make([]byte, 1024))
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		playRandom(t, rapid.SliceOfN(rapid.IntRange(0, len(actions)-1), 2, 9).Draw(t, "kinds of faults"))
	}))
}

// FuzzEvents plays any events in any order on a ledger: streams that nobody opened, results of commands that were never sent, old
// incarnations, stored rows that no ledger would write, absurd numbers. It never panics, terms and moves of what it writes only grow, one
// write is under way at a time, nothing is granted but to who was welcomed, and the same events give the same effects.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 3, 1, 0, 0, 7, 1, 2, 0, 1, 0, 0, 9, 1, 0, 3, 0, 2, 1, 1, 1, 0})
	f.Add([]byte{3, 1, 1, 2, 1, 1, 1, 250, 1, 2, 3, 4, 5, 6, 7, 8, 2, 1, 1, 0, 1, 2, 2, 2, 0, 0, 5, 1, 2, 3, 4, 8, 1, 1, 1, 11, 3, 0, 1})
	f.Fuzz(func(t *testing.T, input []byte) {
		first := newFuzzed(t, input).run()
		again := newFuzzed(t, input).run()
		for i := range first {
			if first[i] != again[i] {
				t.Fatalf("step %d had these effects first:\n%s\nand then these:\n%s", i, first[i], again[i])
			}
		}
	})
}

// script turns bytes into choices; when they are used up, all choices are 0.
type script struct{ rest []byte }

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *script) draw(n int) int { return int(s.byte()) % n }

func (s *script) yes() bool { return s.byte()&1 == 1 }

// number is a small one mostly, and any at times.
func (s *script) number() uint64 {
	b := s.byte()
	if b < 240 || len(s.rest) < 8 {
		return uint64(b % 6)
	}
	n := binary.LittleEndian.Uint64(s.rest)
	s.rest = s.rest[8:]
	return n
}

// fuzzed is a ledger with its script, and what is seen of it from outside.
type fuzzed struct {
	script
	t       *testing.T
	core    *ledger.Ledger
	out     ledger.Effects
	now     shard.Instant
	streams ledger.StreamID
	opened  map[ledger.StreamID]ledger.Owner // hellos
	greeted map[ledger.StreamID]bool         // welcomed
	flight  *ledger.Write
	sent    []sentTo
	reads   []shard.ServerID
	probes  []message.Probe
	creates uint64
	durable map[shard.App][]ledger.Row
	stopped bool
	effects []string
}

type sentTo struct {
	stream ledger.StreamID
	id     message.CommandID
}

func newFuzzed(t *testing.T, input []byte) *fuzzed {
	return &fuzzed{script: script{input}, t: t, core: ledger.New(quick()), now: shard.Instant{Boot: 1000 * second, Raw: 1007 * second},
		opened: map[ledger.StreamID]ledger.Owner{}, greeted: map[ledger.StreamID]bool{}, durable: map[shard.App][]ledger.Row{}}
}

func (p *fuzzed) run() []string {
	p.step(p.loaded())
	p.step(ledger.ClockRead{Wall: midnight})
	for len(p.rest) > 0 && len(p.effects) < 400 {
		if p.draw(5) == 0 {
			p.now = p.now.Add(time.Duration(p.draw(80)) * 100 * time.Millisecond)
			p.step(ledger.LockConfirmed{Asked: p.now.Add(-time.Duration(p.draw(8)) * time.Second)})
			p.core.Tick(p.now, &p.out)
			p.look()
			continue
		}
		p.step(p.event())
	}
	return p.effects
}

func (p *fuzzed) step(ev ledger.Event) {
	done, ok := ev.(ledger.WriteDone)
	if ok = ok && p.flight != nil && done.ID == p.flight.ID; ok {
		if done.Outcome == ledger.Committed {
			p.committed(p.flight)
		}
		p.flight = nil
	}
	p.core.Step(p.now, ev, &p.out)
	p.look()
}

// look takes note of the effects, and checks what can be seen.
func (p *fuzzed) look() {
	for _, w := range p.out.Writes {
		if p.flight != nil {
			p.t.Fatalf("write %d while %d is under way", w.ID, p.flight.ID)
		}
		p.flight = &w
		p.written(w)
	}
	for _, m := range p.out.Messages {
		switch body := m.Body.(type) {
		case message.Welcome:
			p.greeted[m.Stream] = true
		case message.Grant:
			if body.Remaining < 0 || body.Remaining > 0 && (!p.greeted[m.Stream] || p.stopped) {
				p.t.Fatalf("stream %d: a lease of %s, welcomed: %t", m.Stream, body.Remaining, p.greeted[m.Stream])
			}
		case message.Command:
			if who := p.opened[m.Stream]; !p.greeted[m.Stream] || who.Incarnation != body.ID.Incarnation {
				p.t.Fatalf("stream %d of %v: %+v", m.Stream, who, body.ID)
			}
			p.covered(body)
			p.sent = append(p.sent, sentTo{m.Stream, body.ID})
		case message.Probe:
			p.probes = append(p.probes, body)
		case message.RestGranted, message.Fenced, message.Refuse, message.Close, message.DrainProgress:
		}
	}
	for _, r := range p.out.Reads {
		p.reads = append(p.reads, r.Server)
	}
	p.stopped = p.stopped || p.out.Stop != nil
	p.effects = append(p.effects, p.shown())
	p.out.Reset()
}

// shown is all effects as text, what pointers point at included.
func (p *fuzzed) shown() string {
	text, err := json.Marshal(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, w := range p.out.Writes {
		for _, op := range w.Ops {
			text = fmt.Appendf(text, " %T", op)
		}
	}
	for _, m := range p.out.Messages {
		text = fmt.Appendf(text, " %T", m.Body)
	}
	for _, pub := range p.out.Publish {
		if pub.Snapshot != nil {
			text = fmt.Appendf(text, " %+v %+v", pub.Snapshot.Servers(), pub.Snapshot.Entries())
		}
	}
	return string(fmt.Appendf(text, " %+v", p.core.Summary()))
}

// written checks the rows of a write against what is durable.
func (p *fuzzed) written(w ledger.Write) {
	for _, op := range w.Ops {
		put, ok := op.(ledger.PutChunk)
		if !ok {
			continue
		}
		for i, r := range put.Rows {
			at := put.Chunk*ledger.ChunkShards + i
			if old := p.durable[put.App]; at < len(old) && (r.Term < old[at].Term || r.Move < old[at].Move) {
				p.t.Fatalf("%s/%d: (term, move) goes back from %d/%d to %d/%d", put.App, at, old[at].Term, old[at].Move, r.Term, r.Move)
			}
			if r.PrimaryTerm > r.Term || r.Open != nil && (r.Open.Term > r.Term || r.Open.Move > r.Move) {
				p.t.Fatalf("%s/%d: a term above the highest: %+v", put.App, at, r)
			}
		}
	}
}

func (p *fuzzed) committed(w *ledger.Write) {
	for _, op := range w.Ops {
		switch op := op.(type) {
		case ledger.PutChunk:
			rows := p.durable[op.App]
			for len(rows) < op.Chunk*ledger.ChunkShards+len(op.Rows) {
				rows = append(rows, ledger.Row{})
			}
			copy(rows[op.Chunk*ledger.ChunkShards:], op.Rows)
			p.durable[op.App] = rows
		case ledger.RemoveApp:
			delete(p.durable, op.App)
		case ledger.PutSpec, ledger.PutFence, ledger.PutRest, ledger.RemoveRest, ledger.PutDrain, ledger.PutMark, ledger.PutEvent, ledger.PutHeard:
		}
	}
}

// covered checks that the order of a command is durable.
func (p *fuzzed) covered(c message.Command) {
	for _, rows := range p.durable {
		if slices.ContainsFunc(rows, func(r ledger.Row) bool { return c.ID.Order.Term <= r.Term && c.ID.Order.Move <= r.Move }) {
			return
		}
	}
	if c.ID.Kind != message.DropShard { // of what a server holds, and no app has
		p.t.Fatalf("no durable row has issued the order of %+v", c.ID)
	}
}

func (p *fuzzed) owner() ledger.Owner {
	if p.draw(5) == 0 {
		return ledger.Owner{}
	}
	return ledger.Owner{Server: shard.ServerID(fmt.Sprintf("a%d.kv", p.draw(3))), Incarnation: shard.Incarnation(p.draw(3))}
}

func (p *fuzzed) info() shard.Server {
	n, app := p.draw(3), []shard.App{"kv", "kv", "kv", "other"}[p.draw(4)]
	agent := fmt.Sprintf("a%d", n)
	return shard.Server{ID: shard.MakeServerID(agent, app), App: app, Agent: agent, Incarnation: shard.Incarnation(1 + p.draw(2)), Locality: shard.Locality{Zone: fmt.Sprintf("z%d", n%2)}}
}

func (p *fuzzed) order() shard.Order {
	return shard.Order{Term: shard.Term(p.number()), Move: shard.MoveID(p.number())}
}

func (p *fuzzed) id() shard.ID { return shard.ID([]string{"0", "1", "2", "3", "x"}[p.draw(5)]) }

func (p *fuzzed) key() ledger.Registration {
	p.creates++
	k := ledger.Registration{Server: p.info(), Session: "s", Create: p.creates}
	if p.draw(6) == 0 {
		k.Create = p.number()
	}
	for range p.draw(3) {
		k.Ended = append(k.Ended, shard.Incarnation(p.draw(3)))
	}
	return k
}

// row is any that the store's decoder lets through.
func (p *fuzzed) row() ledger.Row {
	r := ledger.Row{Term: shard.Term(p.number()), Move: shard.MoveID(p.number()), Primary: p.owner()}
	below := func() shard.Order {
		o := p.order()
		return shard.Order{Term: min(o.Term, r.Term), Move: min(o.Move, r.Move)}
	}
	o := below()
	r.PrimaryTerm, r.MembersMove = o.Term, o.Move
	if p.draw(3) == 0 {
		o := below()
		r.Open = &ledger.OpenMove{Move: o.Move, Term: o.Term, From: p.owner(), To: p.owner(), Reason: placement.Reason(1 + p.draw(int(placement.Replicas))),
			Phase: ledger.MovePhase(1 + p.draw(3)), Stays: p.yes()}
	}
	for range p.draw(3) {
		s := ledger.Secondary{Owner: p.owner(), Order: below(), State: ledger.SecondaryState(1 + p.draw(4)), Replaces: p.owner()}
		if s.Owner != (ledger.Owner{}) {
			r.Secondaries = append(r.Secondaries, s)
		}
	}
	return r
}

func (p *fuzzed) spec() ledger.Spec {
	s := ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 4}}, ResourceVersion: 1, Replication: wanted.Replication(1 + p.draw(3)), Replicas: p.draw(4)}
	s.NonExclusive, s.AcceptOverlap = p.draw(4) == 0, p.draw(4) == 0
	return s
}

func (p *fuzzed) loaded() ledger.Event {
	ev := ledger.Loaded{Epoch: shard.Epoch{Index: 9}, Acquired: p.now, Clean: p.yes(), Confirmed: p.now}
	if p.draw(4) > 0 {
		app := ledger.AppState{Spec: p.spec()}
		for range p.draw(5) {
			app.Rows = append(app.Rows, p.row())
		}
		ev.Apps = append(ev.Apps, app)
		p.durable[theApp] = append(slices.Clone(app.Rows), make([]ledger.Row, 4-len(app.Rows))...)
	}
	seen := map[shard.ServerID]bool{}
	for range p.draw(4) {
		if k := p.key(); !seen[k.Server.ID] {
			seen[k.Server.ID] = true
			ev.Registered = append(ev.Registered, k)
		}
	}
	for range p.draw(3) {
		if o := p.owner(); o.Incarnation != 0 {
			ev.Fences = append(ev.Fences, ledger.Fence{Owner: o, Reason: "silent"})
		}
	}
	for range p.draw(2) {
		if o := p.owner(); o.Incarnation != 0 {
			ev.Rests = append(ev.Rests, ledger.Rest{Owner: o, Length: time.Duration(p.draw(60)) * time.Second})
		}
	}
	return ev
}

func (p *fuzzed) stream() ledger.StreamID {
	if p.draw(8) == 0 || p.streams == 0 {
		return ledger.StreamID(p.number())
	}
	return p.streams - ledger.StreamID(p.draw(4))%p.streams
}

func (p *fuzzed) event() ledger.Event {
	switch p.draw(16) {
	case 0, 1:
		p.streams++
		hello := ledger.Hello{Stream: p.streams, Server: p.info(), HighestEpoch: shard.Epoch{Index: uint64(p.draw(11))}, Draining: p.draw(8) == 0, Replicates: p.yes()}
		for range p.draw(3) {
			o := p.order()
			held := shard.Held{Shard: p.id(), Phase: []shard.Phase{shard.None, shard.Prepared, shard.Serving, shard.Forwarding, shard.Following}[p.draw(5)], Max: o}
			if held.Phase != shard.None {
				held.Term = min(o.Term, 1)
			}
			hello.Held = append(hello.Held, held)
		}
		p.opened[p.streams] = ledger.Owner{Server: hello.Server.ID, Incarnation: hello.Server.Incarnation}
		return hello
	case 2:
		return ledger.Detached{Stream: p.stream(), Reset: p.yes()}
	case 3:
		return ledger.Renew{Stream: p.stream(), Sequence: p.number(), AskedNS: p.now.Raw + int64(p.number()), ApplicationSilent: time.Duration(p.number()&(1<<63-1)) * 1, ServeOn: p.yes(),
			Loads: []ledger.ShardLoad{{Shard: p.id(), Load: map[string]int64{"cpu": int64(p.number())}}}}
	case 4, 5:
		r := ledger.Result{Stream: p.stream(), Status: ledger.Status(1 + p.draw(6)), Err: "err",
			ID: message.CommandID{Epoch: shard.Epoch{Index: 9}, Incarnation: shard.Incarnation(p.draw(3)), Shard: p.id(), Order: p.order(), Kind: message.Kind(1 + p.draw(6))}}
		if n := len(p.sent); n > 0 && p.draw(8) > 0 {
			s := p.sent[n-1-p.draw(min(n, 8))]
			r.Stream, r.ID = s.stream, s.id
			r.Status = []ledger.Status{ledger.Done, ledger.Done, ledger.Done, r.Status}[p.draw(4)]
		}
		return r
	case 6, 7:
		r := ledger.RegistrationRead{Server: p.info().ID, Asked: p.now.Add(-time.Duration(p.draw(2)) * time.Second), Found: p.draw(4) > 0, Key: p.key(), Err: []string{"", "", "", "away"}[p.draw(4)]}
		if len(p.reads) > 0 {
			r.Server, p.reads = p.reads[0], p.reads[1:]
		}
		r.Key.Server.ID = r.Server // as it was read
		r.Key.Server.App = r.Server.App()
		return r
	case 8, 9, 10:
		done := ledger.WriteDone{ID: ledger.WriteID(p.number()), Outcome: ledger.Committed, Err: "err"}
		if p.flight != nil {
			done.ID = p.flight.ID
		}
		if p.draw(6) == 0 {
			done.Outcome = ledger.WriteOutcome(1 + p.draw(4))
		}
		return done
	case 11, 12:
		return p.plan()
	default:
		return p.said()
	}
}

func (p *fuzzed) plan() ledger.Event {
	plan := placement.Plan{App: []shard.App{theApp, theApp, theApp, "other"}[p.draw(4)], MostMoves: p.draw(5), MostPerServer: p.draw(3)}
	for range p.draw(5) {
		m := placement.Move{Shard: shard.Index(p.draw(6)), Kind: placement.Kind(1 + p.draw(6)), Reason: placement.Reason(1 + p.draw(int(placement.Replicas)))}
		if m.To = p.owner().Server; p.yes() {
			m.From = p.owner().Server
			if rows := p.durable[plan.App]; int(m.Shard) < len(rows) && p.draw(4) > 0 {
				m.From = rows[m.Shard].Primary.Server
			}
		}
		plan.Moves = append(plan.Moves, m)
	}
	return ledger.PlanReady{Plan: plan}
}

func (p *fuzzed) said() ledger.Event {
	switch p.draw(8) {
	case 0:
		a := ledger.ProbeAnswer{Stream: p.stream(), ID: p.number(), Server: p.owner().Server, Agent: evidence.Outcome(1 + p.draw(4)), Application: evidence.Outcome(1 + p.draw(4))}
		if n := len(p.probes); n > 0 && p.draw(4) > 0 {
			a.ID, a.Server = p.probes[n-1].ID, p.probes[n-1].Target.ID
		}
		return a
	case 1:
		return ledger.DrainRequested{Stream: p.stream(), On: p.yes()}
	case 2:
		return ledger.RestRequested{Stream: p.stream(), Sequence: p.number(), Length: time.Duration(p.number())}
	case 3:
		stream := p.stream()
		return ledger.Ended{Stream: stream, Incarnation: p.opened[stream].Incarnation + shard.Incarnation(p.draw(4)/3), ProvenDead: p.yes(), Reason: "died"}
	case 4:
		var seen ledger.RegistrationsSeen
		for range p.draw(4) {
			seen.Keys = append(seen.Keys, p.key())
		}
		return seen
	case 5:
		if p.draw(16) == 0 {
			return ledger.StopRequested{}
		}
		return ledger.ClockRead{Wall: midnight.Add(time.Duration(p.draw(200)) * time.Minute)}
	default:
		return ledger.Request{ID: 1 + p.number(), Wish: p.wish()}
	}
}

func (p *fuzzed) wish() wish.Wish {
	id := fmt.Sprint("e", p.draw(2))
	switch p.draw(15) {
	case 0:
		s := p.spec()
		s.ResourceVersion = uint64(p.draw(2))
		return wish.CreateApp{Spec: s}
	case 1:
		s := p.spec()
		s.ResourceVersion += uint64(p.draw(3))
		return wish.UpdateApp{Spec: s}
	case 2:
		return wish.DeleteApp{Name: theApp, ResourceVersion: 1 + uint64(p.draw(3))}
	case 3:
		return wish.CreateShards{App: theApp, IDs: []shard.ID{p.id(), p.id()}}
	case 4:
		return wish.DeleteShards{App: theApp, IDs: []shard.ID{p.id()}}
	case 5:
		return wish.DrainServer{Server: p.owner().Server, Undo: p.yes()}
	case 6:
		return wish.AbortMove{App: theApp, Shard: p.id(), Move: shard.MoveID(p.number())}
	case 7:
		return wish.SkipStep{App: theApp, Shard: p.id(), Move: shard.MoveID(p.number()), Step: report.MoveStep(p.draw(8)), Force: p.yes()}
	case 8:
		return wish.ReleaseHold{}
	case 9:
		return wish.ReleaseQuarantine{App: theApp, Shard: p.id()}
	case 10:
		return wish.RequestMaintenance{Request: event.Request{ID: id, Kind: event.Kind(p.draw(6)), Impact: event.Impact(p.draw(6)), Announced: p.yes(), Duration: time.Duration(p.number()) * time.Second,
			Scope: event.Scope{Servers: []shard.ServerID{p.owner().Server}}, Start: midnight, Deadline: midnight.Add(time.Duration(p.draw(90)) * time.Minute)}}
	case 11:
		return wish.ApproveMaintenance{ID: id}
	case 12:
		return wish.FinishMaintenance{ID: id, Servers: []shard.ServerID{p.owner().Server}[p.draw(2):]}
	case 13:
		return wish.CancelMaintenance{ID: id}
	default:
		return wish.CheckStop{Server: p.owner().Server}
	}
}
