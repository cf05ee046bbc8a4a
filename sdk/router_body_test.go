package sdk

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A refused request's body arrives whole the second time, where it can be had again.
func TestBodiesAreReplayed(t *testing.T) {
	small, large := strings.Repeat("s", 1000), strings.Repeat("l", 3*MaxReplayBody)
	for _, c := range []struct {
		name     string
		body     func() *http.Request
		want     string
		attempts int32
		outcome  Outcome // 0: it succeeds
	}{
		{"none", func() *http.Request { return post(nil, nil, 0) }, "", 2, 0},
		{"small", func() *http.Request { return post(strings.NewReader(small), nil, int64(len(small))) }, small, 2, 0},
		{"at the limit", func() *http.Request { return post(strings.NewReader(large[:MaxReplayBody]), nil, MaxReplayBody) }, large[:MaxReplayBody], 2, 0},
		{"large", func() *http.Request { return post(strings.NewReader(large), nil, int64(len(large))) }, large, 1, NotExecuted},
		{"large, GetBody", func() *http.Request { return post(strings.NewReader(large), reader(large), int64(len(large))) }, large, 2, 0},
		{"unknown length", func() *http.Request { return post(strings.NewReader(small), nil, -1) }, small, 1, NotExecuted},
		{"unknown length, GetBody", func() *http.Request { return post(strings.NewReader(small), reader(small), -1) }, small, 2, 0},
	} {
		for _, protocol := range []string{"h1", "h2c"} {
			t.Run(c.name+"/"+protocol, func(t *testing.T) {
				source := startMapSource(t)
				var attempts atomic.Int32
				source.publish(startData(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if got, err := io.ReadAll(r.Body); err != nil || string(got) != c.want {
						t.Errorf("attempt %d: %d bytes, error %v, want %d", attempts.Load()+1, len(got), err, len(c.want))
					}
					if attempts.Add(1) == 1 {
						refusing(NotExecuted, "")(w, r)
					}
				})))
				r := readyRouter(t, source)
				response, err := r.Transport(baseOf(t, protocol)).RoundTrip(c.body().WithContext(WithKey(within(t, patience), "key")))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = response.Body.Close() }()
				outcome, _ := ParseOutcome(response.Header.Get(HeaderOutcome))
				if outcome != c.outcome || attempts.Load() != c.attempts {
					t.Errorf("outcome %q after %d attempts, want %q after %d", outcome, attempts.Load(), c.outcome, c.attempts)
				}
			})
		}
	}
}

func post(body io.Reader, again func() (io.ReadCloser, error), length int64) *http.Request {
	req, err := http.NewRequest(http.MethodPost, "http://kv/", nil)
	if err != nil {
		panic(err)
	}
	if body != nil {
		req.Body, req.GetBody, req.ContentLength = io.NopCloser(body), again, length
	}
	return req
}

func reader(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// A body that cannot be had again goes on to the next server as long as nothing of it was read.
func TestUnreadBodyGoesOn(t *testing.T) {
	source := startMapSource(t)
	source.publish(nobody(t))
	r := readyRouter(t, source)
	go func() {
		time.Sleep(20 * time.Millisecond)
		source.publish(startData(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
	}()
	body := &countedBody{Reader: strings.NewReader("streamed")}
	req := post(nil, nil, 0)
	req.Body, req.ContentLength = body, -1
	response, err := r.Transport(nil).RoundTrip(req.WithContext(WithKey(within(t, patience), "key")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if got, err := io.ReadAll(response.Body); err != nil || string(got) != "streamed" {
		t.Errorf("echo %q, error %v", got, err)
	}
	if body.closed.Load() != 1 {
		t.Errorf("body closed %d times, want once", body.closed.Load())
	}
}

// Whatever becomes of a request, its body is closed once.
func TestBodyIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		address string
		length  int64
		keyed   bool
	}{
		"no key":                 {"127.0.0.1:1001", 5, false},
		"kept":                   {"127.0.0.1:1001", 5, true},
		"shorter than it says":   {"127.0.0.1:1001", 6, true},
		"longer than it says":    {"127.0.0.1:1001", 4, true},
		"never sent, streamed":   {"", -1, true},
		"never read, streamed":   {nobody(t), -1, true},
		"never sent, kept":       {"", 5, true},
		"refused dial, streamed": {nobody(t), 3 * MaxReplayBody, true},
	} {
		r := stillRouter(t, c.address)
		body := &countedBody{Reader: strings.NewReader("hello")}
		req := post(nil, nil, 0)
		req.Body, req.ContentLength = body, c.length
		ctx := within(t, 50*time.Millisecond)
		if c.keyed {
			ctx = WithKey(ctx, "key")
		}
		response, err := r.Transport(nil).RoundTrip(req.WithContext(ctx))
		if err == nil {
			_ = response.Body.Close()
			t.Errorf("%s: answered", name)
		}
		if body.closed.Load() != 1 {
			t.Errorf("%s: body closed %d times (%v), want once", name, body.closed.Load(), err)
		}
	}
}

type countedBody struct {
	io.Reader
	closed atomic.Int32
}

func (b *countedBody) Close() error {
	b.closed.Add(1)
	return nil
}
