package webhook_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/webhook"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

var quick = webhook.Pacing{Attempt: patience, First: time.Millisecond, Longest: 4 * time.Millisecond, Attempts: 3}

// receiver is a real HTTP server that checks signatures and keeps what it was told.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	answer   func(n int, w http.ResponseWriter, r *http.Request) // to the n-th request, from 1; nil: 200
	requests int
	got      []string // what it answered 200 to: names of decisions, else types
	ids      []string
	arrived  chan struct{} // capacity 1
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	r := &receiver{answer: answer, arrived: make(chan struct{}, 1)}
	secret, err := standardwebhooks.NewWebhook(secretOf('a'))
	if err != nil {
		t.Fatal(err)
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return // given up
		}
		if err := secret.Verify(body, request.Header); err != nil || request.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v: %v", request.Header, err)
		}
		r.take(t, w, request, body)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(t *testing.T, w http.ResponseWriter, request *http.Request, body []byte) {
	r.mu.Lock()
	r.requests++
	n, answer := r.requests, r.answer
	r.mu.Unlock()
	if answer != nil {
		code := &recorded{ResponseWriter: w, code: http.StatusOK}
		if answer(n, code, request); code.code != http.StatusOK {
			return
		}
	}
	var message struct {
		Type, Timestamp, Cluster string
		Data                     struct{ Decision struct{ What string } }
	}
	if err := json.Unmarshal(body, &message); err != nil || message.Cluster != "c1" {
		t.Errorf("%s: %v", body, err)
	}
	if _, err := time.Parse(time.RFC3339Nano, message.Timestamp); err != nil {
		t.Error(err)
	}
	name := message.Data.Decision.What
	if name == "" {
		name = message.Type
	}
	r.mu.Lock()
	r.got, r.ids = append(r.got, name), append(r.ids, request.Header.Get("webhook-id"))
	r.mu.Unlock()
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// recorded remembers the status.
type recorded struct {
	http.ResponseWriter
	code int
}

func (r *recorded) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// wants waits until the receiver was told so much, and compares.
func (r *receiver) wants(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		if len(got) >= len(want) {
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			return
		}
		select {
		case <-r.arrived:
		case <-deadline:
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

type bed struct {
	*testing.T
	log     *events.Log
	sender  *webhook.Sender
	metrics *prometheus.Registry
	stop    func()
}

// start runs a sender in a leadership, until the test ends or stops it.
func start(t *testing.T, pacing webhook.Pacing, file string) *bed {
	t.Helper()
	targets, err := configure(t, file, secretOf('b'), secretOf('a'))
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{T: t, log: events.NewLog(), metrics: prometheus.NewPedanticRegistry()}
	b.sender = webhook.New(targets, webhook.Deps{Cluster: "c1", Events: b.log, Log: zerolog.Nop(), Pacing: pacing, Metrics: b.metrics})
	b.lead(1)
	return b
}

// lead begins a leadership; the one before must have ended.
func (b *bed) lead(epoch uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.sender.Run(ctx, shard.Epoch{Index: epoch})
	}()
	b.log.Begin(shard.Epoch{Index: epoch})
	b.log.Add(time.Now(), events.LeaderChanged{Allocator: "a1", Leads: true})
	b.stop = sync.OnceFunc(func() { cancel(); <-done })
	b.Cleanup(b.stop)
}

func (b *bed) add(names ...string) {
	for _, n := range names {
		b.log.Add(time.Now(), events.Decided{Decision: ledger.Decision{What: n, App: "kv"}})
	}
}

// told is what the metrics say.
func (b *bed) told() string {
	b.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		b.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			out = append(out, fmt.Sprintf("%s%v=%v", strings.TrimPrefix(f.GetName(), "shardmanager_webhook_"), labels, value))
		}
	}
	return strings.Join(out, " ")
}

// status waits until a target is as is wanted.
func (b *bed) status(name, what string, holds func(*pb.WebhookStatus) bool) *pb.WebhookStatus {
	b.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		for _, s := range b.sender.List() {
			if s.GetName() == name && holds(s) {
				return s
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatalf("not: %s: %v", what, b.sender.List())
		}
	}
}

