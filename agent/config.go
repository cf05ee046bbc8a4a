package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/host"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Config is how an agent is set up. WithDefaults fills what is empty; Validate says what is wrong.
type Config struct {
	Cluster      string   `yaml:"cluster"`
	Name         string   `yaml:"name"`          // of the agent; default: the host's name
	Listen       string   `yaml:"listen"`        // host:port for other agents and routers
	Advertise    string   `yaml:"advertise"`     // host:port where they reach it; default: what Listen became
	Socket       string   `yaml:"socket"`        // unix:///path for applications and operators of the host
	Store        string   `yaml:"store"`         // embedded or consul, whose settings are its own
	StoreAddress string   `yaml:"store_address"` // of the embedded store
	Allocators   []string `yaml:"allocators"`    // host:port of each; none: whoever leads, as the store says
	Region       string   `yaml:"region"`
	Zone         string   `yaml:"zone"`
	Rack         string   `yaml:"rack"`
	Host         string   `yaml:"host"` // default: the host's name
	StateDir     string   `yaml:"state_dir"`
	Apps         []string `yaml:"apps"` // allowed ones; empty: any
	// Capacity of servers whose application states none, per metric.
	Capacity map[string]int64 `yaml:"capacity"`
	// CapacityMeasured are metrics whose capacity is measured where nothing is stated, or all.
	CapacityMeasured []string `yaml:"capacity_measured"`
	// Disk is a directory on the file system that counts as the disk; default: StateDir.
	Disk         string        `yaml:"disk"`
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	// Profile sets the times that are 0: `default` or `fast`.
	Profile        string        `yaml:"profile"`
	LeaseInterval  time.Duration `yaml:"lease_interval"`
	LeaseValidity  time.Duration `yaml:"lease_validity"`   // as the allocators'; of both the shorter counts
	UnsafeClockPPM int64         `yaml:"unsafe_clock_ppm"` // parts in a million by which this agent's clocks run fast: for tests of drift
}

// profile is a set of times (DESIGN §5).
type profile struct{ interval, validity time.Duration }

func profiles() map[string]profile {
	return map[string]profile{
		"default": {interval: time.Second, validity: 6 * time.Second},
		"fast":    {interval: 500 * time.Millisecond, validity: 2500 * time.Millisecond},
	}
}

// Defaults.
const (
	DefaultListen       = "127.0.0.1:7420"
	DefaultSocket       = "unix:///run/shardmanager/agent.sock"
	DefaultStateDir     = "/var/lib/shardmanager/agent"
	DefaultDrainTimeout = time.Minute
)

// WithDefaults fills what is empty.
func (c Config) WithDefaults() Config {
	hostname, _ := os.Hostname() // empty if it fails: then a name is asked for
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.Name, strings.ReplaceAll(hostname, ".", "-"))
	set(&c.Host, hostname)
	set(&c.Listen, DefaultListen)
	set(&c.Socket, DefaultSocket)
	set(&c.StateDir, DefaultStateDir)
	set(&c.Disk, c.StateDir)
	set(&c.Store, "embedded")
	set(&c.Profile, "default")
	times := profiles()[c.Profile]
	if c.LeaseInterval == 0 {
		c.LeaseInterval = times.interval
	}
	if c.LeaseValidity == 0 {
		c.LeaseValidity = times.validity
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	return c
}

// Locality is where the agent runs.
func (c Config) Locality() shard.Locality {
	return shard.Locality{Region: c.Region, Zone: c.Zone, Rack: c.Rack, Host: c.Host}
}

// Validate names every wrong field, what it is and what was expected.
func (c Config) Validate() error {
	var wrong []error
	expect := func(ok bool, field string, got any, expected string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s: %v: expected %s", field, quoted(got), expected))
		}
	}
	expect(cluster.MatchString(c.Cluster), "cluster", c.Cluster, "1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit")
	expect(name(c.Name), "name", c.Name, "1 to 63 letters, digits, - and _")
	expect(address(c.Listen), "listen", c.Listen, "host:port")
	expect(c.Advertise == "" || address(c.Advertise) && reachable(c.Advertise), "advertise", c.Advertise, "host:port that other machines reach")
	expect(c.Advertise != "" || reachable(c.Listen), "advertise", c.Advertise, "host:port that other machines reach, because listen names no host")
	expect(strings.HasPrefix(c.Socket, "unix:///"), "socket", c.Socket, "unix:///path")
	_, known := profiles()[c.Profile]
	expect(known, "profile", c.Profile, "default or fast")
	expect(c.Store == "embedded" || c.Store == "consul", "store", c.Store, "embedded or consul")
	for i, a := range c.Allocators {
		expect(address(strings.TrimPrefix(a, "http://")), fmt.Sprintf("allocators[%d]", i), a, "host:port")
	}
	expect(filepath.IsAbs(c.StateDir) || c.StateDir != "", "state_dir", c.StateDir, "a directory of this agent's own")
	for i, app := range c.Apps {
		expect(api.CheckApp(shard.App(app)) == nil, fmt.Sprintf("apps[%d]", i), app, "the name of an app: 1 to 63 letters, digits, - and _")
	}
	for _, metric := range shard.SortedKeys(c.Capacity) {
		expect(c.Capacity[metric] >= 0, "capacity."+metric, c.Capacity[metric], "0 or more")
	}
	for i, metric := range c.CapacityMeasured {
		expected, ok := host.Measurable(metric)
		expect(ok, fmt.Sprintf("capacity_measured[%d]", i), metric, expected+"; state other metrics by capacity")
	}
	expect(c.DrainTimeout > 0, "drain_timeout", c.DrainTimeout, "more than 0")
	expect(c.LeaseInterval >= 50*time.Millisecond, "lease_interval", c.LeaseInterval, "50ms or more")
	expect(c.LeaseValidity >= 2*c.LeaseInterval, "lease_validity", c.LeaseValidity, "at least twice lease_interval, and the same as the allocators'")
	expect(max(c.UnsafeClockPPM, -c.UnsafeClockPPM) <= maxClockPPM, "unsafe_clock_ppm", c.UnsafeClockPPM, fmt.Sprintf("%d to %d", -maxClockPPM, maxClockPPM))
	return errors.Join(wrong...)
}

const maxClockPPM = 500_000 // far beyond the drift that leases allow for, 10 000, and still a clock

func quoted(v any) any {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return v
}

// cluster is the allocators' rule for names of clusters.
var cluster = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func name(s string) bool { return api.CheckApp(shard.App(s)) == nil }

func address(s string) bool {
	_, port, err := net.SplitHostPort(s)
	return err == nil && port != ""
}

// reachable reports whether an address names a host that others can dial.
func reachable(s string) bool {
	host, _, err := net.SplitHostPort(s)
	ip := net.ParseIP(host)
	return err == nil && host != "" && (ip == nil || !ip.IsUnspecified())
}
