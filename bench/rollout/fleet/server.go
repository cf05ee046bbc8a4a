package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/examples/kv/kvserve"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
)

// heartbeat of primaries to secondaries: nobody reads at secondaries here, and messages grow with the square of the servers.
const heartbeat = 5 * time.Second

// life is one process of a server, as it is told on its command line.
type life struct {
	Name, Cluster, Region, Zone     string
	AgentListen, AppListen, Socket  string
	StateDir, Store, KVStore        string
	Mode, Profile, Version, History string
	Allocators                      []string
	StartUp                         time.Duration // before anything
	DrainTimeout                    time.Duration
	Cold                            bool
}

// Serve is a server in a process of its own: an agent, and the example's application beside it, joined by the agent's socket as anywhere. SIGTERM ends it in
// order: the agent drains while the application serves on.
func Serve(text string) error {
	runtime.GOMAXPROCS(1) // there are many
	var l life
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if !clock.Pause(ctx, l.StartUp) {
		return nil
	}
	store, err := embedded.NewClient(l.Store)
	if err != nil {
		return err
	}
	defer store.Close()
	a, err := agent.New(agent.Config{
		Cluster: l.Cluster, Name: l.Name, Host: l.Name, Region: l.Region, Zone: l.Zone, Listen: l.AgentListen, Socket: "unix://" + l.Socket, StateDir: l.StateDir,
		Allocators: l.Allocators, Apps: []string{kvserve.AppName}, Profile: l.Profile, DrainTimeout: l.DrainTimeout,
	}, agent.Deps{Store: store, Version: l.Version, Log: zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger()})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", l.AppListen)
	if err != nil {
		return err
	}
	serving, end := context.WithCancel(context.Background())
	defer end()
	served := make(chan error, 1)
	go func() {
		log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		served <- kvserve.Serve(serving, kvserve.Config{
			Agent: "unix://" + l.Socket, Mode: l.Mode, Store: l.KVStore, History: l.History, Version: l.Version, Cold: l.Cold, Heartbeat: heartbeat,
		}, listener, log)
	}()
	if err := a.Run(ctx); err != nil {
		return errors.Join(fmt.Errorf("agent: %w", err), listener.Close())
	}
	end()
	return <-served
}
