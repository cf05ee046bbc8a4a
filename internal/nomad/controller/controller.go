// Package controller makes planned events of what Nomad plans, and holds Nomad until they are approved (ADR 70).
//
// It is a shell around internal/nomad/steering: it looks at Nomad and at the leader, decides by the core, and carries the orders out; again whenever Nomad's
// events say that something changed, often while something is under way, and now and then in any case. It remembers nothing that matters: several may run,
// and any may end at any time. While none runs, what is held stays held. Called by cmd/shardmanager/nomad.
package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/nomad/client"
	"github.com/shardmanager/shardmanager/internal/nomad/metrics"
	"github.com/shardmanager/shardmanager/internal/nomad/steering"
	"github.com/shardmanager/shardmanager/internal/operator"
)

// Deps are what a controller works with.
type Deps struct {
	Nomad  *client.Client
	Log    zerolog.Logger
	Ready  func() // called once, after the first good look; nil: nobody wants to know
	Listen func(address string) (net.Listener, error)

	Metrics prometheus.Registerer // nil: nothing is counted
}

// Controller is one of several, perhaps.
type Controller struct {
	cfg    Config
	nomad  *client.Client
	leader *operator.Client
	log    zerolog.Logger
	ready  func()
	listen func(address string) (net.Listener, error)
	wake   chan struct{} // holds one: more changes before a look are one

	counts *metrics.Metrics

	told  map[string]string // orders of the last look, and what was answered
	noted map[string]bool

	mu      sync.Mutex
	trouble error     // of the last look
	looked  time.Time // when that ended; at first when the controller was made
}

// standstill is how long a look and what follows it may take; after that the loop is taken to stand still. Its calls have deadlines that are far below.
const standstill = 5 * time.Minute

var errNoLook = errors.New("has not looked yet")

// New makes a controller of a valid configuration.
func New(cfg Config, deps Deps) *Controller {
	ready := deps.Ready
	if ready == nil {
		ready = func() {}
	}
	var counts *metrics.Metrics
	if deps.Metrics != nil {
		counts = metrics.New(deps.Metrics)
	}
	return &Controller{cfg: cfg, counts: counts, looked: time.Now(), nomad: deps.Nomad, leader: &operator.Client{Addresses: cfg.Admin, Failure: operatorFailure}, log: deps.Log,
		ready: sync.OnceFunc(ready), listen: deps.Listen, wake: make(chan struct{}, 1), trouble: errNoLook}
}

func operatorFailure(address string, err error) error {
	return operator.Explain(err, "allocator "+address, "is it named rightly by admin?")
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	stop, err := c.serve()
	if err != nil {
		return err
	}
	var following sync.WaitGroup
	following.Go(func() { c.follow(ctx) })
	c.loop(ctx)
	following.Wait()
	return stop()
}

// Ready says what was wrong with the last look: nil, or why Nomad or the leader cannot be seen.
func (c *Controller) Ready(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// Alive says whether it looks, with success or without.
func (c *Controller) Alive(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if since := time.Since(c.looked); since > standstill {
		return fmt.Errorf("no look has ended for %s", since.Round(time.Second))
	}
	return nil
}

// loop looks, decides and acts, one after the other.
func (c *Controller) loop(ctx context.Context) {
	for ctx.Err() == nil {
		pause := c.cfg.Interval
		view, err := c.look(ctx)
		if c.judge(ctx, err); err == nil {
			plan := steering.Decide(view, c.cfg.settings())
			c.counts.Holds(plan.HeldDrains, plan.HeldDeployments)
			c.carryOut(ctx, plan)
			if !plan.Busy {
				pause = idle
			}
		}
		c.rest(ctx, pause)
	}
}

// rest waits for a change, or so long; and for a moment in any case, in which further changes are one.
func (c *Controller) rest(ctx context.Context, pause time.Duration) {
	for _, wait := range []struct {
		most time.Duration
		wake chan struct{}
	}{{shortestInterval, nil}, {pause - shortestInterval, c.wake}} {
		timer := time.NewTimer(wait.most)
		select {
		case <-timer.C:
		case <-wait.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// judge remembers how a look went, and tells of changes.
func (c *Controller) judge(ctx context.Context, err error) {
	now := time.Now()
	c.mu.Lock()
	before := c.trouble
	c.trouble, c.looked = err, now
	c.mu.Unlock()
	if ctx.Err() == nil { // a look that the end of the process cut off is none
		c.counts.Looked(now, err)
	}
	switch {
	case err == nil && before != nil:
		c.log.Info().Msg("sees Nomad and the leader")
		c.ready()
	case err != nil && ctx.Err() == nil && (before == nil || before.Error() != err.Error()):
		c.log.Warn().Err(err).Msg("cannot look; what is held stays held")
	}
}

// follow listens to Nomad's events, from where it was when a stream broke.
func (c *Controller) follow(ctx context.Context) {
	index := uint64(0)
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(shortestInterval), backoff.WithMaxInterval(idle), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		err := c.nomad.Follow(ctx, index, func(at uint64) {
			index = at
			pause.Reset()
			c.stir()
		})
		if ctx.Err() == nil {
			c.log.Debug().Err(err).Uint64("index", index).Msg("Nomad's events ended; looks go on")
		}
		c.stir() // whatever was missed
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (c *Controller) stir() {
	select {
	case c.wake <- struct{}{}:
	default: // a look is to come anyway
	}
}

// serve answers GET /ready: 200 while looks succeed.
func (c *Controller) serve() (stop func() error, err error) {
	if c.cfg.Listen == "" {
		return func() error { return nil }, nil
	}
	l, err := c.listen(c.cfg.Listen)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if trouble := c.Ready(r.Context()); trouble != nil {
			http.Error(w, trouble.Error(), http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return func() error {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