// Events come in order and signed, by each secret, after a gap for what was before the leadership; so they do in the next one.
func TestDelivery(t *testing.T) {
	r := newReceiver(t, nil)
	b := start(t, quick, targetsAt(map[string]string{"pager": r.URL}, ", app: kv, kinds: [decision]"))
	b.add("one", "two")
	b.log.Add(time.Now(), events.Decided{Decision: ledger.Decision{What: "no", App: "other"}}, events.ServerChanged{Status: report.ServerStatus{}})
	b.add("three")
	r.wants(t, "gap", "one", "two", "three")
	if want := []string{"gap_c1.0.1.0", "decision_c1.0.1.2", "decision_c1.0.1.3", "decision_c1.0.1.6"}; !slices.Equal(r.ids, want) {
		t.Errorf("ids %q, want %q", r.ids, want)
	}
	s := b.status("pager", "nothing waits", func(s *pb.WebhookStatus) bool { return s.GetLag() == 0 })
	if s.GetDelivered() != 4 || s.GetFailed() != 0 || s.GetState() != pb.WebhookState_WEBHOOK_STATE_DELIVERING || s.GetUrl() != r.URL {
		t.Errorf("status %v", s)
	}
	b.stop()
	b.lead(2)
	b.add("four")
	r.wants(t, "gap", "one", "two", "three", "gap", "four")
}

// What a target does not take is sent again, with the same id, and nothing overtakes it.
func TestRetries(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n%2 == 1 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
		}
	})
	b := start(t, quick, targetsAt(map[string]string{"pager": r.URL}, ", kinds: [decision]"))
	b.add("one", "two", "three")
	r.wants(t, "gap", "one", "two", "three")
	if s := b.status("pager", "delivered", func(s *pb.WebhookStatus) bool { return s.GetDelivered() == 4 }); s.GetFailed() != 4 || s.GetLastError() != "" || s.GetDead() != 0 {
		t.Errorf("status %v", s)
	}
}

// An event that is not taken in so many attempts is a dead letter; the next are delivered, and an operator has it sent again.
func TestDeadLetters(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n > 1 && n <= 1+2*quick.Attempts {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	b := start(t, quick, targetsAt(map[string]string{"pager": r.URL}, ", kinds: [decision]"))
	b.add("one", "two", "three")
	r.wants(t, "gap", "three")
	b.status("pager", "nothing waits", func(s *pb.WebhookStatus) bool { return s.GetLag() == 0 })
	dead, ok := b.sender.Dead("pager")
	if !ok || len(dead.GetLetters()) != 2 || dead.GetDropped() != 0 {
		t.Fatalf("dead letters %v", dead)
	}
	if d := dead.GetLetters()[0]; d.GetId() != "decision_c1.0.1.2" || d.GetAttempts() != 3 || d.GetError() != "it answered 500" || !strings.Contains(d.GetBody(), `"what":"one"`) || d.GetTimeMs() == 0 {
		t.Errorf("dead letter %v", d)
	}
	if got, want := b.told(), "attempts_total[delivered pager]=2 attempts_total[failed pager]=6 dead_letters_total[pager]=2 disabled[pager]=0 kept_dead_letters[pager]=2 lag_events[pager]=0"; got != want {
		t.Errorf("metrics %s, want %s", got, want)
	}
	if n, ok := b.sender.Replay("pager"); n != 2 || !ok {
		t.Errorf("%d sent again, %t", n, ok)
	}
	r.wants(t, "gap", "three", "one", "two")
	if dead, _ := b.sender.Dead("pager"); len(dead.GetLetters()) != 0 {
		t.Errorf("dead letters that were delivered are kept: %v", dead)
	}
	if _, ok := b.sender.Dead("gone"); ok {
		t.Error("a target that is not there has dead letters")
	}
}

// Dead letters are bounded: the oldest go, and are counted.
func TestDeadLettersAreBounded(t *testing.T) {
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	pacing := quick
	pacing.Attempts = 1
	b := start(t, pacing, targetsAt(map[string]string{"pager": r.URL}, ", kinds: [decision]"))
	for i := range webhook.DeadMost + 2 {
		b.add(fmt.Sprint(i))
	}
	b.status("pager", "all are dead", func(s *pb.WebhookStatus) bool { return s.GetFailed() == webhook.DeadMost+3 && s.GetLag() == 0 })
	dead, _ := b.sender.Dead("pager")
	if n := len(dead.GetLetters()); n != webhook.DeadMost || dead.GetDropped() != 3 || !strings.Contains(dead.GetLetters()[0].GetBody(), `"what":"2"`) {
		t.Errorf("%d kept, %d dropped, the first %v", n, dead.GetDropped(), dead.GetLetters()[0])
	}
}

// 410 disables a target: it is told nothing more, until an operator replays. What came meanwhile is not lost.
func TestGone(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 2 {
			w.WriteHeader(http.StatusGone)
		}
	})
	b := start(t, quick, targetsAt(map[string]string{"pager": r.URL}, ", kinds: [decision]"))
	b.add("one", "two")
	s := b.status("pager", "disabled", func(s *pb.WebhookStatus) bool { return s.GetState() == pb.WebhookState_WEBHOOK_STATE_DISABLED })
	if s.GetLastError() != "it answered 410 Gone" || s.GetLag() == 0 {
		t.Errorf("status %v", s)
	}
	r.wants(t, "gap")
	b.sender.Replay("pager")
	r.wants(t, "gap", "one", "two")
}

