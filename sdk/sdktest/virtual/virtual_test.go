package virtual

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// storage checks terms.
type storage struct {
	mu     sync.Mutex
	terms  map[string]uint64
	values map[string]string
}

func (s *storage) raise(id string, term uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.terms[id] {
		return fmt.Errorf("term %d is below %d", term, s.terms[id])
	}
	s.terms[id] = term
	return nil
}

func (s *storage) write(at sdk.Shard, value string, probe *ownership.Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.Term < s.terms[at.ID] {
		return errors.New("an old term")
	}
	probe.Stored(at)
	s.values[at.ID] = value
	return nil
}

func (s *storage) read(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[id]
}

// durable keeps values in storage.
type durable struct {
	storage *storage
	probe   *ownership.Server
}

func (d *durable) Activate(_ context.Context, s sdk.Shard, _ []byte) error {
	return d.storage.raise(s.ID, s.Term)
}

func (d *durable) AddShard(context.Context, sdk.Shard) error { return nil }

func (d *durable) DropShard(context.Context, sdk.Shard) error { return nil }

func durableApp(checker *ownership.Checker) sdktest.App {
	shared := &storage{terms: map[string]uint64{}, values: map[string]string{}}
	return sdktest.App{
		New: func(_ testing.TB, server string) sdk.Handler {
			return &durable{storage: shared, probe: checker.Of(server)}
		},
		Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
			d := h.(*durable)
			return d.storage.write(s, value, d.probe)
		},
		Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
			return h.(*durable).storage.read(s.ID), nil
		},
		Durable: true,
	}
}

// A service that does what it should passes: 3 servers, 16 shards, 5 minutes, with and without faults.
func TestDurable(t *testing.T) {
	began := time.Now()
	Test(t, Config{App: durableApp}, func(t *testing.T, c *Cluster) {
		c.Load(1, 250*time.Millisecond)
		time.Sleep(5 * time.Minute)
		if c.Checker().Operations() < 1000 {
			t.Errorf("%d operations", c.Checker().Operations())
		}
	})
	t.Logf("5 quiet minutes in %s", time.Since(began))
	for seed := range uint64(seeds) {
		began := time.Now()
		Chaos(t, Config{App: durableApp}, seed, 5*time.Minute)
		t.Logf("5 minutes with the faults of seed %d in %s", seed, time.Since(began))
	}
}

const seeds = 2

func other(server string) string {
	if server == "a" {
		return "b"
	}
	return "a"
}

func containsAll(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// A clock that jumps back makes a lease too long, which is beyond what leases withstand: the checker sees two primaries, and storage that checks terms
// loses nothing.
func TestTwoPrimaries(t *testing.T) {
	play := func(by time.Duration) func(*testing.T, *Cluster) {
		return func(t *testing.T, c *Cluster) {
			c.CutAgent("a")
			c.JumpClock("a", by)
			time.Sleep(time.Minute)
			c.MendAgent("a")
		}
	}
	wants(t, Run(t, Config{App: durableApp}, play(-30*time.Second)), "two primaries for")
	Test(t, Config{App: durableApp}, play(30*time.Second))
}

// A service like any other, with a Router before it: requests over HTTP, forwarded during moves.
func TestRouter(t *testing.T) {
	Test(t, Config{App: httpApp}, func(t *testing.T, c *Cluster) {
		client := c.Client(c.Router())
		for i := range 100 {
			if i%10 == 0 {
				c.moveSome(c.Servers()[i/10%3].Name)
			}
			key := fmt.Sprint("key", i)
			ctx := sdk.WithKey(t.Context(), key)
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://app/", strings.NewReader(key))
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || string(body) != key || response.StatusCode != http.StatusOK {
				t.Errorf("%s: %d %q, %v", key, response.StatusCode, body, err)
			}
		}
	})
}

// httpApp answers requests over HTTP with what they say.
func httpApp(checker *ownership.Checker) sdktest.App {
	app := durableApp(checker)
	app.Mount = func(_ sdk.Handler, host *sdk.Host, mux *http.ServeMux) {
		mux.Handle("/", host.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
	}
	return app
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
