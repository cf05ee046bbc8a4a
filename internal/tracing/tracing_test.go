package tracing

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ratio(r float64) *float64 { return &r }

func TestSettings(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		settings Settings
		wrong    string // part of the error; empty: there is none
	}{
		"nothing":          {},
		"an endpoint":      {settings: Settings{Endpoint: "http://127.0.0.1:4318", SampleRatio: ratio(0.5)}},
		"with a path":      {settings: Settings{Endpoint: "https://otel.example/x/v1/traces", SampleRatio: ratio(0)}},
		"no scheme":        {Settings{Endpoint: "127.0.0.1:4318"}, "tracing_endpoint: expected a URL"},
		"another scheme":   {Settings{Endpoint: "grpc://127.0.0.1:4317"}, "tracing_endpoint: expected a URL"},
		"no host":          {Settings{Endpoint: "http://"}, "tracing_endpoint: expected a URL"},
		"below 0":          {Settings{SampleRatio: ratio(-0.1)}, "tracing_sample_ratio: expected 0"},
		"above 1":          {Settings{SampleRatio: ratio(10)}, "tracing_sample_ratio: expected 0"},
		"no such file":     {Settings{CAFile: empty + "x"}, "tracing_ca_file: open"},
		"no certificate":   {Settings{CAFile: empty}, "tracing_ca_file: expected certificates in PEM"},
		"CA without https": {Settings{Endpoint: "http://h:1", CAFile: empty}, "tracing_ca_file: expected an https://"},
	} {
		err := c.settings.Validate()
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v, not %q", name, err, c.wrong)
		}
	}
}

func TestOn(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint string
		environ  map[string]string
		on       bool
	}{
		"nothing":                      {},
		"the setting":                  {endpoint: "http://h:1", on: true},
		"the variable":                 {environ: map[string]string{endpointVariable: "http://h:1"}, on: true},
		"the variable of traces":       {environ: map[string]string{tracesEndpointVariable: "http://h:1"}, on: true},
		"disabled":                     {environ: map[string]string{endpointVariable: "http://h:1", disabledVariable: "TRUE"}},
		"disabled, but for our sakes":  {endpoint: "http://h:1", environ: map[string]string{disabledVariable: "true"}, on: true},
		"a variable of something else": {environ: map[string]string{"OTEL_SERVICE_NAME": "x"}},
	} {
		if got := (Settings{Endpoint: c.endpoint}).On(func(key string) string { return c.environ[key] }); got != c.on {
			t.Errorf("%s: on is %t", name, got)
		}
	}
}

// What begins a trace under derived ids has them; what is below, and what begins another, has ids of its own.
func TestDerivedIDs(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(Derivable(), sdktrace.WithSyncer(kept))
	tracer := provider.Tracer("test")
	d := Derived{Trace: trace.TraceID{1, 15: 2}, Span: trace.SpanID{3}}
	ctx, first := tracer.Start(d.With(t.Context()), "first", trace.WithNewRoot())
	_, below := tracer.Start(ctx, "below")
	_, again := tracer.Start(Derived{Trace: d.Trace}.With(t.Context()), "again")
	_, other := tracer.Start(t.Context(), "other")
	if sc := first.SpanContext(); sc.TraceID() != d.Trace || sc.SpanID() != d.Span {
		t.Errorf("the first span is %s/%s", sc.TraceID(), sc.SpanID())
	}
	if sc := below.SpanContext(); sc.TraceID() != d.Trace || sc.SpanID() == d.Span || !sc.SpanID().IsValid() {
		t.Errorf("the one below it is %s/%s", sc.TraceID(), sc.SpanID())
	}
	if sc := again.SpanContext(); sc.TraceID() != d.Trace || sc.SpanID() == d.Span || sc.SpanID() == below.SpanContext().SpanID() {
		t.Errorf("another one of the trace is %s/%s", sc.TraceID(), sc.SpanID())
	}
	if sc := other.SpanContext(); sc.TraceID() == d.Trace || !sc.IsValid() {
		t.Errorf("one of another trace is %s/%s", sc.TraceID(), sc.SpanID())
	}
}

// A traceparent says the same at the other end, and one that makes no sense says nothing.
func TestParent(t *testing.T) {
	for _, sampled := range []trace.TraceFlags{0, trace.FlagsSampled} {
		sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: sampled})
		got := trace.SpanContextFromContext(Under(t.Context(), Parent(sc)))
		if got.TraceID() != sc.TraceID() || got.SpanID() != sc.SpanID() || got.IsSampled() != sc.IsSampled() {
			t.Errorf("%s came back as %s/%s", Parent(sc), got.TraceID(), got.SpanID())
		}
	}
	if p := Parent(trace.SpanContext{}); p != "" {
		t.Errorf("no span has the parent %q", p)
	}
	for _, wrong := range []string{"", "x", "00-00000000000000000000000000000000-0000000000000000-01", strings.Repeat("0", 1<<20)} {
		if sc := trace.SpanContextFromContext(Under(t.Context(), wrong)); sc.IsValid() {
			t.Errorf("%.60q is %s", wrong, sc.TraceID())
		}
	}
}

// Trouble is told once, and not again at once.
func TestTroubleIsThrottled(t *testing.T) {
	told := 0
	h := &throttle{tell: func(error) { told++ }}
	for range 100 {
		h.Handle(errors.New("away"))
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
