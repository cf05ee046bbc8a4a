package spans

import (
	"fmt"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/tracing"
)

func order(term, move int) shard.Order {
	return shard.Order{Term: shard.Term(term), Move: shard.MoveID(move)}
}

// kit is a tenure whose spans are kept.
type kit struct {
	*Moves
	kept *tracetest.InMemoryExporter
}

func newKit(sampler sdktrace.Sampler) *kit {
	kept := tracetest.NewInMemoryExporter()
	k := &kit{New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept), sdktrace.WithSampler(sampler), tracing.Derivable()), "c1"), kept}
	k.Heard(ledger.Hello{Stream: 1, Server: shard.Server{ID: "x.app", App: "app", Incarnation: 7}})
	return k
}

func (k *kit) decide(what string, o shard.Order) trace.SpanContext {
	k.Said(&ledger.Effects{Trace: []ledger.Decision{{What: what, App: "app", Shard: "3", Server: "x.app", Order: o}}})
	return k.Of(0)
}

// command sends one, and returns its traceparent.
func (k *kit) command(kind message.Kind, o shard.Order) string {
	out := &ledger.Effects{Messages: []ledger.Message{{Stream: 1, Body: message.Command{ID: message.CommandID{Incarnation: 7, Shard: "3", Order: o, Kind: kind}}}}}
	k.Said(out)
	return out.Messages[0].Body.(message.Command).TraceParent
}

func (k *kit) result(kind message.Kind, o shard.Order, s ledger.Status) {
	k.Heard(ledger.Result{Stream: 1, ID: message.CommandID{Incarnation: 7, Shard: "3", Order: o, Kind: kind}, Status: s, Err: "why"})
}

func (k *kit) finish(o shard.Order, step report.MoveStep, reason placement.Reason) {
	k.Said(&ledger.Effects{Finished: []report.MoveStatus{{App: "app", Shard: "3", Order: o, To: "x.app", Step: step, Reason: reason, Detail: "late"}}})
}

// names are the spans that ended, in order, each with its status.
func (k *kit) names() (list []string) {
	for _, s := range k.kept.GetSpans() {
		list = append(list, fmt.Sprintf("%s %s", s.Name, s.Status.Code))
	}
	return list
}

func (k *kit) demand(t *testing.T, want ...string) {
	t.Helper()
	if got := k.names(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("spans %q, not %q", got, want)
	}
	if k.moves != 0 || len(k.open) != 0 || len(k.commands) != 0 || len(k.staged) != 0 || len(k.writing) != 0 {
		t.Errorf("%d moves, %d commands, %d and %d rows are still followed", k.moves, len(k.commands), len(k.staged), len(k.writing))
	}
}

func write(id ledger.WriteID, o shard.Order) ledger.Write {
	return ledger.Write{ID: id, Ops: []ledger.WriteOp{ledger.PutChunk{App: "app", Rows: []ledger.Row{{}, {}, {}, {Term: o.Term, Move: o.Move}}}}}
}

// A row's write is over when it is durable, whatever was written before, failed, or did not hold it.
func TestWrites(t *testing.T) {
	k := newKit(sdktrace.AlwaysSample())
	k.decide("move opened", order(5, 2))
	k.Said(&ledger.Effects{Writes: []ledger.Write{write(1, order(4, 1))}}) // its row is as it was
	k.Heard(ledger.WriteDone{ID: 1, Outcome: ledger.Committed})
	k.Said(&ledger.Effects{Writes: []ledger.Write{write(2, order(5, 2))}})
	k.Heard(ledger.WriteDone{ID: 2, Outcome: ledger.NotCommitted})
	if n := len(k.kept.GetSpans()); n != 0 {
		t.Errorf("%q ended before it was durable", k.names())
	}
	k.Said(&ledger.Effects{Writes: []ledger.Write{write(3, order(5, 2))}})
	k.Heard(ledger.WriteDone{ID: 3, Outcome: ledger.Committed})
	k.finish(order(5, 2), report.StepDone, placement.Balance)
	k.demand(t, "write Unset", "move Unset")
}

// An abort is of its move, though its commands have a higher order; the grant that ends it is linked.
func TestAbortIsOfItsMove(t *testing.T) {
	k := newKit(sdktrace.AlwaysSample())
	in := k.decide("move opened", order(5, 2))
	k.command(message.PrepareAddShard, order(5, 2))
	k.result(message.PrepareAddShard, order(5, 2), ledger.Failed)
	if got := k.decide("move aborted", order(5, 3)); !got.Equal(in) {
		t.Errorf("the abort is in trace %s, the move in %s", got.TraceID(), in.TraceID())
	}
	if p := k.command(message.DropShard, order(5, 3)); p[3:35] != in.TraceID().String() {
		t.Errorf("the target is stopped in trace %s, the move is %s", p, in.TraceID())
	}
	k.result(message.DropShard, order(5, 3), ledger.Done)
	next := k.decide("granted", order(6, 4))
	if next.TraceID() == in.TraceID() {
		t.Error("the grant after it is in the same trace")
	}
	k.Said(&ledger.Effects{Writes: []ledger.Write{write(1, order(6, 4))}})
	k.Heard(ledger.WriteDone{ID: 1, Outcome: ledger.Committed})
	k.finish(order(5, 2), report.StepAborted, placement.Drain)
	k.finish(order(6, 4), report.StepDone, placement.Drain)
	k.demand(t, "command PrepareAddShard Error", "command DropShard Unset", "write Unset", "write Unset", "write Unset", "move Error", "grant Unset")
	spans := k.kept.GetSpans()
	if links := spans[len(spans)-1].Links; len(links) != 1 || links[0].SpanContext.TraceID() != in.TraceID() {
		t.Errorf("the grant leads to %v", links)
	}
}

