// Package page is the status page of a cluster on one machine: servers by place, their shards, moves with their steps, load and events, live,
// and a button for every scenario. It is rendered here, from html/template and embedded files; a few lines of script keep it fresh and it works
// without them, too.
//
// Invariants: the page asks the cluster only while somebody looks at it. It changes nothing but by Player, on a POST of its own origin. No
// request goes anywhere else. Called by internal/dev.
package page

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/shardmanager/shardmanager/internal/transport"
)

//go:embed static/page.html static/page.css static/page.js
var static embed.FS

var shown = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.Format("15:04:05") },
	"took":  func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" },
	"ms":    func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) + " ms" },
	"steps": func() []int { return []int{1, 2, 3, 4, 5, 6, 7, 8} },
}).ParseFS(static, "static/page.html"))

// shutdownWithin is how long requests under way may take at the end.
const shutdownWithin = 2 * time.Second

// Page is served until Close.
type Page struct {
	address   string
	collector *collector
	server    *http.Server
	done      chan struct{}
}

// Open serves the page at host:port.
func Open(address string, source Source) (*Page, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	c, err := newCollector(source)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("page: %w", err), listener.Close())
	}
	p := &Page{address: listener.Addr().String(), collector: c, done: make(chan struct{})}
	p.server = transport.NewServer(context.Background(), handler(c.now, source.Player))
	go func() {
		defer close(p.done)
		_ = p.server.Serve(listener) // until Close
	}()
	return p, nil
}

// URL is where the page is.
func (p *Page) URL() string { return "http://" + p.address }

// Close ends the page.
func (p *Page) Close() error {
	err := transport.Shutdown(p.server, shutdownWithin)
	<-p.done
	p.collector.close()
	return err
}

// handler serves the page of what is now.
func handler(now func(context.Context) view, player Player) http.Handler {
	mux := http.NewServeMux()
	render := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var out bytes.Buffer
			if err := shown.ExecuteTemplate(&out, name, now(r.Context())); err != nil {
				http.Error(w, "page: "+err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write(out.Bytes()) // a browser that left
		}
	}
	mux.Handle("GET /{$}", render("page.html"))
	mux.Handle("GET /live", render("live"))
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("POST /play", func(w http.ResponseWriter, r *http.Request) { play(w, r, player) })
	return guard(http.NewCrossOriginProtection().Handler(mux))
}

// maxForm bounds what is read of a request.
const maxForm = 4096

func play(w http.ResponseWriter, r *http.Request, player Player) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	name := r.PostFormValue("scenario")
	switch err := player.Play(name); {
	case err == nil:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case errors.Is(err, ErrUnknown):
		http.Error(w, fmt.Sprintf("%v: %q", err, name), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// guard answers only who names this machine by a number or as localhost: a name that somebody else's DNS leads here is none of ours. It
// lets a browser load nothing from elsewhere.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(r.Host); err == nil {
			host = h
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			http.Error(w, fmt.Sprintf("host: expected an address or localhost, not %q", host), http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}
