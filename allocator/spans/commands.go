package spans

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/tracing"
)

// commandKey names a command, whoever leads.
type commandKey struct {
	incarnation shard.Incarnation
	at          place
	order       shard.Order
	kind        message.Kind
}

// command is one that was sent and is not answered.
type command struct {
	of     *move // nil: of none that is followed
	stream ledger.StreamID
	span   trace.Span
}

// send begins the span of a command, and puts its ids into the message. One that belongs to no move is a trace of its own.
func (m *Moves) send(to *ledger.Message) {
	c, ok := to.Body.(message.Command)
	server, known := m.streams[to.Stream]
	if !ok || !known {
		return
	}
	at := place{server.App, c.ID.Shard}
	key := commandKey{c.ID.Incarnation, at, c.ID.Order, c.ID.Kind}
	if before := m.commands[key]; before != nil {
		before.end("not answered; sent again")
		delete(m.commands, key)
	}
	on := m.find(at, c.ID.Order)
	ctx := m.derived(at, c.ID.Order, "", false).With(context.Background())
	if on != nil {
		ctx = on.ctx
		if c.ID.Kind == message.DropShard || on.order != c.ID.Order {
			on.endLinger()
		}
	}
	_, span := m.tracer.Start(ctx, "command "+c.ID.Kind.String(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(of(at, c.ID.Order)...),
		trace.WithAttributes(attribute.String("shardmanager.server", string(server.ID)), attribute.Stringer("shardmanager.incarnation", c.ID.Incarnation)))
	c.TraceParent = tracing.Parent(span.SpanContext())
	to.Body = c
	if len(m.commands) < maxCommands {
		m.commands[key] = &command{of: on, stream: to.Stream, span: span}
	}
}

// answered ends the span of a command.
func (m *Moves) answered(ev ledger.Result) {
	key := commandKey{ev.ID.Incarnation, place{m.streams[ev.Stream].App, ev.ID.Shard}, ev.ID.Order, ev.ID.Kind}
	c := m.commands[key]
	if c == nil {
		return
	}
	delete(m.commands, key)
	switch ev.Status {
	case ledger.Done, ledger.NotBegun, ledger.Begun:
		c.end("")
	case ledger.Stale, ledger.Failed, ledger.Busy:
		c.end(ev.Err)
	}
	if on := c.of; on != nil && on.kind == moving && on.linger == nil && ev.ID.Kind == message.AddShard && ev.Status == ledger.Done && ev.ID.Order == on.order {
		_, on.linger = m.tracer.Start(on.ctx, "wait linger")
	}
}

// detached ends the spans of the commands that a stream carried: what still matters is sent again on the next.
func (m *Moves) detached(id ledger.StreamID) {
	delete(m.streams, id)
	for key, c := range m.commands {
		if c.stream == id {
			c.end("the stream to its agent ended")
			delete(m.commands, key)
		}
	}
}

func (c *command) end(failure string) {
	if failure != "" {
		c.span.SetStatus(codes.Error, failure)
	}
	c.span.End()
}
