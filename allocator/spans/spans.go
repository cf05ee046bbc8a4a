// Package spans makes the spans of moves at the leader: of placements, failovers, hand-overs and new secondaries, with their writes, their
// commands and what they wait for.
//
// Called by the allocator's loop with what the ledger was told and what it said; only the loop's goroutine does. It decides nothing, and the
// ledger does not know of it. The ids of a move's trace and of its first span follow from what names the move, so a new leader goes on with
// the trace of its predecessor ([ADR 85]).
//
// [ADR 85]: docs/adr/0085-the-trace-of-a-move-follows-from-its-name.md
package spans

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/tracing"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// maxMoves is the most moves that are followed at once; one more has no trace.
	maxMoves = 16 << 10
	// maxCommands is the most commands that are followed at once; one more has no span of its own.
	maxCommands = 64 << 10
)

// Moves is the spans of one tenure. A nil one makes none.
type Moves struct {
	tracer  trace.Tracer
	cluster string

	open     map[place][]*move
	moves    int
	streams  map[ledger.StreamID]shard.Server
	commands map[commandKey]*command
	staged   map[shard.App][]*staging // not in a write yet
	writing  map[ledger.WriteID][]*staging
	contexts []trace.SpanContext // of the decisions that were said last
}

// place is one shard.
type place struct {
	app shard.App
	id  shard.ID
}

// kind of a move.
type kind uint8

const (
	moving   kind = iota + 1 // of the primary, with a hand-over
	granting                 // a placement or a failover
	joining                  // a new secondary
)

// move is one move under way. Its first span is exported when it ends, by whoever leads then.
type move struct {
	at     place
	kind   kind
	order  shard.Order
	also   shard.Order    // of a newcomer that joined: its commands carry this one from then on
	server shard.ServerID // the newcomer
	began  time.Time
	ctx    context.Context
	span   trace.Span
	linger trace.Span // nil: it is not waited for
}

// New makes the spans of a tenure; nil without a provider.
func New(provider trace.TracerProvider, cluster string) *Moves {
	if provider == nil {
		return nil
	}
	return &Moves{tracer: provider.Tracer("shardmanager/allocator"), cluster: cluster, open: map[place][]*move{}, streams: map[ledger.StreamID]shard.Server{},
		commands: map[commandKey]*command{}, staged: map[shard.App][]*staging{}, writing: map[ledger.WriteID][]*staging{}}
}

// Heard takes what the ledger is about to be told.
func (m *Moves) Heard(event ledger.Event) {
	if m == nil {
		return
	}
	switch ev := event.(type) {
	case ledger.Loaded:
		m.loaded(ev)
	case ledger.Hello:
		m.streams[ev.Stream] = ev.Server
	case ledger.Detached:
		m.detached(ev.Stream)
	case ledger.Result:
		m.answered(ev)
	case ledger.WriteDone:
		m.written(ev)
	case ledger.ClockRead, ledger.DrainRequested, ledger.Ended, ledger.LockConfirmed, ledger.PlanReady, ledger.ProbeAnswer, ledger.RegistrationRead,
		ledger.RegistrationsSeen, ledger.Renew, ledger.Request, ledger.RestRequested, ledger.StopRequested:
	}
}

// Said takes what the ledger said, and puts the commands among it into their traces.
func (m *Moves) Said(out *ledger.Effects) {
	if m == nil {
		return
	}
	m.contexts = m.contexts[:0]
	for _, d := range out.Trace {
		sc := trace.SpanContext{}
		if on := m.decided(d); on != nil {
			sc = on.span.SpanContext()
		}
		m.contexts = append(m.contexts, sc)
	}
	for i := range out.Messages {
		m.send(&out.Messages[i])
	}
	for _, w := range out.Writes {
		m.write(w)
	}
	for _, s := range out.Finished {
		m.finished(s)
	}
}

// Of is the trace of a decision among those that were said last; not valid if it is in none.
func (m *Moves) Of(decision int) trace.SpanContext {
	if m == nil || decision >= len(m.contexts) {
		return trace.SpanContext{}
	}
	return m.contexts[decision]
}

// loaded takes up the moves of an earlier leader.
func (m *Moves) loaded(ev ledger.Loaded) {
	for _, app := range ev.Apps {
		for i := range app.Rows {
			row := &app.Rows[i]
			if row.Open == nil {
				continue
			}
			id := row.ID
			if !app.Spec.Space.Named {
				id = app.Spec.Space.Hash.ID(shard.Index(i))
			}
			if on := m.begin(place{app.Spec.Name, id}, moving, row.Open.Order(), ""); on != nil {
				on.span.AddEvent("taken over from an earlier leader")
			}
		}
	}
}

// decided follows a decision; nil: it belongs to no move that is followed.
func (m *Moves) decided(d ledger.Decision) *move {
	at := place{d.App, d.Shard}
	if d.Shard == "" {
		if d.What == "app deleted" {
			m.forget(d.App)
		}
		return nil
	}
	var on *move
	switch d.What {
	case "move opened":
		m.supersede(at, d.Server)
		on = m.begin(at, moving, d.Order, "")
	case "granted":
		m.supersede(at, d.Server)
		on = m.begin(at, granting, d.Order, "", m.linked(at)...)
	case "secondary added":
		on = m.begin(at, joining, d.Order, d.Server)
	case "secondary joined", "secondary told again":
		if on = m.newcomer(at, d.Server); on != nil {
			on.also = d.Order
		}
	case "secondary given up", "secondary lost":
		if on = m.newcomer(at, d.Server); on != nil {
			m.end(on, d.Why)
		}
		return on
	case "primary moved", "move aborted", "move rolled back", "move done":
		on = m.of(at, moving)
	case "shard given back":
		if on = m.of(at, granting); on != nil {
			m.end(on, d.Why)
		}
		return on
	case "shard deleted":
		m.endAll(at, d.What)
		return nil
	case "command failed":
		if on = m.find(at, d.Order); on != nil {
			on.span.AddEvent(d.What, trace.WithAttributes(attribute.String("shardmanager.why", d.Why)))
		}
		return on
	default:
		return m.find(at, d.Order)
	}
	m.stage(on, d)
	return on
}

