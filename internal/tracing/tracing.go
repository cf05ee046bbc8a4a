// Package tracing sends a daemon's spans to a receiver of OTLP, and knows the ids of traces that are derived and not drawn.
//
// Opened by internal/daemon; allocator/spans and agent/spans make the spans. A receiver that is slow, away or broken costs spans and nothing
// else: they wait in a queue of a fixed size, and what does not fit is dropped.
package tracing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxQueue is the most spans that wait to be sent; more are dropped.
	maxQueue = 16 << 10
	// exportWithin is how long one batch is tried; then its spans are lost.
	exportWithin = 10 * time.Second
	firstRetry   = 500 * time.Millisecond
	// closeWithin is how long the end of a process waits for what is still to be sent.
	closeWithin = 2 * time.Second
	// tellEvery is how often trouble with the receiver is told at most.
	tellEvery = time.Minute
)

// Identity is the process that the spans are of.
type Identity struct{ Service, Instance, Version, Cluster string }

// Provider makes tracers. Close it.
type Provider struct {
	*sdktrace.TracerProvider
	exporter sdktrace.SpanExporter
}

// Open begins to send spans; nothing is dialled before there is one. trouble is told, at most once a minute, what went wrong with the receiver.
func Open(ctx context.Context, s Settings, id Identity, trouble func(error)) (*Provider, error) {
	options, err := s.exporter()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	process, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", id.Service), attribute.String("service.instance.id", id.Instance),
		attribute.String("service.version", id.Version), attribute.String("shardmanager.cluster", id.Cluster),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("tracing: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(&throttle{tell: trouble})
	provider := sdktrace.NewTracerProvider(append(s.sampler(), sdktrace.WithResource(process), Derivable(),
		sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(maxQueue), sdktrace.WithExportTimeout(exportWithin)))...)
	return &Provider{provider, exporter}, nil
}

// Close sends what waits, for two seconds at most.
func (p *Provider) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("spans that waited are lost: %w", err), p.exporter.Shutdown(ctx)) // ends the attempts that go on
	}
	return nil
}

// throttle tells the first of many errors, and one a minute after that.
type throttle struct {
	tell func(error)

	mu   sync.Mutex
	last time.Time
}

// Handle implements otel.ErrorHandler.
func (t *throttle) Handle(err error) {
	t.mu.Lock()
	now := time.Now()
	due := t.last.IsZero() || now.Sub(t.last) >= tellEvery
	if due {
		t.last = now
	}
	t.mu.Unlock()
	if due {
		t.tell(err)
	}
}

// Derived is the ids of a span that begins a trace, known without having been told; a zero Span is drawn.
type Derived struct {
	Trace trace.TraceID
	Span  trace.SpanID
}

type derivedKey struct{}

// With gives the next span that begins a trace these ids.
func (d Derived) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, derivedKey{}, d)
}

// Derivable has a provider give out the ids that Derived asks for.
func Derivable() sdktrace.TracerProviderOption { return sdktrace.WithIDGenerator(ids{}) }

// ids are drawn, but for those derived. The runtime's generator is seeded by the kernel; only equality means anything.
type ids struct{}

// NewIDs implements sdktrace.IDGenerator.
func (ids) NewIDs(ctx context.Context) (t trace.TraceID, s trace.SpanID) {
	d, _ := ctx.Value(derivedKey{}).(Derived)
	for t = d.Trace; !t.IsValid(); {
		binary.BigEndian.PutUint64(t[:8], rand.Uint64())
		binary.BigEndian.PutUint64(t[8:], rand.Uint64())
	}
	if d.Span.IsValid() {
		return t, d.Span
	}
	return t, ids{}.NewSpanID(ctx, t)
}

// NewSpanID implements sdktrace.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) (s trace.SpanID) {
	for !s.IsValid() {
		binary.BigEndian.PutUint64(s[:], rand.Uint64())
	}
	return s
}

const traceParent = "traceparent"

// Parent is W3C's traceparent of a span, for messages; empty without one.
func Parent(sc trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), sc), carrier)
	return carrier[traceParent]
}

// Under is a context under a traceparent that came with a message; ctx itself if it has none, or one that makes no sense.
func Under(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParent: parent})
}
