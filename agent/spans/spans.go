// Package spans makes the spans of the leader's commands at an agent, from their receipt until their results leave, and leads from them to the
// calls of the application.
//
// Called by the agent's loop, and by nobody else; the roster does not know of it. A command that came without a trace has no span.
package spans

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/tracing"
)

// maxCommands is the most commands of a server that are followed at once; one more has no span of its own.
const maxCommands = 16 << 10

// Commands is the spans of one server. A nil one makes none.
type Commands struct {
	tracer trace.Tracer
	server shard.ServerID
	open   map[key]trace.Span
}

// key names a command, whoever leads.
type key struct {
	shard shard.ID
	order shard.Order
	kind  roster.Kind
}

// New makes the spans of a server; nil without a provider.
func New(provider trace.TracerProvider, server shard.ServerID) *Commands {
	if provider == nil {
		return nil
	}
	return &Commands{tracer: provider.Tracer("shardmanager/agent"), server: server, open: map[key]trace.Span{}}
}

var kindNames = map[roster.Kind]string{
	roster.AddShard: "AddShard", roster.DropShard: "DropShard", roster.PrepareAddShard: "PrepareAddShard",
	roster.PrepareDropShard: "PrepareDropShard", roster.CancelMove: "CancelMove", roster.UpdateMembership: "UpdateMembership",
}

// Received begins the span of a command under the traceparent that came with it. The same command again goes on with the first.
func (c *Commands) Received(id roster.CommandID, parent string) {
	if c == nil || parent == "" || len(c.open) >= maxCommands {
		return
	}
	k := key{id.Shard, id.Order, id.Kind}
	ctx := tracing.Under(context.Background(), parent)
	if c.open[k] != nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	_, c.open[k] = c.tracer.Start(ctx, "agent "+kindNames[id.Kind], trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("shardmanager.server", string(c.server)), attribute.Stringer("shardmanager.incarnation", id.Incarnation),
		attribute.String("shardmanager.shard", string(id.Shard)), attribute.String("shardmanager.order", id.Order.String())))
}

// commandOf is the command that a call to the application is for.
var commandOf = map[roster.CallKind]roster.Kind{
	roster.CallActivate: roster.AddShard, roster.CallAddShard: roster.AddShard, roster.CallDropShard: roster.DropShard,
	roster.CallPrepareAdd: roster.PrepareAddShard, roster.CallPrepareDrop: roster.PrepareDropShard, roster.CallCancelMove: roster.CancelMove,
	roster.CallUpdateMembership: roster.UpdateMembership,
}

// Calling is the context of a call: under its command's span, or ctx where there is none.
func (c *Commands) Calling(ctx context.Context, call roster.Call) context.Context {
	if c == nil {
		return ctx
	}
	if span := c.open[key{call.Shard, call.Order, commandOf[call.Kind]}]; span != nil {
		return trace.ContextWithSpan(ctx, span)
	}
	return ctx
}

// Of is the trace of a decision about a shard; not valid if it is in none.
func (c *Commands) Of(d roster.Decision) trace.SpanContext {
	if c == nil || d.Shard == "" {
		return trace.SpanContext{}
	}
	for _, kind := range commandOf {
		if span := c.open[key{d.Shard, d.Order, kind}]; span != nil {
			return span.SpanContext()
		}
	}
	return trace.SpanContext{}
}

// Said ends the spans of the commands whose results leave, and of all where the stream that they came on is given up: what still matters comes
// again on the next.
func (c *Commands) Said(out *roster.Effects) {
	if c == nil {
		return
	}
	for _, m := range out.Messages {
		result, ok := m.Body.(roster.Result)
		k := key{result.ID.Shard, result.ID.Order, result.ID.Kind}
		if span := c.open[k]; ok && span != nil {
			c.end(k, span, result)
		}
	}
	if len(out.Attach) > 0 {
		for k, span := range c.open {
			c.end(k, span, roster.Result{Status: roster.Failed, Err: "the stream to the leader, or the incarnation, ended"})
		}
	}
}

func (c *Commands) end(k key, span trace.Span, r roster.Result) {
	switch r.Status {
	case roster.Stale, roster.Failed, roster.Busy:
		span.SetStatus(codes.Error, r.Err)
	case roster.Done, roster.NotBegun, roster.Begun:
	}
	span.End()
	delete(c.open, k)
}
