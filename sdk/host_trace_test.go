package sdk

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const testParent = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"

// arrived is the context of a call with a header.
func arrived(ctx context.Context, parent string) (in context.Context) {
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	request.Header.Set("Traceparent", parent)
	inTrace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { in = r.Context() })).ServeHTTP(httptest.NewRecorder(), request)
	return in
}

// Callbacks of a command in a trace have spans in it, whatever becomes of them; others have none.
func TestCallbacksAreTraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := tracetest.NewInMemoryExporter()
		s, app := &service{host: leased(t)}, &full{fail: "panic"}
		s.host.handler, s.host.tracer = app, sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)).Tracer("test")
		request := &pb.AddShardRequest{Command: testOrder{1, 1}.command(), Role: pb.Role_ROLE_PRIMARY}
		for _, parent := range []string{"", "nonsense", testParent} {
			if _, err := s.AddShard(arrived(t.Context(), parent), request); err == nil {
				t.Error("the panic is no error")
			}
		}
		app.fail = "stale"
		if _, err := s.AddShard(arrived(t.Context(), testParent), request); err == nil {
			t.Error("the failure is no error")
		}
		app.fail = ""
		if _, err := s.AddShard(arrived(t.Context(), testParent), request); err != nil {
			t.Error(err)
		}
		want := []struct {
			name string
			code codes.Code
		}{{"callback Activate", codes.Unset}, {"callback Activate", codes.Error}, {"callback Activate", codes.Unset}, {"callback AddShard", codes.Unset}}
		spans := kept.GetSpans()
		if len(spans) != len(want) {
			t.Fatalf("%d spans", len(spans))
		}
		for i, s := range spans {
			if s.Name != want[i].name || s.Status.Code != want[i].code || s.SpanContext.TraceID().String() != testParent[3:35] || s.Parent.SpanID().String() != testParent[36:52] {
				t.Errorf("span %d is %s (%s) in %s", i, s.Name, s.Status.Code, s.SpanContext.TraceID())
			}
		}
		if len(spans[0].Events) != 1 || spans[0].Events[0].Name != "exception" {
			t.Errorf("the panic is told as %v", spans[0].Events)
		}
	})
}

// What is asked of another application says which trace it is of.
func TestTransfersTellTheirTrace(t *testing.T) {
	told := make(chan string, 2)
	peer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Traceparent") }))
	defer peer.Close()
	for _, ctx := range []context.Context{t.Context(), arrived(t.Context(), testParent)} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, peer.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := telling{http.DefaultTransport}.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		want := ""
		if trace.SpanContextFromContext(ctx).IsValid() {
			want = testParent
		}
		if got := <-told; got != want || request.Header.Get("Traceparent") != "" {
			t.Errorf("told %q, not %q", got, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// BenchmarkCallback is a callback around nothing: for a move that is not traced, and for one that is, with nobody to take the spans.
func BenchmarkCallback(b *testing.B) {
	h, err := NewHost("kv", &full{}, WithDataAddress("127.0.0.1:1"))
	if err != nil {
		b.Fatal(err)
	}
	nothing := func(context.Context) error { return nil }
	for name, ctx := range map[string]context.Context{"untraced": b.Context(), "traced": arrived(b.Context(), testParent)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = h.call(ctx, nil, "AddShard", Shard{App: "kv", ID: "07", Term: 1}, nothing)
			}
		})
	}
}
