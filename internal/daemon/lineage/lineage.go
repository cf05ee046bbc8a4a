// Package lineage runs the agents of one process, one after the other: usually a single one, and through planned restarts those that take over
// (internal/succession) or come back. It is where an agent meets signals and systemd's watchdog.
//
// Invariants: at most one agent runs, in this process or its child on trial; a stop that was asked for is done by whoever runs, and no program is
// executed after it.
//
// cmd/shardmanager calls it. It decides nothing about servers.
package lineage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/internal/daemon"
	"github.com/shardmanager/shardmanager/internal/succession"
)

// Config is what a Lineage needs.
type Config struct {
	Log     zerolog.Logger
	Stderr  io.Writer // where children on trial write, too
	Version string
	// Serve makes an agent, hands it to run, which runs it, and cleans up.
	Serve func(r agent.Restarts, run func(*agent.Agent) error) error
	Trial *succession.Trial // nil: this process is on none
	Self  succession.Program
}

// Lineage is the agents of this process. Make it with New; Run it once.
type Lineage struct {
	Config

	mu        sync.Mutex
	current   *agent.Agent          // nil: none runs here
	candidate *succession.Candidate // prepared, or on trial
	preparing bool
	taken     bool // the candidate has been told to take over
	stopping  bool
	hurrying  bool
}

// New makes one.
func New(cfg Config) *Lineage { return &Lineage{Config: cfg} }

// Run runs agents until ctx ends, a signal ends them, or one fails.
func (l *Lineage) Run(ctx context.Context) error {
	if l.Trial != nil {
		return l.runOnTrial(ctx)
	}
	ctx, stop := daemon.UntilSignal(ctx, l.Log, l.hurry)
	defer stop()
	defer context.AfterFunc(ctx, l.stop)()
	defer daemon.Watchdog(l.Log, l.alive)()
	defer l.onRestartSignal(ctx)()
	for problem := ""; ; {
		var rested agent.Rested
		err := l.Serve(agent.Restarts{Successor: l, Problem: problem}, func(a *agent.Agent) error {
			defer l.runs(a)()
			err := a.Run(ctx)
			rested = a.Rested()
			return err
		})
		switch {
		case !errors.Is(err, agent.ErrRestart):
			l.Abandon()
			return err
		case rested.End:
			return nil // whoever supervises it starts it again
		}
		err = l.handOver(ctx, rested)
		if errors.Is(err, succession.ErrStopped) {
			return nil
		}
		problem = err.Error()
		l.Log.Error().Err(err).Msg("planned restart failed: the agent is back")
	}
}

// runs notes which agent runs.
func (l *Lineage) runs(a *agent.Agent) (done func()) {
	set := func(a *agent.Agent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.current = a
		if a != nil && l.hurrying {
			a.Hurry()
		}
	}
	set(a)
	return func() { set(nil) }
}

// stop tells whoever is on trial; an agent of this process is told by its context.
func (l *Lineage) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	if l.taken {
		l.candidate.Stop()
	}
}

func (l *Lineage) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hurrying = true
	switch {
	case l.current != nil:
		l.current.Hurry()
	case l.taken:
		l.candidate.Stop()
	}
}

// alive is what systemd's watchdog is told: the loop answers. While a child is on trial there is none; the trial has limits of its own.
func (l *Lineage) alive(ctx context.Context) error {
	l.mu.Lock()
	a := l.current
	l.mu.Unlock()
	if a == nil {
		return nil
	}
	_, err := a.Status(ctx)
	return err
}

