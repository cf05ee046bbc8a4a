package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/shardmanager/shardmanager/internal/config"
)

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
	maps.Copy(help, tracingHelp())
	maps.Copy(help, own)
	return help
}

// Validator is every configuration.
type Validator interface{ Validate() error }

// Daemon is one long-running command under construction.
type Daemon struct {
	settings *config.Set
	log      logSettings
	file     string
}

// New gives a command the flags of its configurations, --config and the log's included.
func New(c *cobra.Command, help map[string]config.Help, targets ...any) *Daemon {
	d := &Daemon{log: logSettings{Level: "info", Format: "auto"}}
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

// Load reads the settings and has the configurations validated, in the form that they have after it. Its errors are those of whoever set them.
func (d *Daemon) Load(validate func() []Validator) error {
	if err := d.settings.Load(cmp.Or(d.file, os.Getenv("SHARDMANAGER_CONFIG")), os.Environ()); err != nil {
		return err
	}
	wrong := []error{d.settings.Explain(d.log.Validate())}
	for _, v := range validate() {
		wrong = append(wrong, d.settings.Explain(v.Validate()))
	}
	return errors.Join(wrong...)
}

// Logger writes to stderr: lines for people on a terminal, JSON elsewhere.
func (d *Daemon) Logger(stderr io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(d.log.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	out := stderr
	file, isFile := stderr.(*os.File)
	terminal := isFile && term.IsTerminal(int(file.Fd()))
	if d.log.Format == "console" || (d.log.Format == "auto" && terminal) {
		out = zerolog.ConsoleWriter{Out: stderr, NoColor: !isFile || !Colourful(file), TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// Colourful reports whether a file is a terminal that wants colours (no-color.org).
func Colourful(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
