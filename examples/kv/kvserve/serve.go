package kvserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/sdk"
)

// Config of one server of the example.
type Config struct {
	Agent   string // address of the agent; empty: the SDK's default
	Store   string // address of the store process, host:port
	History string // file for internal/overlap; empty: none
	Version string
	Faults  string // file of Faults, which need not exist; empty: none
}

// Validate checks what can be checked without doing anything.
func (c Config) Validate() error {
	if c.Store == "" {
		return errors.New("store: expected the address of a store process, such as 127.0.0.1:7500")
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
	app := NewApp(kvstore.NewClient(cfg.Store), log)
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
	host, err := sdk.NewHost(AppName, handler(app, cfg.Faults, history), options...)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if history != nil {
		app.identify = func() {
			if server, incarnation := host.Server(); server != "" {
				history.SetServer(server, incarnation)
			}
		}
	}
	return run(ctx, host, newServer(host, app), listener, broken)
}

// handler is the application, with faults if there is a file for them. Its death is recorded just before, as the end of the lease: the
// process has no other witness of the instant.
func handler(app *App, faults string, history *overlap.Writer) sdk.Handler {
	if faults == "" {
		return app
	}
	return &faulty{App: app, path: faults, die: func() {
		if history != nil {
			history.LeaseRevoked(clock.Now().Raw)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // to oneself it cannot fail
		select {}
	}}
}

// newServer mounts the guarded service and, unguarded, the SDK's own. Agents and other servers speak HTTP/2 without TLS.
func newServer(host *sdk.Host, app *App) *http.Server {
	mux := http.NewServeMux()
	mux.Handle(host.Handler())
	path, service := app.Service()
	mux.Handle(path, host.Middleware(service))
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