// A target that hangs, redirects, answers garbage or without end, or is not there, harms nobody else, and the leadership ends at once all the same.
func TestBadTargetsHarmNobody(t *testing.T) {
	elsewhere := newReceiver(t, nil)
	free := make(chan struct{})
	hangs := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		select {
		case <-free:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusTeapot)
	})
	defer close(free)
	endless := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 64<<10)); err != nil {
				return
			}
		}
	})
	redirects := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	good := newReceiver(t, nil)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	pacing := quick
	pacing.Attempt, pacing.Attempts = 5*time.Second, 2 // of two that hang; the others answer in that, on a busy machine too
	b := start(t, pacing, targetsAt(map[string]string{
		"hangs": hangs.URL, "endless": endless.URL, "redirects": redirects.URL, "garbage": "http://" + garbage(t), "dead": "http://" + dead.Addr().String(), "good": good.URL,
	}, ", kinds: [decision]"))
	b.add("one", "two")
	good.wants(t, "gap", "one", "two")
	for name, want := range map[string]string{
		"hangs": "no answer within 5s", "endless": "it answered 500", "redirects": "it answered 307: redirects are not followed, set url to where it is",
		"garbage": "malformed HTTP", "dead": "refused",
	} {
		s := b.status(name, "a dead letter", func(s *pb.WebhookStatus) bool { return s.GetDead() > 0 && s.GetLastError() != "" })
		if !strings.Contains(s.GetLastError(), want) || len(s.GetLastError()) > 250 {
			t.Errorf("%s: %q, want %q", name, s.GetLastError(), want)
		}
	}
	if elsewhere.requests != 0 {
		t.Error("a redirect was followed")
	}
	b.add("three") // something is under way when the leadership ends
	began := time.Now()
	b.stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the end took %s", took)
	}
}

// garbage is a server that speaks no HTTP.
func garbage(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil { // whoever answers unasked is another mistake
				_, _ = io.Copy(io.Discard, r.Body)
			}
			_, _ = io.WriteString(conn, strings.Repeat("\x00garbage ", 1000)+"\n\n")
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// A target that is slower than the log hears of a gap, and goes on behind it.
func TestSlowTargetsMissEvents(t *testing.T) {
	held := make(chan struct{})
	r := newReceiver(t, func(n int, _ http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			<-held
		}
	})
	b := start(t, quick, targetsAt(map[string]string{"pager": r.URL}, ", app: other"))
	for range events.KeptMost + 200 {
		b.add("more")
	}
	b.log.Add(time.Now(), events.Decided{Decision: ledger.Decision{What: "last", App: "other"}})
	close(held)
	r.wants(t, "gap", "leader", "gap", "last")
}

func TestTest(t *testing.T) {
	r := newReceiver(t, nil)
	b := start(t, quick, targetsAt(map[string]string{"pager": r.URL, "dead": "http://127.0.0.1:1"}, ", kinds: [decision]"))
	r.wants(t, "gap")
	if out, ok := b.sender.Test(t.Context(), "pager"); !ok || !out.GetDelivered() || out.GetError() != "" {
		t.Errorf("%v, %t", out, ok)
	}
	r.wants(t, "gap", "test")
	if out, ok := b.sender.Test(t.Context(), "dead"); !ok || out.GetDelivered() || !strings.Contains(out.GetError(), "refused") {
		t.Errorf("%v, %t", out, ok)
	}
	if _, ok := b.sender.Test(t.Context(), "gone"); ok {
		t.Error("there is no such target")
	}
}
