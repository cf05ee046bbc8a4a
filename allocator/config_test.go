package allocator

import (
	"strings"
	"testing"
	"time"
)

func validConfig(t *testing.T) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Cluster, cfg.Name, cfg.StateDir = "c1", "a1", t.TempDir()
	return cfg
}

func TestConfig(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		wants  string // in the error; empty: valid
	}{
		"default":           {func(*Config) {}, ""},
		"fast":              {func(c *Config) { c.Profile = ProfileFast }, ""},
		"unix sockets":      {func(c *Config) { c.Listen, c.AdminListen = "unix:///run/a", "unix:///run/b" }, ""},
		"advertised":        {func(c *Config) { c.Listen, c.Advertise = "0.0.0.0:7410", "10.0.0.1:7410" }, ""},
		"no cluster":        {func(c *Config) { c.Cluster = "" }, "cluster: expected"},
		"slash in cluster":  {func(c *Config) { c.Cluster = "a/b" }, "cluster: expected"},
		"no name":           {func(c *Config) { c.Name = "" }, "name: expected"},
		"other group":       {func(c *Config) { c.Group = "g2" }, "not supported yet"},
		"unknown profile":   {func(c *Config) { c.Profile = "slow" }, "profile: expected"},
		"no state dir":      {func(c *Config) { c.StateDir = "" }, "state_dir: expected"},
		"no listen":         {func(c *Config) { c.Listen = "" }, "listen: expected"},
		"everybody":         {func(c *Config) { c.AdminListen = ":7440" }, "admin_advertise"},
		"negative":          {func(c *Config) { c.Linger = -time.Second }, "linger: expected"},
		"validity too low":  {func(c *Config) { c.LeaseValidity = time.Second }, "validity"},
		"leader's too low":  {func(c *Config) { c.LeaderValidity = time.Second }, "leader_validity"},
		"unseats early":     {func(c *Config) { c.UnseatAfter = time.Second }, "unseat_after: expected"},
		"unseats before":    {func(c *Config) { c.UnseatDelay = -time.Second }, "unseat_delay: expected"},
		"one death":         {func(c *Config) { c.QuarantineDeaths = 1 }, "quarantine_deaths: expected"},
		"no window":         {func(c *Config) { c.QuarantineWindow = -1 }, "quarantine_window: expected"},
		"shrinks":           {func(c *Config) { c.ProbationFirst, c.ProbationMost = time.Hour, time.Minute }, "probation_most: expected"},
		"holds too much":    {func(c *Config) { c.HoldFraction = 1.5 }, "hold_fraction: expected"},
		"no latency":        {func(c *Config) { c.RegionLatency = []string{"eu:us=80ms", "eu-us=80ms"} }, `region_latency: expected two regions and the round trip between them, such as eu:us=80ms, not "eu-us=80ms"`},
		"holds less":        {func(c *Config) { c.HoldFraction = -0.1 }, "hold_fraction: expected"},
		"never holds":       {func(c *Config) { c.HoldFraction = 1 }, ""},
		"grace outlasts it": {func(c *Config) { c.AgentGrace = time.Hour }, "partition_grace"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := validConfig(t)
			test.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (test.wants == "") || (err != nil && !strings.Contains(err.Error(), test.wants)) {
				t.Errorf("error %v, expected one with %q", err, test.wants)
			}
		})
	}
}

// Every complaint is made at once.
func TestConfigSaysEverything(t *testing.T) {
	err := Config{}.Validate()
	for _, key := range []string{"cluster", "name", "group", "profile", "state_dir", "listen", "admin_listen"} {
		if !strings.Contains(err.Error(), "allocator: "+key+":") {
			t.Errorf("%s is not mentioned in: %v", key, err)
		}
	}
}

func TestProfiles(t *testing.T) {
	cfg := validConfig(t)
	if s := cfg.Settings(); s.Validity != 6*time.Second || s.AgentGrace != 3*time.Second || s.LeaderValidity != 12*time.Second {
		t.Errorf("default: %+v", s)
	}
	if u := cfg.Unseat(); u.Silence != 2*time.Second || u.Delay != 500*time.Millisecond || u.LeaderValidity != 12*time.Second {
		t.Errorf("default: %+v", u)
	}
	cfg.LeaseInterval = 3 * time.Second
	if u := cfg.Unseat(); u.Silence != 6*time.Second {
		t.Errorf("agents that renew every 3 s: %+v", u)
	}
	cfg.LeaseInterval = 0
	cfg.Profile = ProfileFast
	cfg.Linger = 5 * time.Second
	if s := cfg.Settings(); s.Validity != 2500*time.Millisecond || s.AgentGrace != 1250*time.Millisecond || s.Linger != 5*time.Second {
		t.Errorf("fast: %+v", s)
	}
}