// begin follows a move from now on; nil: too many are.
func (m *Moves) begin(at place, k kind, o shard.Order, server shard.ServerID, links ...trace.Link) *move {
	if m.moves >= maxMoves {
		return nil
	}
	on := &move{at: at, kind: k, order: o, server: server, began: time.Now()}
	name := [...]string{moving: "move", granting: "grant", joining: "new secondary"}[k]
	on.ctx, on.span = m.tracer.Start(m.derived(at, o, server, true).With(context.Background()), name,
		trace.WithNewRoot(), trace.WithTimestamp(on.began), trace.WithLinks(links...), trace.WithAttributes(of(at, o)...))
	m.open[at] = append(m.open[at], on)
	m.moves++
	return on
}

// derived is the ids that follow from a move's name.
func (m *Moves) derived(at place, o shard.Order, server shard.ServerID, first bool) (d tracing.Derived) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d/%d %q", m.cluster, at.app, at.id, o.Term, o.Move, server))
	copy(d.Trace[:], sum[:16])
	if first {
		copy(d.Span[:], sum[16:24])
	}
	return d
}

func of(at place, o shard.Order) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("shardmanager.app", string(at.app)), attribute.String("shardmanager.shard", string(at.id)),
		attribute.String("shardmanager.order", o.String())}
}

// supersede ends what a new decision about a shard's primary leaves behind: a grant that nobody acknowledged, and the newcomer that becomes primary.
func (m *Moves) supersede(at place, server shard.ServerID) {
	if on := m.of(at, granting); on != nil {
		m.end(on, "another decision took its place")
	}
	if on := m.newcomer(at, server); on != nil {
		m.end(on, "it becomes primary")
	}
}

// linked leads from the grant that an aborted move, or one whose target was lost, ends with to that move.
func (m *Moves) linked(at place) []trace.Link {
	if on := m.of(at, moving); on != nil {
		return []trace.Link{{SpanContext: on.span.SpanContext()}}
	}
	return nil
}

func (m *Moves) of(at place, k kind) *move {
	for _, on := range m.open[at] {
		if on.kind == k {
			return on
		}
	}
	return nil
}

func (m *Moves) newcomer(at place, server shard.ServerID) *move {
	for _, on := range m.open[at] {
		if on.kind == joining && on.server == server {
			return on
		}
	}
	return nil
}

// find is the move that an order is of: it is the move's own, or comes of the term that was reserved for its target.
func (m *Moves) find(at place, o shard.Order) *move {
	for _, on := range m.open[at] {
		if on.order == o || on.also == o {
			return on
		}
	}
	if on := m.of(at, moving); on != nil && on.order.Term == o.Term {
		return on
	}
	return nil
}

// forget ends what is followed of an app that is not there any more.
func (m *Moves) forget(app shard.App) {
	for at := range m.open {
		if at.app == app {
			m.endAll(at, "app deleted")
		}
	}
	delete(m.staged, app)
}

func (m *Moves) endAll(at place, why string) {
	for _, on := range slices.Clone(m.open[at]) {
		m.end(on, why)
	}
}

// finished ends a move as the ledger tells of it.
func (m *Moves) finished(s report.MoveStatus) {
	at := place{s.App, s.Shard}
	on := m.newcomer(at, s.To)
	if on == nil || on.order != s.Order && on.also != s.Order {
		on = m.find(at, s.Order)
	}
	if on == nil {
		return
	}
	if on.kind == granting && s.Reason == placement.Place {
		on.span.SetName("placement")
	} else if on.kind == granting && s.Reason == placement.Failover {
		on.span.SetName("failover")
	}
	on.span.SetAttributes(attribute.String("shardmanager.from", string(s.From)), attribute.String("shardmanager.to", string(s.To)),
		attribute.String("shardmanager.reason", reason(s.Reason)), attribute.Int("shardmanager.failures", s.Attempts))
	if s.Unserved > 0 && s.Unserved > time.Since(on.began) {
		_, wait := m.tracer.Start(on.ctx, "wait lease", trace.WithTimestamp(time.Now().Add(-s.Unserved)))
		wait.End(trace.WithTimestamp(on.began))
	}
	why := ""
	if s.Step == report.StepAborted {
		why = "aborted: " + s.Detail
	}
	m.end(on, why)
}

func reason(r placement.Reason) string {
	return strings.ToLower(strings.TrimPrefix(pb.MoveReason(r).String(), "MOVE_REASON_"))
}

// end ends a move; why it came to nothing, empty if it did not.
func (m *Moves) end(on *move, why string) {
	m.open[on.at] = slices.DeleteFunc(m.open[on.at], func(other *move) bool { return other == on })
	if len(m.open[on.at]) == 0 {
		delete(m.open, on.at)
	}
	m.moves--
	on.endLinger()
	if why != "" {
		on.span.SetStatus(codes.Error, why)
	}
	on.span.End()
}

func (on *move) endLinger() {
	if on.linger != nil {
		on.linger.End()
		on.linger = nil
	}
}