// A successor makes the same ids of what is durable, and nobody else does.
func TestSuccessorGoesOn(t *testing.T) {
	one, two := newKit(sdktrace.AlwaysSample()), newKit(sdktrace.AlwaysSample())
	in := one.decide("move opened", order(5, 2))
	two.Heard(ledger.Loaded{Apps: []ledger.AppState{{Spec: ledger.Spec{Name: "app", Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 5}}},
		Rows: []ledger.Row{{}, {}, {}, {Term: 5, Move: 2, Open: &ledger.OpenMove{Term: 5, Move: 2}}}}}})
	if p := two.command(message.PrepareAddShard, order(5, 2)); p[3:35] != in.TraceID().String() {
		t.Errorf("the successor's command is in trace %s, the move in %s", p, in.TraceID())
	}
	two.result(message.PrepareAddShard, order(5, 2), ledger.Done)
	two.finish(order(5, 2), report.StepDone, placement.Drain)
	two.demand(t, "command PrepareAddShard Unset", "move Unset")
	if first := two.kept.GetSpans()[1].SpanContext; first.SpanID() != in.SpanID() {
		t.Errorf("the first span is %s at the successor, %s before", first.SpanID(), in.SpanID())
	}
	other := newKit(sdktrace.AlwaysSample())
	other.cluster = "c2"
	if got := other.decide("move opened", order(5, 2)); got.TraceID() == in.TraceID() {
		t.Error("a move of the same name in another cluster has the same trace")
	}
}

// A newcomer has a trace of its own, from its first order on, and what never ends is not followed for ever.
func TestEnds(t *testing.T) {
	k := newKit(sdktrace.AlwaysSample())
	in := k.decide("secondary added", order(5, 2))
	k.decide("secondary joined", order(5, 3))
	if p := k.command(message.UpdateMembership, order(5, 3)); p[3:35] != in.TraceID().String() {
		t.Errorf("the primary brings it up to date in trace %s, it joins in %s", p, in.TraceID())
	}
	k.Heard(ledger.Detached{Stream: 1}) // the command is not answered any more
	k.decide("granted", order(6, 4))    // it becomes primary
	k.decide("granted", order(7, 5))
	k.Said(&ledger.Effects{Trace: []ledger.Decision{{What: "app deleted", App: "app"}}})
	k.demand(t, "command UpdateMembership Error", "new secondary Error", "grant Error", "grant Error")
}

// At the limit a further move has no trace, and its commands are traces of their own.
func TestMost(t *testing.T) {
	k := newKit(sdktrace.NeverSample())
	k.moves = maxMoves
	if got := k.decide("move opened", order(5, 2)); got.IsValid() || len(k.open) > 0 {
		t.Errorf("one more is followed, in %s", got.TraceID())
	}
	if p := k.command(message.PrepareAddShard, order(5, 2)); p == "" {
		t.Error("its command says nothing of not being sampled")
	}
}

// BenchmarkCommand is a command from its sending to its answer: without tracing, where the move is not sampled, and where it is.
func BenchmarkCommand(b *testing.B) {
	for name, m := range map[string]*Moves{
		"off":       nil,
		"unsampled": New(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()), tracing.Derivable()), "c1"),
		"sampled":   New(sdktrace.NewTracerProvider(tracing.Derivable()), "c1"),
	} {
		b.Run(name, func(b *testing.B) {
			k := &kit{Moves: m}
			k.Heard(ledger.Hello{Stream: 1, Server: shard.Server{ID: "x.app", App: "app", Incarnation: 7}})
			k.decide("move opened", order(5, 2))
			out := &ledger.Effects{Messages: []ledger.Message{{Stream: 1, Body: message.Command{ID: message.CommandID{Incarnation: 7, Shard: "3", Order: order(5, 2), Kind: message.PrepareAddShard}}}}}
			answer := ledger.Event(ledger.Result{Stream: 1, ID: message.CommandID{Incarnation: 7, Shard: "3", Order: order(5, 2), Kind: message.PrepareAddShard}, Status: ledger.Done})
			b.ReportAllocs()
			for b.Loop() {
				k.Said(out)
				k.Heard(answer)
			}
		})
	}
}
