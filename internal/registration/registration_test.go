package registration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/coord/consul"
)

// records is what Consul would have been asked, with the times: the real one cannot live in virtual time.
type records struct {
	from time.Time

	mu       sync.Mutex
	known    *consul.Service
	health   consul.Health
	expires  time.Time
	critical bool // the TTL ran out at some time
	broken   error
	calls    map[string][]time.Duration
}

func (r *records) TTL() time.Duration { return time.Minute }

func (r *records) called(what string) (err error) {
	r.calls[what] = append(r.calls[what], time.Since(r.from))
	if r.known != nil && time.Now().After(r.expires) {
		r.critical = true
	}
	return r.broken
}

func (r *records) Register(_ context.Context, s consul.Service, _ consul.Health) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.called("register"); err != nil {
		return err
	}
	r.known, r.expires = &s, time.Now().Add(r.TTL())
	return nil
}

func (r *records) Refresh(_ context.Context, id string, h consul.Health) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.called("refresh"); err != nil {
		return false, err
	}
	if r.known == nil || r.known.ID != id {
		return false, nil
	}
	if h != r.health {
		r.calls["write"] = append(r.calls["write"], time.Since(r.from))
	}
	r.health, r.expires = h, time.Now().Add(r.TTL())
	return true, nil
}

func (r *records) Deregister(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known != nil && r.known.ID == id {
		r.known = nil
	}
	return r.called("deregister")
}

// change breaks or mends what is asked, or makes it forget.
func (r *records) change(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

func (r *records) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls[what])
}

func (r *records) saw() (service *consul.Service, health consul.Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known, r.health
}

// subject is a process that appears as it is told to.
type subject struct {
	*Registrar
	catalog *records
	log     bytes.Buffer
	mu      sync.Mutex
	now     Presence
	stop    context.CancelFunc
	done    chan struct{}
}

func (s *subject) be(change func(*Presence)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

func (s *subject) end() {
	s.stop()
	<-s.done
}

func begin(t *testing.T) *subject {
	t.Helper()
	s := &subject{catalog: &records{from: time.Now(), calls: map[string][]time.Duration{}}, done: make(chan struct{})}
	s.now = Presence{Service: consul.Service{Name: "x", ID: "x-1", Address: "a:1"}, Health: consul.Health{Note: "serves"}}
	s.Registrar = New(s.catalog, func(context.Context) (Presence, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now, true
	}, zerolog.New(&s.log))
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() {
		defer close(s.done)
		s.Run(ctx)
	}()
	return s
}

// An hour in which nothing changes is one registration and refreshes every 25 to 35 seconds; one in which the shards change all the time is
// a registration a minute.
func TestWhatAnHourCosts(t *testing.T) {
	for name, c := range map[string]struct {
		busy                     bool
		registrations, refreshes int
	}{
		"quiet": {false, 1, 3600/25 + 1}, "busy": {true, 61, 3600/25 + 62},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := begin(t)
				for second := range 3600 {
					if c.busy {
						s.be(func(p *Presence) { p.Service.Meta = map[string]string{"shards": fmt.Sprint(second)} })
					}
					time.Sleep(time.Second)
				}
				synctest.Wait()
				registrations, refreshes := s.catalog.count("register"), s.catalog.count("refresh")
				if registrations > c.registrations || registrations < c.registrations-2 {
					t.Errorf("%d registrations, want %d", registrations, c.registrations)
				}
				if refreshes > c.refreshes || refreshes < 3600/35 {
					t.Errorf("%d refreshes, want at most %d", refreshes, c.refreshes)
				}
				if n := s.catalog.count("write"); n != 1 {
					t.Errorf("%d writes of the check, want 1", n)
				}
				if s.catalog.critical {
					t.Error("the check turned critical")
				}
				if c.busy {
					times := s.catalog.calls["register"]
					for i := range times[1:] {
						if gap := times[i+1] - times[i]; gap < metaEvery {
							t.Fatalf("registered again after %s", gap)
						}
					}
				}
				s.end()
			})
		})
	}
}

// What is better is told at the next look, what is worse once it lasted, and a new tag soon.
func TestChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t)
		defer s.end()
		time.Sleep(time.Minute)
		bad, good := consul.Health{Warning: true, Note: "kv: no lease"}, consul.Health{Note: "serves"}
		s.be(func(p *Presence) { p.Health = bad })
		time.Sleep(longestLook)
		s.be(func(p *Presence) { p.Health = good })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := s.catalog.count("write"); n != 1 {
			t.Errorf("%d writes, want 1: a moment was told", n)
		}
		s.be(func(p *Presence) { p.Health = bad })
		time.Sleep(2 * longestLook)
		synctest.Wait()
		if _, h := s.catalog.saw(); h != bad {
			t.Errorf("it is %+v, want %+v", h, bad)
		}
		s.be(func(p *Presence) { p.Health, p.Service.Tags = good, []string{"leader"} })
		time.Sleep(longestLook)
		synctest.Wait()
		if service, h := s.catalog.saw(); h != good || len(service.Tags) != 1 {
			t.Errorf("it is %+v, %+v", service, h)
		}
	})
}

// Whoever was forgotten is registered again at the next refresh, and a leave takes it away.
func TestForgottenAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t)
		time.Sleep(time.Minute)
		s.catalog.change(func() { s.catalog.known = nil })
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if service, _ := s.catalog.saw(); service == nil {
			t.Error("not registered again")
		}
		s.end()
		s.Rest()
		if service, _ := s.catalog.saw(); service == nil || s.catalog.count("deregister") != 0 {
			t.Error("a planned restart took it away")
		}
		s.Leave()
		if service, _ := s.catalog.saw(); service != nil {
			t.Error("a stop left it there")
		}
	})
}

// Trouble is told once and tried again ever more slowly; other trouble is told too.
func TestTroubleIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t)
		s.catalog.change(func() { s.catalog.broken = errors.New("connection refused") })
		time.Sleep(10 * time.Minute)
		s.catalog.change(func() { s.catalog.broken = errors.New("check consul_token") })
		time.Sleep(10 * time.Minute)
		tries := s.catalog.count("register")
		s.catalog.change(func() { s.catalog.broken = nil })
		time.Sleep(2 * time.Minute)
		s.end()
		log := s.log.String()
		for _, once := range []string{"connection refused", "check consul_token", "registered in Consul\""} {
			if n := strings.Count(log, once); n != 1 {
				t.Errorf("%q is told %d times: %s", once, n, log)
			}
		}
		if tries < 15 || tries > 60 {
			t.Errorf("tried %d times in 20 minutes", tries)
		}
		if service, _ := s.catalog.saw(); service == nil {
			t.Error("not registered in the end")
		}
	})
}