// onRestartSignal restarts on SIGUSR2.
func (l *Lineage) onRestartSignal(ctx context.Context) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	go func() {
		for range signals {
			l.mu.Lock()
			a := l.current
			l.mu.Unlock()
			if a == nil {
				continue // one is under way
			}
			if rest, version, err := a.Restart(ctx, api.Restart{}); err != nil {
				l.Log.Error().Err(err).Msg("planned restart refused")
			} else {
				l.Log.Info().Str("rest", rest.Round(time.Millisecond).String()).Str("version", version).Msg("planned restart granted")
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}

// Prepare implements agent.Successor.
func (l *Lineage) Prepare(ctx context.Context, want string) (string, error) {
	l.mu.Lock()
	busy := l.preparing || l.candidate != nil
	l.preparing = true
	l.mu.Unlock()
	if busy {
		return "", errors.New("one is under way already")
	}
	c, err := succession.Start(ctx, l.Self, l.Stderr)
	if err == nil && want != "" && c.Version != want {
		c.Abandon()
		c, err = nil, fmt.Errorf("%s is version %s, not %s", l.Self.Path, c.Version, want)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.preparing, l.candidate = false, c
	if err != nil {
		l.candidate = nil
		return "", err
	}
	return c.Version, nil
}

// Abandon implements agent.Successor.
func (l *Lineage) Abandon() {
	if c := l.take(); c != nil {
		c.Abandon()
	}
}

// take returns the candidate, which is none any more.
func (l *Lineage) take() *succession.Candidate {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.candidate
	l.candidate, l.taken = nil, false
	return c
}

// Times of a trial.
const (
	// trialTime is the most that an agent on trial may take to resume; less where the rest lease is short.
	trialTime = 15 * time.Second
	// resumeLook is how often an agent on trial looks whether it has resumed.
	resumeLook = 20 * time.Millisecond
	// restAgain is how long it waits after a rest lease was refused.
	restAgain = 500 * time.Millisecond
)

// handOver lets the candidate take over, and then makes this process its program: it returns only if that fails, or if everything was stopped.
func (l *Lineage) handOver(ctx context.Context, rested agent.Rested) error {
	defer l.take()
	l.mu.Lock()
	c := l.candidate
	takes := ctx.Err() == nil
	l.taken = takes
	if takes {
		c.Take(succession.Order{Live: rested.Live, Attached: rested.Attached})
	}
	l.mu.Unlock()
	if !takes {
		c.Abandon()
		return errors.New("the agent stops")
	}
	l.Log.Info().Str("version", c.Version).Int("live", rested.Live).Int("attached", rested.Attached).Msg("agent on trial")
	err := c.Await(min(rested.Lease*2/3, trialTime), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.stopping
	})
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	l.Log.Info().Str("version", c.Version).Str("program", l.Self.Path).Msg("agent stood its trial: takes over")
	signal.Ignore(syscall.SIGUSR2) // until the new program listens to it
	return l.Self.Become()
}

// runOnTrial is the child's side: prepared, told to take over, resumed, and back.
func (l *Lineage) runOnTrial(ctx context.Context) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR2) // its parent is told, and tells it
	order, err := l.Trial.Prepared(l.Version)
	if errors.Is(err, succession.ErrNotNeeded) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = l.Serve(agent.Restarts{Successor: onTrial{}, OnTrial: true}, func(a *agent.Agent) error {
		go func() {
			for range l.Trial.Stops() {
				if ctx.Err() != nil {
					a.Hurry()
				}
				cancel()
			}
			if ctx.Err() == nil { // the parent is gone, and whoever supervises it starts it again
				restOnTrial(ctx, a)
			}
		}()
		go func() {
			if resumed(ctx, a, order) && l.Trial.Resumed() == nil {
				restOnTrial(ctx, a)
			}
		}()
		return a.Run(ctx)
	})
	if errors.Is(err, agent.ErrRestart) {
		return l.Trial.Rests()
	}
	return err
}

// onTrial is the successor of an agent on trial: there is none.
type onTrial struct{}

func (onTrial) Prepare(context.Context, string) (string, error) {
	return "", errors.New("one is under way already")
}

func (onTrial) Abandon() {}

// resumed waits until an agent does as much as the one before it did; false: it ended first.
func resumed(ctx context.Context, a *agent.Agent, order succession.Order) bool {
	ticker := time.NewTicker(resumeLook)
	defer ticker.Stop()
	for {
		status, err := a.Status(ctx)
		if err != nil {
			return false
		}
		if live, attached := agent.Resumed(status); live >= order.Live && attached >= order.Attached {
			return true
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
}

// restOnTrial rests an agent that gives its place back; without a leader that may take until the store has vouched.
func restOnTrial(ctx context.Context, a *agent.Agent) {
	for ctx.Err() == nil {
		if _, _, err := a.Restart(ctx, api.Restart{End: true}); err == nil {
			return
		}
		select {
		case <-time.After(restAgain):
		case <-ctx.Done():
		}
	}
}
