package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/agent/app"
	"github.com/shardmanager/shardmanager/agent/host"
	"github.com/shardmanager/shardmanager/agent/leaders"
	"github.com/shardmanager/shardmanager/agent/metrics"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
)

// ErrRestart is what Run returns after Restart: the servers rest, nothing was deregistered, and whoever supervises the process starts it
// again soon (R19). The process should exit with code 0.
var ErrRestart = errors.New("agent: ends for a planned restart")

// Deps is what an agent needs from its surroundings.
type Deps struct {
	Store   coord.Store
	Log     zerolog.Logger
	Version string                                           // of this software, for people
	Now     func() shard.Instant                             // nil: the host's clocks
	Dial    func(address string) (transport.Endpoint, error) // of allocators; nil: transport.Dial
	Listen  func(address string) (net.Listener, error)       // nil: transport.Listen
	Gossip  Gossip                                           // nil: takes no part
	Restart Restarts
	Metrics prometheus.Registerer // nil: they are told nowhere
	Tracing trace.TracerProvider  // nil: nothing is traced
}

// Restarts is what an agent is to planned restarts.
type Restarts struct {
	Successor Successor // the program that takes over in one; nil: whoever supervises the process starts it again
	OnTrial   bool      // this agent is one that may have to give way to the one before it
	Problem   string    // why the last one failed, after which this agent runs; empty: it did not
}

// Successor is the program that takes over in a planned restart.
type Successor interface {
	// Prepare starts it, as far as it comes beside this agent, and returns its version. want is the version that it must have; empty: any.
	Prepare(ctx context.Context, want string) (version string, err error)
	// Abandon ends what was prepared.
	Abandon()
}

// Rested is how an agent left its servers in a planned restart.
type Rested struct {
	Lease    time.Duration // the shortest that an application has
	Live     int           // servers that serve on
	Attached int           // of them, with a stream to the leader
	End      bool          // no program takes over
}

// Agent is one agent. Make it with New; Run it once.
type Agent struct {
	cfg       Config
	store     coord.Store
	log       zerolog.Logger
	version   string
	now       func() shard.Instant
	listen    func(string) (net.Listener, error)
	leaders   *leaders.Leaders
	contact   *contact
	gossip    Gossip
	metrics   *metrics.Metrics // nil: nobody wants them
	tracing   trace.TracerProvider
	advertise string

	callOptions []connect.ClientOption // of calls to applications

	dir      *stateDir
	host     *host.Sampler
	maps     *maps
	mailbox  chan mail
	loopDone chan struct{}
	ctx      context.Context // of everything that runs; ends after the servers were ended
	work     sync.WaitGroup
	streams  atomic.Uint64
	probes   chan struct{}

	restarts  Restarts
	run       uint64
	restart   chan Rested   // a planned restart was granted
	rested    Rested        // of the one that ended the run
	hurry     chan struct{} // do not wait for the drain
	hurryOnce sync.Once
	stopping  atomic.Bool
}

// New checks the configuration; nothing is opened before Run.
func New(cfg Config, deps Deps) (*Agent, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("agent: configuration: %w", err)
	}
	if deps.Store == nil {
		return nil, errors.New("agent: no store")
	}
	a := &Agent{
		cfg: cfg, store: deps.Store, log: deps.Log, version: deps.Version, now: deps.Now, listen: deps.Listen, gossip: deps.Gossip,
		restarts: deps.Restart, run: rand.Uint64(),
		mailbox: make(chan mail, maxMailbox), loopDone: make(chan struct{}), probes: make(chan struct{}, maxProbes),
		restart: make(chan Rested, 1), hurry: make(chan struct{}),
	}
	if a.now == nil {
		a.now = clock.Skewed(cfg.UnsafeClockPPM)
	}
	if a.listen == nil {
		a.listen = transport.Listen
	}
	dial := deps.Dial
	if dial == nil {
		dial = transport.Dial
	}
	a.leaders = leaders.New(cfg.Allocators, dial)
	a.contact = newContact(a.now())
	a.maps = newMaps(a)
	if deps.Tracing != nil {
		traced, err := app.Traced(deps.Tracing)
		if err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
		a.tracing, a.callOptions = deps.Tracing, traced
	}
	if deps.Metrics != nil {
		a.metrics = metrics.New(deps.Metrics, a.present)
	}
	return a, nil
}

// presentWithin is how long whoever collects metrics waits for the loop.
const presentWithin = time.Second

// present is how the servers stand, for metrics; none if the loop does not answer.
func (a *Agent) present() []roster.View {
	ctx, cancel := context.WithTimeout(context.Background(), presentWithin)
	defer cancel()
	status, err := a.Status(ctx)
	if err != nil {
		return nil
	}
	return status.Servers
}

func (a *Agent) settings() roster.Settings {
	return roster.Settings{
		Interval: a.cfg.LeaseInterval, Validity: a.cfg.LeaseValidity, SessionRenewal: SessionRenewal, LoadInterval: 5 * time.Second,
		StepDeadline: 10 * time.Second, EndDeadline: 5 * time.Second, ReportWait: 3 * time.Second, RestWait: 2 * time.Second,
	}
}

