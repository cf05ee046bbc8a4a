package page

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// browsers are the names under which a Chromium may be installed.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// browserPatience bounds one look; a busy machine starts a browser slowly.
const browserPatience = 2 * time.Minute

// look loads a page in a real browser, lets its scripts run for some seconds of virtual time, and returns the document.
func look(t *testing.T, target string) string {
	t.Helper()
	binary := ""
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			binary = path
			break
		}
	}
	if binary == "" {
		t.Skipf("no browser: install one of %s", strings.Join(browsers, ", "))
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserPatience)
	defer cancel()
	command := exec.CommandContext(ctx, binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=4000", "--dump-dom", target)
	command.WaitDelay = 5 * time.Second // children that keep the pipes
	var out, problem bytes.Buffer
	command.Stdout, command.Stderr = &out, &problem
	if err := command.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Skipf("the browser does not run here: %v\n%s", err, problem.String())
	}
	return out.String()
}

// In a real browser the script runs under the page's own policy, a click plays, and what changed is shown without a new page.
func TestInABrowser(t *testing.T) {
	p := idle()
	inner := handlerOf(p)
	mux := http.NewServeMux()
	mux.Handle("/", inner)
	mux.HandleFunc("GET /click", func(w http.ResponseWriter, r *http.Request) { // the page, and somebody who uses it
		var page recorder
		r.URL.Path = "/"
		inner.ServeHTTP(&page, r)
		w.Header().Set("Content-Security-Policy", page.Header().Get("Content-Security-Policy"))
		_, _ = w.Write(bytes.Replace(page.body.Bytes(), []byte("</head>"), []byte(`<script src="/user.js" defer></script></head>`), 1))
	})
	mux.HandleFunc("GET /user.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write([]byte(`document.body.dataset.first = "still here"; document.querySelector("button[value=crash]").click();`))
	})
	document := look(t, serve(t, mux)+"/click")
	if p.names() != "crash" {
		t.Errorf("played %q", p.names())
	}
	for _, want := range []string{"still here", "it began", `class="runs"`, "disabled", "node-1.kv"} {
		if !strings.Contains(document, want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(document)
	}
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(int)             {}
