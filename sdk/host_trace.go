package sdk

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// WithTracerProvider says who takes the spans of this Host: of callbacks, and of state that is handed over, for moves that the allocators trace. The
// context of a callback carries its span, so what the application does there can be a part of the move's trace. Default: OpenTelemetry's
// global provider (otel.SetTracerProvider), which drops everything until the application sets one.
func WithTracerProvider(provider trace.TracerProvider) HostOption {
	return func(o *hostOptions) error {
		if provider != nil {
			o.tracing = provider
		}
		return nil
	}
}

// headers is how a trace is told between processes: as W3C has it.
var headers propagation.TraceContext

// inTrace takes up the trace that a call is a part of.
func inTrace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx := headers.Extract(r.Context(), propagation.HeaderCarrier(r.Header)); ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// telling tells whom it calls which trace the call is a part of.
type telling struct{ next http.RoundTripper }

func (t telling) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace.SpanContextFromContext(r.Context()).IsValid() {
		r = r.Clone(r.Context())
		headers.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	}
	return t.next.RoundTrip(r)
}

// traced does a step of a command in a span, where the command is part of a trace.
func (h *Host) traced(ctx context.Context, name string, s Shard, do func(context.Context) error) error {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return do(ctx)
	}
	ctx, span := h.tracer.Start(ctx, name, trace.WithAttributes(attribute.String("shardmanager.app", s.App), attribute.String("shardmanager.shard", s.ID),
		attribute.Int64("shardmanager.term", int64(s.Term)))) //nolint:gosec // a term that is above 2^63 is shown as negative
	defer span.End() // and where do panics
	err := do(ctx)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	return err
}
