package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/shardmanager/shardmanager/internal/config"
)

// defaultStoreAddress is where `shardmanager store` listens.
const defaultStoreAddress = "127.0.0.1:7450"

// logSettings are every daemon's.
type logSettings struct {
	Level  string `yaml:"log_level"`
	Format string `yaml:"log_format"`
}

func (l logSettings) Validate() error {
	var wrong []error
	if _, err := zerolog.ParseLevel(l.Level); err != nil || !strings.Contains(" debug info warn error ", " "+l.Level+" ") {
		wrong = append(wrong, fmt.Errorf("log_level: expected debug, info, warn or error, not %q", l.Level))
	}
	if l.Format != "auto" && l.Format != "console" && l.Format != "json" {
		wrong = append(wrong, fmt.Errorf("log_format: expected auto, console or json, not %q", l.Format))
	}
	return errors.Join(wrong...)
}

// storeSettings say which store an allocator uses. (An agent has the same keys in its own configuration.)
type storeSettings struct {
	Store   string `yaml:"store"`
	Address string `yaml:"store_address"`
}

func (s storeSettings) Validate() error {
	if s.Store != embeddedStore && s.Store != consulStore {
		return fmt.Errorf("store: expected %s or %s, not %q", embeddedStore, consulStore, s.Store)
	}
	return nil
}

// commonHelp is the help of the settings that several daemons have.
func commonHelp(own map[string]config.Help) map[string]config.Help {
	help := map[string]config.Help{
		"log_level":     {Text: "debug, info, warn or error"},
		"log_format":    {Text: "auto (console on a terminal, else json), console or json"},
		"store":         {Text: "coordination store: embedded or consul"},
		"store_address": {Text: "host:port or unix:///path of the embedded store"},
		"cluster":       {Text: "name of the cluster (required)"},
		"profile":       {Text: "set of times: default or fast"},
		"advertise":     {Text: "host:port where others reach it (default where it listens)"},
		"lease_interval": {
			Text: "how often servers renew their leases (default the profile's: 1s, fast 500ms)"},
		"lease_validity": {
			Text: "how long a lease lasts; the same for allocators and agents (default the profile's: 6s, fast 2.5s)"},
	}
	maps.Copy(help, consulHelp())
	maps.Copy(help, gossipHelp())
	maps.Copy(help, own)
	return help
}

// environ is the environment of this process.
func environ() []string { return os.Environ() }

// validator is every configuration.
type validator interface{ Validate() error }

// daemon is one long-running command under construction.
type daemon struct {
	settings *config.Set
	log      logSettings
	file     string
}

// newDaemon gives a command the flags of its configurations, --config and the log's included.
func newDaemon(c *cobra.Command, help map[string]config.Help, targets ...any) *daemon {
	d := &daemon{log: logSettings{Level: "info", Format: "auto"}}
	settings, err := config.New(append(targets, &d.log)...)
	if err != nil {
		panic(err) // a key of ours is wrong: every test of the command sees it
	}
	d.settings = settings
	settings.AddFlags(c.Flags(), commonHelp(help))
	c.Flags().StringVar(&d.file, "config", "", "YAML file of settings (SHARDMANAGER_CONFIG)")
	c.Flags().SortFlags = true
	return d
}

// load reads the settings and has the configurations validated, in the form that they have after it.
func (d *daemon) load(environ []string, validate func() []validator) error {
	if err := d.settings.Load(firstOf(d.file, variable("SHARDMANAGER_CONFIG")), environ); err != nil {
		return &usageError{err}
	}
	wrong := []error{d.settings.Explain(d.log.Validate())}
	for _, v := range validate() {
		wrong = append(wrong, d.settings.Explain(v.Validate()))
	}
	if err := errors.Join(wrong...); err != nil {
		return &usageError{err}
	}
	return nil
}

// logger writes to stderr: lines for people on a terminal, JSON elsewhere.
func (d *daemon) logger(stderr io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(d.log.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	out := stderr
	file, isFile := stderr.(*os.File)
	terminal := isFile && term.IsTerminal(int(file.Fd()))
	if d.log.Format == "console" || (d.log.Format == "auto" && terminal) {
		out = zerolog.ConsoleWriter{Out: stderr, NoColor: !isFile || !colourful(file), TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// untilSignal ends its context at the first SIGINT or SIGTERM. Each further one takes the next step of hurry; when there is none left, the
// process exits at once. A lost terminal (SIGHUP) ends no daemon.
func untilSignal(parent context.Context, log zerolog.Logger, hurry ...func()) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 4) // more than a person presses before the first is read
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		steps := append([]func(){cancel}, hurry...)
		for {
			select {
			case s := <-signals:
				if len(steps) == 0 {
					log.Warn().Str("signal", s.String()).Msg("exits at once")
					os.Exit(exitFailure)
				}
				log.Info().Str("signal", s.String()).Msg("stops; again to hurry")
				steps[0]()
				steps = steps[1:]
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
