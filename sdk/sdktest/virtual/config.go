package virtual

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/internal/plane"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// AppName is the name of the app in every Cluster: server a is `a.app`.
const AppName = plane.App

// Config says what a Cluster consists of. Zero values mean the defaults.
type Config struct {
	// App makes the application, and the storage that its servers share, in the bubble. It is required, and so is App.New in what it returns. The
	// Checker is for probes: checker.Of(server).Stored(shard).
	App func(checker *ownership.Checker) sdktest.App
	// Servers that are started, named a, b, c and so on: 1 to 26. Default: 3.
	Servers int
	// Shards of the app, by the hash key space. Default: 16.
	Shards int
	// Secondaries of each shard; the application needs sdk.RoleChanger and sdk.MembershipUpdater. Default: none.
	Secondaries int
	// Validity of a lease. Default: 6 s.
	Validity time.Duration
	// Interval between two renewals, by agents and by Hosts. Default: 1 s.
	Interval time.Duration
	// Delay of everything that is sent. Default: 1 ms.
	Delay time.Duration
	// Logger for what the Hosts log. Default: nothing.
	Logger *slog.Logger
	// HostOptions for every Host, besides those that the Cluster needs itself.
	HostOptions []sdk.HostOption
}

func (cfg Config) check() (Config, error) {
	switch {
	case cfg.App == nil:
		return cfg, errors.New("config: App: expected a function that makes the application")
	case cfg.Servers < 0 || cfg.Servers > 26 || cfg.Shards < 0 || cfg.Secondaries < 0:
		return cfg, errors.New("config: expected 1 to 26 servers, and numbers of shards and secondaries that are not negative")
	}
	orDefault(&cfg.Servers, 3)
	orDefault(&cfg.Shards, 16)
	orDefault(&cfg.Validity, 6*time.Second)
	orDefault(&cfg.Interval, time.Second)
	orDefault(&cfg.Delay, time.Millisecond)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

func orDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// Test plays in a bubble with a Cluster that serves all its shards, and fails the test for every violation that was found by its end. play runs on
// the test's goroutine; time passes where it waits, by time.Sleep for instance, and takes none.
func Test(t *testing.T, cfg Config, play func(t *testing.T, c *Cluster)) {
	t.Helper()
	for _, violation := range Run(t, cfg, play) {
		t.Error(violation)
	}
}

// Run is Test for tests that expect violations: it returns them. After play it ends all faults, waits until every shard is served, reads every
// value that was written, and ends the Cluster.
func Run(t *testing.T, cfg Config, play func(t *testing.T, c *Cluster)) (found []ownership.Violation) {
	t.Helper()
	cfg, err := cfg.check()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, cfg)
		t.Cleanup(c.stop)
		c.WaitServed(SettleTime)
		play(t, c)
		c.settle()
		found = c.checker.Violations()
	})
	return found
}
