package spans

import (
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// staging is a row that was decided and is not durable yet.
type staging struct {
	app   shard.App
	id    shard.ID
	index int // of an id that is a number, which those of a hash space are; else -1
	order shard.Order
	span  trace.Span
}

// stage begins the span of a write, from the decision until it is durable.
func (m *Moves) stage(on *move, d ledger.Decision) {
	if on == nil || !on.span.IsRecording() {
		return
	}
	_, span := m.tracer.Start(on.ctx, "write", trace.WithAttributes(attribute.String("shardmanager.decision", d.What), attribute.String("shardmanager.why", d.Why),
		attribute.String("shardmanager.order", d.Order.String())))
	index, err := strconv.Atoi(string(d.Shard))
	if err != nil {
		index = -1
	}
	m.staged[d.App] = append(m.staged[d.App], &staging{app: d.App, id: d.Shard, index: index, order: d.Order, span: span})
}

// write notes which rows a write makes durable.
func (m *Moves) write(w ledger.Write) {
	for _, op := range w.Ops {
		chunk, ok := op.(ledger.PutChunk)
		if !ok || len(m.staged[chunk.App]) == 0 {
			continue
		}
		m.staged[chunk.App] = slices.DeleteFunc(m.staged[chunk.App], func(s *staging) bool {
			in := s.in(chunk)
			if in {
				m.writing[w.ID] = append(m.writing[w.ID], s)
			}
			return in
		})
		if len(m.staged[chunk.App]) == 0 {
			delete(m.staged, chunk.App)
		}
	}
}

// in reports whether a chunk holds the row as it was decided, or as it was decided after that.
func (s *staging) in(chunk ledger.PutChunk) bool {
	if at := s.index - chunk.Chunk*ledger.ChunkShards; s.index >= 0 && at >= 0 && at < len(chunk.Rows) && chunk.Rows[at].ID == "" {
		return s.by(&chunk.Rows[at])
	}
	return slices.ContainsFunc(chunk.Rows, func(r ledger.Row) bool { return r.ID == s.id && s.by(&r) })
}

func (s *staging) by(r *ledger.Row) bool {
	return s.order.Compare(shard.Order{Term: r.Term, Move: r.Move}) <= 0
}

// written ends the spans of a write that is durable; the rows of any other are written again.
func (m *Moves) written(ev ledger.WriteDone) {
	list := m.writing[ev.ID]
	delete(m.writing, ev.ID)
	for _, s := range list {
		if ev.Outcome == ledger.Committed {
			s.span.End()
			continue
		}
		s.span.AddEvent("not written", trace.WithAttributes(attribute.String("shardmanager.why", ev.Err)))
		m.staged[s.app] = append(m.staged[s.app], s)
	}
}
