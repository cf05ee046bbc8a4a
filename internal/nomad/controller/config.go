package controller

import (
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/nomad/steering"
	"github.com/shardmanager/shardmanager/internal/transport"
)

// Config is the pace of a controller. DefaultConfig has the defaults.
type Config struct {
	Admin         []string      `yaml:"admin"`          // host:port of allocators' admin listeners
	Listen        string        `yaml:"listen"`         // host:port for GET /ready; empty: none
	Interval      time.Duration `yaml:"interval"`       // between two looks while something is under way
	DownFor       time.Duration `yaml:"down_for"`       // how long a server may be down
	DrainPatience time.Duration `yaml:"drain_patience"` // how long after its start a drain's deadline is put off; 0: never
}

// Bounds, and what is not set: the pause of looks when nothing is under way, for what events do not tell; and how a drain's deadline is put off.
const (
	shortestInterval = 100 * time.Millisecond
	idle             = 30 * time.Second
	putOffBy         = 10 * time.Minute
	putOffBefore     = 2 * time.Minute
)

// DefaultConfig has the defaults.
func DefaultConfig() Config {
	return Config{Admin: []string{"127.0.0.1:7440"}, Interval: time.Second, DownFor: 10 * time.Minute, DrainPatience: 2 * time.Hour}
}

// Validate names every wrong setting and what was expected.
func (c Config) Validate() error {
	var wrong []error
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	expect(len(c.Admin) > 0, "admin: expected host:port of at least one allocator's admin listener")
	for i, a := range c.Admin {
		e, err := transport.Dial(a)
		expect(err == nil, "admin[%d]: %w", i, err)
		if err == nil {
			e.Close()
		}
	}
	expect(c.Interval >= shortestInterval && c.Interval <= idle, "interval: expected %s to %s, not %s", shortestInterval, idle, c.Interval)
	expect(c.DownFor >= time.Minute && c.DownFor <= 24*time.Hour, "down_for: expected 1m to 24h, not %s", c.DownFor)
	expect(c.DrainPatience >= 0, "drain_patience: expected 0 or more, not %s", c.DrainPatience)
	return errors.Join(wrong...)
}

func (c Config) settings() steering.Settings {
	return steering.Settings{Duration: c.DownFor, Patience: c.DrainPatience, Step: putOffBy, Margin: putOffBefore}
}
