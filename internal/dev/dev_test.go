package dev

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func valid() Config {
	return Config{Binary: "shardmanager", Scenario: "drain", Store: "embedded", Profile: profileFast, Rate: 2000, Deadline: time.Second, Results: io.Discard, Progress: io.Discard}
}

func TestValidateNamesTheSetting(t *testing.T) {
	t.Parallel()
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Config){
		"binary":                           func(c *Config) { c.Binary = "" },
		`scenario "drian": expected drain`: func(c *Config) { c.Scenario = "drian" },
		`store "etcd"`:                     func(c *Config) { c.Store = "etcd" },
		"consul: expected the path":        func(c *Config) { c.Store = Consul },
		"consul-servers 2":                 func(c *Config) { c.Store, c.Consul, c.Servers = Consul, "consul", 2 },
		`mode "both": expected`:            func(c *Config) { c.Scenario, c.Mode = "", Both },
		`mode "secondary-only"`:            func(c *Config) { c.Mode = "secondary-only" },
		`profile "slow"`:                   func(c *Config) { c.Profile = "slow" },
		"rate 0":                           func(c *Config) { c.Rate = 0 },
		"deadline 0s":                      func(c *Config) { c.Deadline = 0 },
		"deadline 1h0m0s":                  func(c *Config) { c.Deadline = time.Hour },
		"rate 1000000":                     func(c *Config) { c.Rate = 1_000_000 },
		`page "nonsense"`:                  func(c *Config) { c.Page = "nonsense" },
		"trials -1":                        func(c *Config) { c.Trials = -1 },
		"results":                          func(c *Config) { c.Results = nil },
		"json":                             func(c *Config) { c.Scenario, c.JSON = "", true },
		"break-lease":                      func(c *Config) { c.Scenario, c.BreakLease = "", true },
	} {
		c := valid()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, expected an error that says %q", err, says)
		}
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%s: Run did not refuse it", says)
		}
	}
}

func TestEveryScenarioIsThere(t *testing.T) {
	t.Parallel()
	const want = "drain rolling-restart rolling-upgrade crash host-crash pause agent-restart allocator-loss " +
		"region-loss region-loss-leader add-server load-shift partial-partition poison-shard slow-callback leader-pause app-pause"
	if got := strings.Join(Scenarios(), " "); got != want {
		t.Errorf("scenarios %q, expected %q", got, want)
	}
	for _, s := range scenarios() {
		if s.planned == (s.failover != nil) {
			t.Errorf("%s: either planned, or with a limit for failover", s.name)
		}
	}
	if len(named(All)) != len(scenarios()) || len(named("pause")) != 1 {
		t.Error("named does not find what was asked for")
	}
}

// All plays in the second mode what differs there; a scenario that is asked for by name is played as asked.
func TestModesThatArePlayed(t *testing.T) {
	t.Parallel()
	count := func(scenario, mode string) (list string) {
		for _, p := range (Config{Scenario: scenario, Mode: mode}).parts() {
			list += " " + p.mode
		}
		return list
	}
	const first, second = " primary-only", " primary-secondary"
	for _, c := range []struct{ scenario, mode, want string }{
		{"pause", "", first}, {"pause", "primary-secondary", second}, {"pause", Both, first + second}, {"drain", "", first},
	} {
		if got := count(c.scenario, c.mode); got != c.want {
			t.Errorf("%s, mode %q: played in%s, expected%s", c.scenario, c.mode, got, c.want)
		}
	}
	all := count(All, "")
	if n := strings.Count(all, first); n != len(scenarios()) {
		t.Errorf("all: %d of %d in the first mode", n, len(scenarios()))
	}
	if n := strings.Count(all, second); n == 0 || n == len(scenarios()) {
		t.Errorf("all: %d in the second mode, expected those that differ", n)
	}
	if n := strings.Count(count(All, "primary-secondary"), second); n != len(scenarios()) {
		t.Errorf("all in the second mode: %d of %d", n, len(scenarios()))
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	var plainOut, colourOut bytes.Buffer
	for _, c := range []*console{newConsole(&plainOut, false), newConsole(&colourOut, true)} {
		c.show("live %d", 1)
		c.show("live %d", 2)
		c.say(red, "event")
		c.end()
	}
	if text := plainOut.String(); strings.ContainsAny(text, "\x1b\r") || strings.Contains(text, "live 2") || !strings.Contains(text, "event\n") {
		t.Errorf("plain output: %q", text)
	}
	if text := colourOut.String(); !strings.Contains(text, red+"event") || strings.Count(text, "live 2") != 2 || !strings.HasSuffix(text, clearLine) {
		t.Errorf("coloured output: %q", text)
	}
}