func (a *Agent) allowed(app shard.App) bool {
	return len(a.cfg.Apps) == 0 || slices.Contains(a.cfg.Apps, string(app))
}

// Run serves until ctx ends: then it drains, ends its servers and returns nil. After Restart it returns ErrRestart. Any other error says
// why the agent could not run.
func (a *Agent) Run(ctx context.Context) (err error) {
	a.dir, err = openStateDir(a.cfg.StateDir, claims{cluster: a.cfg.Cluster, agent: a.cfg.Name})
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer func() { err = errors.Join(err, a.dir.close()) }()
	files, err := a.dir.load()
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if err := a.openHost(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	a.ctx = inner
	doors, err := a.open(inner)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	a.maps.serve()
	a.work.Go(func() { a.newLoop().run(inner) })
	a.work.Go(func() { a.host.Run(inner) })
	a.work.Go(func() {
		a.leaders.Discover(inner, a.store, a.cfg.Cluster, func(err error) { a.post(noteMail{what: "record of the leader in the store", err: err}) })
	})
	a.post(startMail{files: files})
	doors.serve()
	a.note("agent started", map[string]any{
		"cluster": a.cfg.Cluster, "agent": a.cfg.Name, "address": a.advertise, "socket": a.cfg.Socket, "version": a.version,
	})
	select {
	case <-ctx.Done():
		a.leave()
	case a.rested = <-a.restart:
		a.note("agent rests", map[string]any{"why": "planned restart: the applications serve on"})
		err = ErrRestart
	case err = <-doors.failed:
		err = fmt.Errorf("agent: serve: %w", err)
	}
	a.stopping.Store(true)
	a.maps.shut()
	doors.close()
	cancel()
	a.work.Wait()
	a.leaders.Close()
	return err
}

// Rested is how the servers were left by a Run that returned ErrRestart.
func (a *Agent) Rested() Rested { return a.rested }

// Hurry ends the drain of an agent whose context has ended: what is left is ended at once. It may be called more than once.
func (a *Agent) Hurry() { a.hurryOnce.Do(func() { close(a.hurry) }) }

// Times of leaving.
const (
	progressEvery = time.Second // a line in the log
	lookEvery     = 50 * time.Millisecond
	endWait       = 10 * time.Second // for applications, leader and store to hear that the incarnations end
	hurriedWait   = 2 * time.Second  // the same in a hurry
)

// leave is the end on SIGTERM: drain, end the incarnations, deregister.
func (a *Agent) leave() {
	a.post(closeMail{reason: "the agent stops"})
	a.post(drainMail{on: true})
	begun, told := time.Now(), time.Time{}
	left := a.await(a.cfg.DrainTimeout, a.hurry, func(views []roster.View) int {
		left := 0
		for _, v := range views {
			left += drainLeft(v)
			if v.Life == roster.Live && !v.Draining { // a registration that was refused before has come through since
				a.post(drainMail{app: v.Server.App, on: true})
			}
		}
		if time.Since(told) >= progressEvery {
			told = time.Now()
			a.note("draining", map[string]any{"left": left, "for": time.Since(begun).Round(time.Millisecond).String()})
		}
		return left
	})
	if left > 0 {
		a.post(noteMail{what: "drain not finished", fields: map[string]any{"left": left}, err: errors.New("the time for it is over: what is left fails over")})
	}
	a.post(stopMail{reason: "the agent stops"})
	wait := endWait
	select {
	case <-a.hurry:
		wait = hurriedWait
	default:
	}
	left = a.await(wait, nil, func(views []roster.View) int {
		left := 0
		for _, v := range views {
			if v.Life != roster.Waiting {
				left++
			}
		}
		return left
	})
	a.note("agent stopped", map[string]any{"unended": left})
}

// drainLeft is what keeps a server from being drained: the leader's number, or what it holds while no leader has said.
func drainLeft(v roster.View) int {
	if v.Life == roster.Resuming {
		return 1 // what it holds, its application will say
	}
	if v.Life != roster.Live {
		return 0
	}
	if v.DrainKnown {
		return v.DrainLeft
	}
	left := 0
	for _, h := range v.Held {
		if h.Phase != shard.None {
			left++
		}
	}
	if left == 0 && v.Attached {
		return 1 // the leader may be about to place something here: it has to say
	}
	return left
}

// await looks again and again until left says 0, the time is over, or enough is closed; it returns the last number.
func (a *Agent) await(limit time.Duration, enough <-chan struct{}, left func([]roster.View) int) int {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		status, err := a.Status(a.ctx)
		if err != nil {
			return 0
		}
		n := left(status.Servers)
		if n == 0 {
			return 0
		}
		select {
		case <-timer.C:
			return n
		case <-enough:
			return n
		case <-ticker.C:
		}
	}
}

// note gives the loop a line to log.
func (a *Agent) note(what string, fields map[string]any) {
	a.post(noteMail{what: what, fields: fields})
}
