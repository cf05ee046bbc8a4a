package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/daemon"
	"github.com/shardmanager/shardmanager/internal/dev"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
)

// devSettings are those that can be set by environment and file, too.
type devSettings struct {
	Page string `yaml:"page"`
}

// devCommand runs a whole cluster on this machine.
func devCommand() *cobra.Command {
	var cfg dev.Config
	var own devSettings
	var file string
	settings, err := config.New(&own)
	if err != nil {
		panic(err) // the key is wrong: every test of the command sees it
	}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine: the demo, or a scenario that checks the promises",
		Long: "Run a whole cluster on this machine, every part a process of its own, under load.\n\n" +
			"Without --scenario it is a demo that runs until Ctrl-C. With it, the scenario is played and judged: the exit status is not 0 if a promise broke.\n" +
			"Scenarios: " + strings.Join(dev.Scenarios(), ", ") + ", " + dev.All + " (in both modes of the example what differs there).",
		Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("dev: %w", err)
			}
			progress := os.Stdout
			if cfg.Scenario != "" {
				progress = os.Stderr
			}
			cfg.Binary, cfg.Results, cfg.Progress, cfg.Colour = binary, os.Stdout, progress, daemon.Colourful(progress)
			if cfg.Store == dev.Consul {
				if cfg.Consul, err = consulserver.Find(os.Getenv, filepath.Dir(binary), ".bin"); err != nil {
					return fmt.Errorf("dev: store consul: %w", err)
				}
			}
			if cfg.Scenario == "" {
				own.Page = dev.DefaultPage
			}
			if err := settings.Load(file, os.Environ()); err != nil {
				return &usageError{err}
			}
			cfg.Page = own.Page
			if err := cfg.Validate(); err != nil {
				return &usageError{err}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return dev.Run(ctx, cfg)
		},
	}
	flags := cmd.Flags()
	settings.AddFlags(flags, map[string]config.Help{
		"page": {Text: "host:port of the status page, empty for none (default " + dev.DefaultPage + " in the demo, none with --scenario)"},
	})
	flags.StringVar(&file, "config", "", "YAML file with `page`")
	flags.StringVar(&cfg.Scenario, "scenario", "", "scenario to play, or "+dev.All+" (default none: the demo)")
	flags.StringVar(&cfg.Store, "store", dev.Embedded, "coordination store: "+dev.Embedded+", or "+dev.Consul+" (CONSUL_BIN, or what make consul built)")
	flags.IntVar(&cfg.Servers, "consul-servers", 1, "servers of Consul, with that store: 1, or 3 that elect a leader")
	flags.StringVar(&cfg.Mode, "mode", "", "mode of the example: primary-only, primary-secondary, or both (default primary-only; with --scenario "+dev.All+": both where they differ)")
	flags.StringVar(&cfg.DataDir, "data-dir", "", "directory for data, logs and records, each run in one of its own (default a temporary one, removed at the end)")
	flags.StringVar(&cfg.Profile, "profile", "default", "timing: default or fast")
	flags.IntVar(&cfg.Rate, "rate", 2000, "requests a second")
	flags.DurationVar(&cfg.Deadline, "deadline", 2*time.Second, "deadline of a request; one that takes longer has failed")
	flags.BoolVar(&cfg.JSON, "json", false, "print results as JSON, one object a line")
	flags.BoolVar(&cfg.Gossip, "gossip", false, "agents and allocators take part in gossip, with a scenario too; in the demo they always do")
	flags.BoolVar(&cfg.NoTour, "no-tour", false, "the demo plays nothing by itself: a cluster under load, for trying commands out")
	flags.BoolVar(&cfg.BreakLease, "break-lease", false, "let the leader hand shards over without waiting for leases to end")
	flags.IntVar(&cfg.Trials, "trials", 0, "how often each scenario repeats its events (default as often as it should)")
	for _, hidden := range []string{"break-lease", "trials"} {
		if err := flags.MarkHidden(hidden); err != nil {
			panic("dev: the flag " + hidden + " is defined above: " + err.Error())
		}
	}
	return cmd
}
