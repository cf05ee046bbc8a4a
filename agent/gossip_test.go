package agent_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/internal/latency"
)

// place is a gossip that knows where it is from some time on.
type place struct {
	mu     sync.Mutex
	at     latency.Coordinate
	served []string
}

func (p *place) Coordinate() (latency.Coordinate, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at, len(p.at.Vector) > 0
}

func (p *place) Serve(apps []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served = apps
}

func (p *place) move(x time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = latency.Coordinate{Vector: []time.Duration{x}, Error: 70}
}

// places is what a leader heard of coordinates.
func (l *leader) places() (xs []int64, without int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.xs), l.without
}

// The leader hears where the host is as soon as that is known, then now and then; a new stream hears it at once.
func TestTheLeaderHearsWhereTheHostIs(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg, gossip := config(t, l), &place{}
	a, err := agent.New(cfg, agent.Deps{Store: store, Log: zerolog.Nop(), Gossip: gossip})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		a.Hurry()
		cancel()
		<-done
	})
	app := application0(t, cfg.Socket)
	app.registered(t)
	eventually(t, "a lease", func() bool { return app.pull(t).GetRemainingNs() > 0 })
	if xs, _ := l.places(); len(xs) > 0 {
		t.Errorf("the leader heard %v before anything was measured", xs)
	}
	gossip.mu.Lock()
	if !slices.Equal(gossip.served, []string{"kv"}) {
		t.Errorf("gossip hears that %q are served", gossip.served)
	}
	gossip.mu.Unlock()

	gossip.move(5)
	eventually(t, "a coordinate and renewals after it", func() bool { xs, without := l.places(); return len(xs) > 0 && without >= 5 })
	if xs, _ := l.places(); !slices.Equal(xs, []int64{5}) {
		t.Errorf("half a second of renewals said %v", xs)
	}
	gossip.move(6)
	l.resetAll()
	eventually(t, "the coordinate on the new stream", func() bool { xs, _ := l.places(); return slices.Equal(xs, []int64{5, 6}) })
}
