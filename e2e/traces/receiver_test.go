package traces

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver takes spans as OTLP over HTTP has them.
type receiver struct {
	*httptest.Server

	mu    sync.Mutex
	spans []span
}

// span is one as it was sent.
type span struct {
	*otlp.Span
	service string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, req *http.Request) {
		if err := r.take(req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(body)
	})
	r.Server = httptest.NewServer(mux)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(req *http.Request) error {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(req.Body)
		if err != nil {
			return err
		}
		body = unzipped
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	batch := new(collector.ExportTraceServiceRequest)
	if err := proto.Unmarshal(text, batch); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range batch.ResourceSpans {
		service := attributes(of.Resource.Attributes)["service.name"]
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				r.spans = append(r.spans, span{s, service})
			}
		}
	}
	return nil
}

// all is what has come so far.
func (r *receiver) all() []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]span(nil), r.spans...)
}

// trace is the spans of one trace.
type trace []span

// byTrace sorts spans by the trace that they are of.
func byTrace(all []span) map[string]trace {
	traces := map[string]trace{}
	for _, s := range all {
		id := hex.EncodeToString(s.TraceId)
		traces[id] = append(traces[id], s)
	}
	return traces
}

// named are the spans of a name.
func (t trace) named(service, name string) (list trace) {
	for _, s := range t {
		if s.Name == name && s.service == service {
			list = append(list, s)
		}
	}
	return list
}

// parent of a span; false if the trace does not have it.
func (t trace) parent(of span) (span, bool) {
	for _, s := range t {
		if string(s.SpanId) == string(of.ParentSpanId) {
			return s, true
		}
	}
	return span{}, false
}

// roots are the spans without a parent.
func (t trace) roots() (list trace) {
	for _, s := range t {
		if len(s.ParentSpanId) == 0 {
			list = append(list, s)
		}
	}
	return list
}
