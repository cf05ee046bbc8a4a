// Package decisionlog writes what the ledger decided to a log, with fixed keys.
//
// Called by the allocator's loop. It keeps nothing.
package decisionlog

import (
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// levelOf says how loudly a decision is told: the many steps of healthy shards only to who asks for them, and what takes a server or a
// move out of its course to everybody.
func levelOf(what string) zerolog.Level {
	switch what {
	case "granted", "move opened", "primary moved", "move done", "probed", "not moved", "ignored":
		return zerolog.DebugLevel
	case "suspected", "lost", "fence", "move aborted", "move rolled back", "command failed", "duplicate refused", "write failed",
		"superseded", "stray shard", "map not published", "later leader heard of":
		return zerolog.WarnLevel
	default:
		return zerolog.InfoLevel
	}
}

// Write writes a decision; the message is its constant name. in is the trace of the move that it is about.
func Write(log *zerolog.Logger, d ledger.Decision, in trace.SpanContext) {
	e := log.WithLevel(levelOf(d.What))
	if d.App != "" {
		e = e.Str("app", string(d.App))
	}
	if d.Shard != "" {
		e = e.Str("shard", string(d.Shard))
	}
	if d.Server != "" {
		e = e.Str("server", string(d.Server))
	}
	if d.Incarnation != 0 {
		e = e.Stringer("incarnation", d.Incarnation)
	}
	if d.Order != (shard.Order{}) {
		e = e.Stringer("order", d.Order)
	}
	if d.Why != "" {
		e = e.Str("why", d.Why)
	}
	if in.IsValid() {
		e = e.Stringer("trace_id", in.TraceID()).Stringer("span_id", in.SpanID())
	}
	e.Msg(d.What)
}
