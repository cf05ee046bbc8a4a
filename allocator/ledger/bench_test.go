package ledger_test

import (
	"fmt"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// large is a ledger that leads 1 000 attached servers with 100 000 shards, all served, and its store.
type large struct {
	core  *ledger.Ledger
	now   shard.Instant
	out   ledger.Effects
	held  [][]shard.Held
	seq   uint64
	write int
}

func newLarge(tb testing.TB, servers, shards int) *large {
	tb.Helper()
	space := shard.HashSpace{Shards: uint32(shards)}
	rows := make([]ledger.Row, shards)
	loaded := ledger.Loaded{Epoch: shard.Epoch{Index: 7}, Clean: true}
	g := &large{core: ledger.New(ledger.Settings{}.Defaults()), now: shard.Instant{Boot: 1e15, Raw: 1e15}, held: make([][]shard.Held, servers)}
	infos := make([]shard.Server, servers)
	for i := range servers {
		name := fmt.Sprintf("a%04d", i)
		infos[i] = shard.Server{ID: shard.MakeServerID(name, theApp), App: theApp, Agent: name, Incarnation: shard.Incarnation(i + 1),
			Locality: shard.Locality{Region: "r", Zone: fmt.Sprintf("z%d", i%6)}, DataAddress: name + ":1"}
		loaded.Registered = append(loaded.Registered, ledger.Registration{Server: infos[i], Session: name, Create: uint64(i + 1)})
	}
	for i := range rows {
		s := i % servers
		rows[i] = ledger.Row{Term: 1, Move: 1, PrimaryTerm: 1, Primary: ledger.Owner{Server: infos[s].ID, Incarnation: infos[s].Incarnation}}
		g.held[s] = append(g.held[s], shard.Held{Shard: space.ID(shard.Index(i)), Phase: shard.Serving, Term: 1, Max: shard.Order{Term: 1, Move: 1}})
	}
	loaded.Apps = []ledger.AppState{{Spec: ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: space}, ResourceVersion: 1, MaxMoves: 1000}, Rows: rows}}
	loaded.Acquired, loaded.Confirmed = g.now, g.now
	g.step(loaded)
	for i, info := range infos {
		g.step(ledger.Hello{Stream: ledger.StreamID(i + 1), Server: info, Held: g.held[i]})
		g.step(ledger.RegistrationRead{Server: info.ID, Asked: g.now, Found: true, Key: loaded.Registered[i]})
	}
	return g
}

// step takes an event and commits at once what it writes.
func (g *large) step(ev ledger.Event) {
	g.core.Step(g.now, ev, &g.out)
	g.commit()
}

func (g *large) commit() {
	for len(g.out.Writes) > 0 {
		id := g.out.Writes[0].ID
		g.write++
		g.out.Reset()
		g.core.Step(g.now, ledger.WriteDone{ID: id, Outcome: ledger.Committed}, &g.out)
	}
	g.out.Reset()
}

func BenchmarkRenew(b *testing.B) {
	g := newLarge(b, 1000, 100_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		g.seq++
		g.step(ledger.Renew{Stream: ledger.StreamID(1 + i%1000), Sequence: g.seq, AskedNS: g.now.Boot})
	}
}

func BenchmarkTick(b *testing.B) {
	g := newLarge(b, 1000, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		g.core.Tick(g.now, &g.out)
		g.out.Reset()
	}
}

// BenchmarkFailover is a server with 100 of 100 000 shards that is proven dead: evidence, plan, rows, commands.
func BenchmarkFailover(b *testing.B) {
	g := newLarge(b, 1000, 100_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i == 990 {
			b.Skip("all servers are dead") // more iterations than servers say nothing more
		}
		g.core.Step(g.now, ledger.Ended{Stream: ledger.StreamID(i + 1), Incarnation: shard.Incarnation(i + 1), ProvenDead: true}, &g.out)
		for len(g.out.Solve) > 0 {
			in := g.out.Solve[0]
			g.out.Reset()
			g.core.Step(g.now, ledger.PlanReady{Plan: scatter(in)}, &g.out)
			g.commit()
		}
		g.commit()
	}
}

// scatter places what is unplaced round the servers.
func scatter(in placement.Input) placement.Plan {
	p := placement.Plan{App: in.App}
	next := 0
	for _, s := range in.Shards {
		if len(s.Replicas) > 0 || s.Pinned {
			continue
		}
		for range in.Servers {
			next = (next + 1) % len(in.Servers)
			if in.Servers[next].Accepts {
				p.Moves = append(p.Moves, placement.Move{Shard: s.Index, Kind: placement.Grant, To: in.Servers[next].ID, Reason: placement.Failover})
				break
			}
		}
	}
	return p
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		newLarge(b, 1000, 100_000)
	}
}
