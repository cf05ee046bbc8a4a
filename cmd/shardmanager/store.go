package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/daemon"
	"github.com/shardmanager/shardmanager/internal/telemetry"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const (
	// storeFile is the store's file in its data directory.
	storeFile = "store.db"
	// storePatience is how long requests under way may take when the store stops.
	storePatience = 2 * time.Second
	// healthEvery is how often the store's health is looked at for the log.
	healthEvery = time.Second
)

// storeConfig are the settings of `shardmanager store`.
type storeConfig struct {
	Listen   string `yaml:"listen"`
	DataDir  string `yaml:"data_dir"`
	MaxBytes int    `yaml:"max_bytes"`
}

func (c storeConfig) engine() embedded.Config {
	cfg := embedded.Config{MaxBytes: c.MaxBytes}
	if c.DataDir != "" {
		cfg.Path = filepath.Join(c.DataDir, storeFile)
	}
	return cfg
}

func (c storeConfig) Validate() error {
	if c.engine().Validate() != nil {
		return fmt.Errorf("max_bytes: expected 0 (no limit) or at least %d, not %d", 1<<20, c.MaxBytes)
	}
	return nil
}

func storeCommand() *cobra.Command {
	cfg := storeConfig{Listen: daemon.DefaultStoreAddress}
	var admin daemon.AdminSettings
	c := &cobra.Command{
		Use:   "store",
		Short: "Run the embedded coordination store",
		Long: "Run the embedded coordination store: keys, sessions and transactions for the allocators and agents of one machine, in one file\n" +
			"or in memory. A damaged file is refused and left as it is.",
		Example: "  shardmanager store --data-dir /var/lib/shardmanager/store\n" +
			"  shardmanager store --listen unix:///run/shardmanager/store.sock     # in memory",
		Args: exactly(),
	}
	d := daemon.New(c, map[string]config.Help{
		"listen":       {Text: "host:port or unix:///path to listen at"},
		"data_dir":     {Text: "directory of the file (default none: everything is in memory and ends with the process)"},
		"max_bytes":    {Text: "most bytes the file may have; a write beyond is refused as full (default no limit)"},
		"admin_listen": {Text: daemon.AdminHelp},
	}, &cfg, &admin)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := d.Load(func() []daemon.Validator { return []daemon.Validator{cfg, admin} }); err != nil {
			return &usageError{err}
		}
		log := d.Logger(c.ErrOrStderr())
		ctx, stop := daemon.UntilSignal(c.Context(), log)
		defer stop()
		return runStore(ctx, cfg, admin, log)
	}
	return c
}

func runStore(ctx context.Context, cfg storeConfig, admin daemon.AdminSettings, log zerolog.Logger) (err error) {
	engine, err := embedded.Open(cfg.engine(), embedded.Deps{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	listener, err := daemon.NewReadiness(1, log).Listen(cfg.Listen)
	if err != nil {
		return fmt.Errorf("store: %w: choose another address by --listen", err)
	}
	alive := func(ctx context.Context) error {
		_, _, err := engine.Get(ctx, "shardmanager") // whether it is there does not matter
		return err
	}
	ready := func(context.Context) error { return engine.Health() }
	registry := telemetry.NewRegistry(softwareVersion())
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: telemetry.Namespace, Subsystem: "store", Name: "takes_writes",
		Help: "1 while the last write was good, 0 while writes are refused, as on a full disk."}, func() float64 { return telemetry.Bool(engine.Health() == nil) }))
	return daemon.Administered(admin, registry, alive, ready, log, func() error { return serveStore(ctx, cfg, engine, listener, alive, log) })
}

func serveStore(ctx context.Context, cfg storeConfig, engine *embedded.Engine, listener net.Listener, alive telemetry.Check, log zerolog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle(embedded.NewHandler(engine))
	mux.Handle(grpchealth.NewHandler(storeHealth{engine}))
	reflector := grpcreflect.NewStaticReflector(shardmanagerv1connect.StoreServiceName)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	server := transport.NewServer(ctx, mux)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Info().Str("address", listener.Addr().String()).Str("file", cfg.engine().Path).Str("version", softwareVersion()).Msg("store started")
	defer daemon.Watchdog(log, alive)()
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	for last := error(nil); ; {
		select {
		case err := <-failed:
			return fmt.Errorf("store: serve: %w", err)
		case <-ctx.Done():
			err := transport.Shutdown(server, storePatience)
			log.Info().Msg("store stopped")
			if errors.Is(err, context.DeadlineExceeded) { // whoever still waited was cut off
				return nil
			}
			return err
		case <-ticker.C:
			if now := engine.Health(); (now == nil) != (last == nil) {
				logHealth(log, now)
				last = now
			}
		}
	}
}

func logHealth(log zerolog.Logger, err error) {
	if err != nil {
		log.Error().Err(err).Msg("store refuses writes")
		return
	}
	log.Info().Msg("store takes writes again")
}

// storeHealth answers for the store: it serves while its last write was good.
type storeHealth struct{ engine *embedded.Engine }

func (s storeHealth) Check(_ context.Context, request *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if request.Service != "" && request.Service != shardmanagerv1connect.StoreServiceName {
		return nil, errors.New("unknown service " + request.Service)
	}
	if s.engine.Health() != nil {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}
