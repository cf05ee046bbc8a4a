package spans

import (
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const parent = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"

func id(kind roster.Kind) roster.CommandID {
	return roster.CommandID{Incarnation: 7, Shard: "3", Order: shard.Order{Term: 5, Move: 2}, Kind: kind}
}

func said(results ...roster.Result) *roster.Effects {
	out := new(roster.Effects)
	for _, r := range results {
		out.Messages = append(out.Messages, roster.Message{Body: r})
	}
	return out
}

// A command has one span from its receipt to its result, under the leader's, and its calls and decisions are in it.
func TestCommands(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	c := New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)), "x.app")
	c.Received(id(roster.AddShard), parent)
	c.Received(id(roster.AddShard), parent) // once more, on the next stream
	c.Received(id(roster.DropShard), parent)
	c.Received(id(roster.CancelMove), "")
	c.Received(id(roster.PrepareAddShard), "nonsense")
	in := trace.SpanContextFromContext(c.Calling(t.Context(), roster.Call{Kind: roster.CallActivate, Shard: "3", Order: shard.Order{Term: 5, Move: 2}}))
	if in.TraceID().String() != parent[3:35] {
		t.Errorf("a call is in trace %s", in.TraceID())
	}
	for _, other := range []roster.Call{{Kind: roster.CallCollectLoad}, {Kind: roster.CallAddShard, Shard: "3", Order: shard.Order{Term: 6, Move: 2}},
		{Kind: roster.CallCancelMove, Shard: "3", Order: shard.Order{Term: 5, Move: 2}}} {
		if ctx := c.Calling(t.Context(), other); trace.SpanContextFromContext(ctx).IsValid() {
			t.Errorf("call %v is in a trace", other)
		}
	}
	if got := c.Of(roster.Decision{Shard: "3", Order: shard.Order{Term: 5, Move: 2}}); got.TraceID() != in.TraceID() {
		t.Errorf("a decision is in trace %s", got.TraceID())
	}
	c.Said(said(roster.Result{ID: id(roster.AddShard), Status: roster.Done}, roster.Result{ID: id(roster.UpdateMembership), Status: roster.Done}))
	c.Said(&roster.Effects{Attach: []roster.Attachment{{}}})
	spans := kept.GetSpans()
	if len(spans) != 2 || spans[0].Name != "agent AddShard" || spans[0].Status.Code != codes.Unset || spans[1].Name != "agent DropShard" || spans[1].Status.Code != codes.Error {
		t.Fatalf("spans %+v", spans)
	}
	if len(c.open) != 0 {
		t.Errorf("%d commands are still followed", len(c.open))
	}
}

// Without a provider nothing is done; at the limit nothing more is.
func TestNone(t *testing.T) {
	none := New(nil, "x.app")
	none.Received(id(roster.AddShard), parent)
	none.Said(said())
	if none.Calling(t.Context(), roster.Call{}) != t.Context() || none.Of(roster.Decision{Shard: "3"}).IsValid() {
		t.Error("there are spans without a provider")
	}
	full := New(sdktrace.NewTracerProvider(), "x.app")
	for i := range maxCommands + 1 {
		full.Received(roster.CommandID{Shard: "3", Order: shard.Order{Term: 1, Move: shard.MoveID(i + 1)}, Kind: roster.AddShard}, parent)
	}
	if len(full.open) != maxCommands {
		t.Errorf("%d commands are followed", len(full.open))
	}
}
