package gossip

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"
)

// patience is how long a condition is waited for.
const patience = 20 * time.Second

// quick makes serf notice within a second what takes it ten, and leave without waiting for machines far away.
func quick(c *serf.Config) {
	m := c.MemberlistConfig
	m.ProbeInterval, m.ProbeTimeout, m.SuspicionMult = 100*time.Millisecond, 80*time.Millisecond, 3
	m.GossipInterval, m.PushPullInterval = 20*time.Millisecond, time.Second
	c.LeavePropagateDelay, c.BroadcastTimeout = 50*time.Millisecond, time.Second
	c.ReapInterval, c.ReconnectInterval = time.Second, time.Second
}

// logbook is a log that tests read.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// subject is a node under test.
type subject struct {
	*Node
	t    *testing.T
	log  *logbook
	news chan struct{}

	mu     sync.Mutex
	events []Event
}

// start opens a node on a port of its own and runs it until the test ends. change may be nil.
func start(t *testing.T, name string, change func(*Config, *Identity, *Deps)) *subject {
	t.Helper()
	s := &subject{t: t, log: &logbook{}, news: make(chan struct{}, 1)}
	cfg := Config{Listen: "127.0.0.1:0"}
	identity := Identity{Role: RoleAgent, Cluster: "test", Name: name, Region: "eu", Zone: "eu-1", Version: "1.2.3"}
	deps := Deps{Log: zerolog.New(s.log), Deliver: s.take, tune: quick}
	if change != nil {
		change(&cfg, &identity, &deps)
	}
	n, err := Open(cfg, identity, deps)
	if err != nil {
		t.Fatal(err)
	}
	s.Node = n
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s ran until: %v", name, err)
		}
		if err := n.Shutdown(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, s.log)
		}
	})
	return s
}

func joining(others ...*subject) func(*Config, *Identity, *Deps) {
	return func(c *Config, _ *Identity, _ *Deps) {
		for _, o := range others {
			c.Join = append(c.Join, o.Address())
		}
	}
}

func (s *subject) take(e Event) {
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	signal(s.news)
}

// await waits for a condition that news or time bring about.
func (s *subject) await(what string, condition func() bool) {
	s.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-s.news:
		case <-ticker.C:
		case <-limit.C:
			s.t.Fatalf("%s: not within %s: %s; members %+v", s.identity.Name, patience, what, s.Members())
		}
	}
}

// sees waits until this node sees another in a status.
func (s *subject) sees(other *subject, status Status) {
	s.t.Helper()
	s.await(other.identity.Name+" "+status.String(), func() bool {
		m, ok := s.memberOf(other)
		return ok && m.Status == status
	})
}

func (s *subject) memberOf(other *subject) (Member, bool) {
	for _, m := range s.Members() {
		if m.Life == other.life() {
			return m, true
		}
	}
	return Member{}, false
}

func (s *subject) life() string { return s.serf.LocalMember().Name }

// happened lists what became of another node, in order.
func (s *subject) happened(other *subject) []Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kinds []Kind
	for _, e := range s.events {
		if e.Member.Life == other.life() {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

// logs waits until the log has all the texts in one line.
func (s *subject) logs(texts ...string) {
	s.t.Helper()
	s.await("a line with "+strings.Join(texts, ", "), func() bool {
		for line := range strings.Lines(s.log.String()) {
			found := 0
			for _, text := range texts {
				if strings.Contains(line, text) {
					found++
				}
			}
			if found == len(texts) {
				return true
			}
		}
		return false
	})
}

// key is a key of 32 equal bytes.
func key(of byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{of}, 32)) }

// keyFile writes a keyring.
func keyFile(t *testing.T, keys ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring")
	if err := os.WriteFile(path, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func keyed(path string, others ...*subject) func(*Config, *Identity, *Deps) {
	return func(c *Config, i *Identity, d *Deps) {
		joining(others...)(c, i, d)
		c.KeyFile = path
	}
}
