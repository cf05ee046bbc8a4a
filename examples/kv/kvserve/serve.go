package kvserve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvreplica"
	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/sdk"
)

// Config of one server of the example.
type Config struct {
	App     string // in Shard Manager; empty: AppName
	Agent   string // address of the agent; empty: the SDK's default
	Mode    string // how shards are replicated: PrimaryOnly or PrimarySecondary; empty: PrimaryOnly
	Store   string // address of the store process, host:port; in the mode PrimaryOnly
	History string // file for internal/overlap; empty: none
	Version string
	Faults  string // file of Faults, which need not exist; empty: none
	// Cold servers take no cache over in the mode PrimaryOnly, in a planned move or from the store: each key is a miss once.
	Cold bool
	// Heartbeat of primaries in the mode PrimarySecondary; 0: the usual one. Secondaries' reads are as stale as it is long.
	Heartbeat time.Duration
}

// Modes, as the app's spec names them.
const (
	PrimaryOnly      = "primary-only"
	PrimarySecondary = "primary-secondary"
)

// Validate checks what can be checked without doing anything.
func (c Config) Validate() error {
	switch c.Mode {
	case "", PrimaryOnly:
		if c.Store == "" {
			return errors.New("store: expected the address of a store process, such as 127.0.0.1:7500")
		}
	case PrimarySecondary:
		if c.Store != "" {
			return fmt.Errorf("store %q: expected none in the mode %s: replicas keep their data themselves", c.Store, PrimarySecondary)
		}
	default:
		return fmt.Errorf("mode %q: expected %s or %s", c.Mode, PrimaryOnly, PrimarySecondary)
	}
	if c.Cold && (c.Faults != "" || c.Mode == PrimarySecondary) {
		return fmt.Errorf("warm=false: expected no faults, and the mode %s: what has no store has no cache", PrimaryOnly)
	}
	if c.Faults != "" {
		if _, err := readFaults(c.Faults); err != nil {
			return err
		}
	}
	return nil
}

// shutdownPatience is how long running requests may take when the server stops.
const shutdownPatience = 5 * time.Second

// Serve serves the application on a listener until ctx ends. The listener's address is where clients and other servers reach it.
func Serve(ctx context.Context, cfg Config, listener net.Listener, log *slog.Logger) (err error) {
	if err := cfg.Validate(); err != nil {
		return errors.Join(err, listener.Close())
	}
	options := []sdk.HostOption{
		sdk.WithDataAddress(listener.Addr().String()), sdk.WithVersion(cfg.Version), sdk.WithSingleProcess(), sdk.WithLogger(log),
	}
	if cfg.Agent != "" {
		options = append(options, sdk.WithAgentAddress(cfg.Agent))
	}
	var broken <-chan struct{} // closed when the history cannot be written
	var history *overlap.Writer
	if cfg.History != "" {
		if history, err = overlap.Create(cfg.History); err != nil {
			return errors.Join(err, listener.Close())
		}
		defer func() { err = errors.Join(err, history.Close()) }()
		broken = history.Failed()
		options = append(options, sdk.WithObserver(history))
	}
	m := newMode(cfg, history, log)
	if m.host, err = sdk.NewHost(cmp.Or(cfg.App, AppName), m.handler, options...); err != nil {
		return errors.Join(err, listener.Close())
	}
	if m.node == nil {
		return run(ctx, m.host, newServer(m), listener, broken)
	}
	replicating, stop := context.WithCancel(context.WithoutCancel(ctx)) // what was acknowledged last is replicated, and handed over, yet
	replicated := make(chan struct{})
	go func() {
		defer close(replicated)
		m.node.Run(replicating)
	}()
	defer func() {
		stop()
		<-replicated
	}()
	return run(ctx, m.host, newServer(m), listener, broken)
}

// mode is the application in one of its modes.
type mode struct {
	handler sdk.Handler
	service func() (string, http.Handler)
	node    *kvreplica.Node // nil: PrimaryOnly
	host    *sdk.Host       // set before anything of the others is used
}

func newMode(cfg Config, history *overlap.Writer, log *slog.Logger) *mode {
	m := &mode{}
	identify := func() {
		if server, incarnation := m.host.Server(); server != "" && history != nil {
			history.SetServer(server, incarnation)
		}
	}
	if cfg.Mode != PrimarySecondary {
		app := NewApp(kvstore.NewClient(cfg.Store), log)
		app.identify = identify
		app.cold = cfg.Cold
		m.handler, m.service = app.callbacks(), app.Service
		if cfg.Faults != "" {
			m.handler = newFaults(app, cfg.Faults, history, log)
		}
		return m
	}
	m.node = kvreplica.New(kvreplica.Config{
		Incarnation: func() uint64 {
			_, incarnation := m.host.Server()
			return incarnation
		},
		Confirm: func(ctx context.Context, shard string, term uint64) bool { return primaryNow(ctx, m.host, shard, term) },
		Log:     log, Heartbeat: cfg.Heartbeat,
	})
	app := NewReplicated(m.node, log)
	app.identify = identify
	m.handler, m.service = app, app.Service
	if cfg.Faults != "" {
		m.handler = &faultyReplicated{faulty: newFaults(app, cfg.Faults, history, log), RoleChanger: app, MembershipUpdater: app}
	}
	return m
}

// newFaults is an application with faults. Its death is recorded just before, as the end of the lease: the process has no other witness of
// the instant.
func newFaults(app application, path string, history *overlap.Writer, log *slog.Logger) *faulty {
	return &faulty{application: app, path: path, log: log, die: func() {
		if history != nil {
			history.LeaseRevoked(clock.Now().Raw)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // to oneself it cannot fail
		select {}
	}}
}

// newServer mounts the guarded service and, unguarded, the SDK's own. Agents and other servers speak HTTP/2 without TLS.
func newServer(m *mode) *http.Server {
	mux := http.NewServeMux()
	mux.Handle(m.host.Handler())
	path, service := m.service()
	mux.Handle(path, m.host.Middleware(service))
	if m.node != nil {
		mux.Handle(m.node.Handler())
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
}

// run serves until ctx ends or something breaks. The SDK ends first: it tells the agent and lets go of the shards while requests can still
// be answered.
func run(ctx context.Context, host *sdk.Host, server *http.Server, listener net.Listener, broken <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	hosted := make(chan error, 1)
	go func() { hosted <- host.Run(ctx) }()

	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("serve: %w", err)
		cancel()
		err = errors.Join(err, ended(<-hosted))
	case err = <-hosted:
		err = ended(err)
	case <-broken:
		cancel()
		err = ended(<-hosted)
	}
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
	defer done()
	if failure := server.Shutdown(stop); failure != nil {
		err = errors.Join(err, failure, server.Close())
	}
	return err
}

// ended makes nothing of an end that was asked for.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
