package page

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorded is a view with something of everything.
func recorded() view {
	return view{
		At: time.Date(2026, 11, 26, 15, 4, 5, 0, time.UTC), OpenMoves: 12, MoreMoves: 11,
		Health:   []fact{{"allocators", "allocator-1 leads", false}, {"shards without a primary", "3", true}},
		Promises: []fact{{"acknowledged writes lost", "0", false}},
		Regions: []region{{Name: "eu", Zones: []zone{{Name: "eu-1", Servers: []serverView{{
			ID: "node-1.kv", State: "suspect", Note: "silent <b>", Draining: true, Primaries: 2,
			Cells: []cell{{"07", "primary"}, {"08", "leaving"}, {"09", "arriving"}},
		}}}}}},
		Moves:  []moveView{{Shard: "08", From: "node-1.kv", To: "node-2.kv", Why: "drain", Step: "prepare-drop", Done: 3, For: "1.5 s", Waits: "PrepareDropShard", Attempts: 2}},
		Load:   loadView{Requests: 1000, Failed: 4, PerSecond: 200, P50MS: 1.25, P99MS: 8, Rate: []bar{{0, 10, 30}}, Failures: []bar{{0, 37, 3}}},
		Events: []eventView{{At: "15:04:05.0", What: "move opened", About: "shard 08", Why: "<script>alert(1)</script>", Kind: "e-decision"}},
	}
}

// scripted is a player that does what the test says.
type scripted struct {
	mu     sync.Mutex
	now    Play
	err    error
	played []string
}

func (s *scripted) Play(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.played = append(s.played, name)
		s.now.Running, s.now.Said = name, "it began"
	}
	return s.err
}

func (s *scripted) Now() Play {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *scripted) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.played, " ")
}

func idle() *scripted {
	return &scripted{now: Play{List: []Scenario{
		{Name: "drain", What: "empty a server", Played: true, Failed: 7, Took: 9 * time.Second}, {Name: "crash", What: "kill it"},
		{Name: "pause", Played: true, Err: "no luck"},
	}}}
}

// handlerOf serves the recorded view with what the player says now.
func handlerOf(p *scripted) http.Handler {
	return handler(func(context.Context) view {
		v := recorded()
		v.Play = p.Now()
		return v
	}, p)
}

func serve(t *testing.T, h http.Handler) (base string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// do makes a request that is not redirected, and returns the answer and its body.
func do(t *testing.T, method, target string, body io.Reader, header map[string]string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if r.Header.Set(k, v); k == "Host" {
			r.Host = v
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func TestPageShowsTheView(t *testing.T) {
	t.Parallel()
	base := serve(t, handlerOf(idle()))
	for _, path := range []string{"/", "/live"} {
		answer, text := do(t, http.MethodGet, base+path, nil, nil)
		if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
			t.Fatalf("%s: %s", path, answer.Status)
		}
		if whole := strings.Contains(text, "<html"); whole != (path == "/") {
			t.Errorf("%s: the whole page: %t", path, whole)
		}
		for _, want := range []string{
			"allocator-1 leads", `class="bad"><dt>shards without a primary`, "node-1.kv", "suspect, draining", "silent &lt;b&gt;", `class="cell leaving"`,
			"2 shards", "prepare-drop", "and 11 more", "PrepareDropShard, 2 failures", "1.2 ms", "&lt;script&gt;alert(1)", `value="drain"`, "7 failed", "9.0 s", "kill it",
			"no luck", "Nothing is being played",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
		if n := strings.Count(text, `<i class="done">`); n != 3 {
			t.Errorf("%s: %d of 8 steps are done, want 3", path, n)
		}
		if strings.Contains(text, " disabled") || strings.Contains(text, "<script>alert") {
			t.Errorf("%s: a button is disabled, or text is not escaped", path)
		}
	}
	for path, kind := range map[string]string{"/static/page.css": "text/css", "/static/page.js": "text/javascript"} {
		if answer, _ := do(t, http.MethodGet, base+path, nil, nil); answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), kind) {
			t.Errorf("%s: %s, %s", path, answer.Status, answer.Header.Get("Content-Type"))
		}
	}
	if answer, _ := do(t, http.MethodGet, base+"/nothing", nil, nil); answer.StatusCode != http.StatusNotFound {
		t.Errorf("what is not there: %s", answer.Status)
	}
}

// Nothing on the page leads elsewhere, and the browser is told to let nothing.
func TestPageAsksNobodyElse(t *testing.T) {
	t.Parallel()
	base := serve(t, handlerOf(idle()))
	answer, text := do(t, http.MethodGet, base+"/", nil, nil)
	if policy := answer.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "http") {
		t.Errorf("policy %q", policy)
	}
	for _, path := range []string{"/static/page.css", "/static/page.js"} {
		_, more := do(t, http.MethodGet, base+path, nil, nil)
		text += more
	}
	if strings.Contains(text, "//") && strings.Contains(strings.ReplaceAll(text, "// ", ""), "//") {
		t.Error("an address of somebody else")
	}
}

func TestButtonsPlay(t *testing.T) {
	t.Parallel()
	p := idle()
	base := serve(t, handlerOf(p))
	form := func(name string) io.Reader { return strings.NewReader(url.Values{"scenario": {name}}.Encode()) }
	header := func(more ...string) map[string]string {
		h := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
		for i := 0; i+1 < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	for what, foreign := range map[string]map[string]string{
		"another site":   header("Sec-Fetch-Site", "cross-site"),
		"another origin": header("Origin", "http://evil.example"),
		"another name":   header("Host", "evil.example"),
	} {
		if answer, _ := do(t, http.MethodPost, base+"/play", form("drain"), foreign); answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s: %s", what, answer.Status)
		}
	}
	if answer, _ := do(t, http.MethodGet, base+"/play?scenario=drain", nil, nil); answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a link: %s", answer.Status)
	}
	if p.names() != "" {
		t.Fatalf("played %q for strangers", p.names())
	}
	answer, _ := do(t, http.MethodPost, base+"/play", form("drain"), header("Sec-Fetch-Site", "same-origin", "Origin", base))
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/" || p.names() != "drain" {
		t.Errorf("%s to %q, played %q", answer.Status, answer.Header.Get("Location"), p.names())
	}
	_, text := do(t, http.MethodGet, base+"/live", nil, nil)
	if strings.Count(text, " disabled") != 3 || !strings.Contains(text, "it began") || !strings.Contains(text, `<li class="runs"><button name="scenario" value="drain"`) {
		t.Errorf("while one is played: %s", text[strings.Index(text, "Let something"):])
	}
	for err, code := range map[error]int{ErrBusy: http.StatusConflict, ErrUnknown: http.StatusNotFound} {
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		if answer, text := do(t, http.MethodPost, base+"/play", form("drain"), header()); answer.StatusCode != code || !strings.Contains(text, err.Error()) {
			t.Errorf("%v: %s, %q", err, answer.Status, text)
		}
	}
	if answer, _ := do(t, http.MethodPost, base+"/play", strings.NewReader("scenario="+strings.Repeat("x", 2*maxForm)), header()); answer.StatusCode < 400 {
		t.Errorf("a long form: %s", answer.Status)
	}
}
