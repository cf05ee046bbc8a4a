// Package kvcmd is the command line of the example: serve, store and load. examples/kv and `shardmanager example-kv` run it.
package kvcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
	"github.com/shardmanager/shardmanager/examples/kv/kvserve"
	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
)

// Command is the example's command. Its verbs stop cleanly on SIGTERM and SIGINT.
func Command() *cobra.Command {
	root := &cobra.Command{
		Use:   "kv",
		Short: "An example application: a sharded key-value service of counters",
		Args:  cobra.NoArgs,
	}
	root.AddCommand(serveCommand(), storeCommand(), loadCommand())
	return root
}

func serveCommand() *cobra.Command {
	var cfg kvserve.Config
	var listen, addressFile, level string
	var warm bool
	cmd := &cobra.Command{
		Use:          "serve",
		Short:        "Serve keys as one server of the app kv",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Cold = !warm
			if err := cfg.Validate(); err != nil {
				return err
			}
			log, err := newLogger(cmd.ErrOrStderr(), level)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			listener, err := listenAt(listen, addressFile)
			if err != nil {
				return err
			}
			defer underSystemd(ctx, listener.Addr().String(), log)()
			return kvserve.Serve(ctx, cfg, listener, log)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.App, "app", kvserve.AppName, "name of the app in Shard Manager")
	flags.StringVar(&cfg.Agent, "agent", "", "address of the agent (default $SHARDMANAGER_AGENT, then the agent's default socket)")
	flags.StringVar(&listen, "listen", "127.0.0.1:0", "address to serve at, as clients and other servers reach it; port 0: any")
	flags.StringVar(&addressFile, "address-file", "", "file to write the address to, once it is listened at")
	flags.StringVar(&cfg.Mode, "mode", kvserve.PrimaryOnly, "how shards are replicated, as in the app's spec: primary-only, or primary-secondary, which needs no store")
	flags.StringVar(&cfg.Store, "store", "", "address of the store process, host:port, in the mode primary-only")
	flags.StringVar(&cfg.History, "history", "", "file to append the history for the overlap detector to (default none)")
	flags.StringVar(&cfg.Version, "app-version", "", "version of the application as operators see it")
	flags.StringVar(&cfg.Faults, "faults", "", "file of faults to show, as JSON, read at every callback (default none; see the README)")
	flags.BoolVar(&warm, "warm", true, "take the cache along in planned moves, and read it from the store otherwise; false: it begins empty (mode primary-only, no faults)")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func storeCommand() *cobra.Command {
	var listen, addressFile string
	cmd := &cobra.Command{
		Use:          "store",
		Short:        "Run the storage under the example, in memory",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			listener, err := listenAt(listen, addressFile)
			if err != nil {
				return err
			}
			return kvstore.Serve(ctx, listener, kvstore.New())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to serve at; port 0: any")
	cmd.Flags().StringVar(&addressFile, "address-file", "", "file to write the address to, once it is listened at")
	return cmd
}

func loadCommand() *cobra.Command {
	cfg := kvload.Default()
	var level string
	cmd := &cobra.Command{
		Use:          "load",
		Short:        "Send reads and writes at a fixed rate and check every answer",
		Long:         "Send reads and writes at a fixed rate and check every answer. Prints one JSON object a line and second, and a last one on SIGTERM or SIGINT.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd.ErrOrStderr(), level)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return kvload.Run(ctx, cfg, cmd.OutOrStdout(), log)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.App, "app", cfg.App, "name of the app in Shard Manager")
	flags.StringVar(&cfg.Agent, "agent", os.Getenv("SHARDMANAGER_AGENT"), "address of an agent to get the shard map from")
	flags.StringSliceVar(&cfg.Allocators, "allocators", nil, "addresses of allocators to get the shard map from while the agent does not answer")
	flags.StringVar(&cfg.Cluster, "cluster", "", "name of the cluster (default not checked)")
	flags.StringVar(&cfg.CacheDir, "cache-dir", "", "directory to keep the shard map in (default none)")
	flags.IntVar(&cfg.Rate, "rate", cfg.Rate, "requests a second")
	flags.IntVar(&cfg.Keys, "keys", cfg.Keys, "number of keys")
	flags.Float64Var(&cfg.WriteRatio, "write-ratio", cfg.WriteRatio, "share of writes, 0 to 1")
	flags.Float64Var(&cfg.Nearest, "nearest", 0, "share of the reads that any replica may answer, 0 to 1; checked against the staleness that it states")
	flags.StringVar(&cfg.Region, "region", "", "region that the generator runs in, so that those reads go to the nearest replica (default unknown)")
	flags.StringVar(&cfg.Zone, "zone", "", "zone in that region")
	flags.DurationVar(&cfg.Deadline, "deadline", cfg.Deadline, "deadline of a request, from the instant at which it is due")
	flags.DurationVar(&cfg.Duration, "duration", cfg.Duration, "how long to run; 0: until a signal")
	flags.StringVar(&cfg.History, "history", "", "file to log every request to (default none)")
	flags.StringVar(&cfg.Focus, "focus", "", "file that says which shards get more of the load, as JSON, read every second (default none; see the README)")
	flags.StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

// untilSignal ends with the first SIGTERM or SIGINT; a second one ends the process.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func newLogger(out io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log-level %q: expected debug, info, warn or error", level)
	}
	return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: l})), nil
}

// listenAt listens and says where, in a file that appears whole.
func listenAt(address, addressFile string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen %q: %w", address, err)
	}
	if addressFile == "" {
		return listener, nil
	}
	if err := writeWhole(addressFile, listener.Addr().String()); err != nil {
		return nil, errors.Join(fmt.Errorf("address-file: %w", err), listener.Close())
	}
	return listener, nil
}

func writeWhole(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = file.WriteString(text + "\n")
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
