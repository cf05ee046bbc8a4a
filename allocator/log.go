package allocator

import (
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// logDecision writes what the ledger decided, with fixed keys; the message is the decision's constant name.
func (a *Allocator) logDecision(d ledger.Decision) {
	e := a.log.WithLevel(zerolog.InfoLevel)
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
	e.Msg(d.What)
}
