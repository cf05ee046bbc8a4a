package dev

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/layout"
)

// Config of a demo or of scenarios.
type Config struct {
	Binary     string        // path of the shardmanager executable
	Scenario   string        // name, or All; empty: the demo
	Store      string        // coordination store: "embedded" or "consul"
	Consul     string        // path of the consul executable, with that store
	Servers    int           // of Consul, with that store: 1 or 3
	DataDir    string        // empty: a temporary one, removed at the end
	Mode       string        // of the example: "primary-only", "primary-secondary", or Both with a scenario; empty: Both with All, else the first
	Profile    string        // "default" or "fast"
	Rate       int           // requests per second
	Deadline   time.Duration // of a request, from the instant at which it is due
	JSON       bool          // results as JSON lines, for programs
	Trials     int           // how often each scenario repeats its events; 0: as often as it should
	Page       string        // host:port of the status page; empty: none
	Gossip     bool          // agents and allocators take part in gossip with a scenario too, as they do in the demo
	NoTour     bool          // the demo plays nothing by itself
	BreakLease bool          // make the leader not wait after a fence: the scenario must then fail
	Colour     bool          // Progress is a terminal
	Results    io.Writer
	Progress   io.Writer
}

// Coordination stores.
const (
	Embedded = "embedded"
	Consul   = "consul"
)

// All plays every scenario.
const All = "all"

// Both plays a scenario in both modes, and All in both where they differ.
const Both = "both"

// Bounds of a Config.
const (
	maxRate   = 100_000
	maxTrials = 1000

	maxDeadline = time.Minute
)

// Validate says which setting is wrong and what was expected.
func (c Config) Validate() error {
	switch {
	case c.Binary == "":
		return errors.New("binary: expected the path of the shardmanager executable")
	case c.Scenario != "" && c.Scenario != All && !slices.Contains(Scenarios(), c.Scenario):
		return fmt.Errorf("scenario %q: expected %s or %s", c.Scenario, strings.Join(Scenarios(), ", "), All)
	case c.Store != Embedded && c.Store != Consul:
		return fmt.Errorf("store %q: expected %s or %s", c.Store, Embedded, Consul)
	case c.Store == Consul && c.Consul == "":
		return errors.New("consul: expected the path of the consul executable")
	case c.Store == Consul && c.Servers != 1 && c.Servers != 3:
		return fmt.Errorf("consul-servers %d: expected 1 or 3", c.Servers)
	case c.modes() == nil:
		return fmt.Errorf("mode %q: expected %s or %s, or %s with a scenario", c.Mode, layout.PrimaryOnly, layout.PrimarySecondary, Both)
	case c.Profile != profileDefault && c.Profile != profileFast:
		return fmt.Errorf("profile %q: expected %s or %s", c.Profile, profileDefault, profileFast)
	case c.Rate < 1 || c.Rate > maxRate:
		return fmt.Errorf("rate %d: expected 1 to %d requests a second", c.Rate, maxRate)
	case c.Deadline <= 0 || c.Deadline > maxDeadline:
		return fmt.Errorf("deadline %v: expected more than 0 and at most %v", c.Deadline, maxDeadline)
	case c.Page != "" && !isAddress(c.Page):
		return fmt.Errorf("page %q: expected host:port, or nothing for no page", c.Page)
	case c.Trials < 0 || c.Trials > maxTrials:
		return fmt.Errorf("trials %d: expected 1 to %d, or 0 for as many as the scenario should have", c.Trials, maxTrials)
	case c.Results == nil || c.Progress == nil:
		return errors.New("results, progress: expected writers")
	case c.JSON && c.Scenario == "":
		return errors.New("json: expected a scenario; the demo is for people")
	case c.BreakLease && c.Scenario == "":
		return errors.New("break-lease: expected a scenario")
	}
	return nil
}

// modes lists those to play in; nil if Mode names none that can be.
func (c Config) modes() []string {
	switch {
	case c.Mode == layout.PrimaryOnly || c.Mode == layout.PrimarySecondary:
		return []string{c.Mode}
	case c.Mode == "" && c.Scenario != All:
		return []string{layout.PrimaryOnly}
	case c.Mode == "" || c.Mode == Both && c.Scenario != "":
		return []string{layout.PrimaryOnly, layout.PrimarySecondary}
	}
	return nil
}

func isAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port != ""
}

// DefaultPage is where the demo's status page is.
const DefaultPage = "127.0.0.1:7400"

// Profiles of timing.
const (
	profileDefault = "default"
	profileFast    = "fast"
)

// Patience with the cluster. None of these is a promise; they only bound how long a broken one is waited for.
const (
	startPatience  = 2 * time.Minute
	settlePatience = 3 * time.Minute
	calmTime       = time.Second // without an open move
	calmPatience   = 15 * time.Second
)
