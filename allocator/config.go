package allocator

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/allocator/unseat"
	"github.com/shardmanager/shardmanager/allocator/webhook"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/transport"
)

// Profiles of settings (DESIGN §5).
const (
	ProfileDefault = "default"
	ProfileFast    = "fast"
)

// DefaultGroup is the only group of apps so far.
const DefaultGroup = "default"

// Config is how an allocator runs. Zero durations mean what the profile says.
type Config struct {
	Cluster string `yaml:"cluster"`
	Name    string `yaml:"name"` // of this allocator, unique in the cluster
	Group   string `yaml:"group"`
	Region  string `yaml:"region"` // where it runs, for the members of gossip
	Zone    string `yaml:"zone"`
	// RegionLatency is round trips between regions, such as eu:us=80ms, for where nothing good enough is measured; the same for all allocators.
	RegionLatency []string `yaml:"region_latency"`
	// Policy is a file with the cluster's default policy; empty: there is none. The same for all allocators.
	Policy string `yaml:"policy"`
	// Webhooks is a file with the targets that the leader tells of events; empty: there are none. The same for all allocators.
	Webhooks string `yaml:"webhooks"`
	// Listen is for agents and routers, AdminListen for operators: host:port or unix:///path.
	Listen      string `yaml:"listen"`
	AdminListen string `yaml:"admin_listen"`
	// Advertise and AdminAdvertise are where others reach the two; empty means where they listen.
	Advertise      string `yaml:"advertise"`
	AdminAdvertise string `yaml:"admin_advertise"`
	// StateDir keeps the session that a restarted allocator may destroy (PROTOCOL R26).
	StateDir string `yaml:"state_dir"`

	Profile        string        `yaml:"profile"`
	LeaseInterval  time.Duration `yaml:"lease_interval"`
	LeaseValidity  time.Duration `yaml:"lease_validity"`
	LeaderValidity time.Duration `yaml:"leader_validity"`
	AgentGrace     time.Duration `yaml:"agent_grace"`
	PartitionGrace time.Duration `yaml:"partition_grace"`
	HoldFraction   float64       `yaml:"hold_fraction"`
	// A server that is fenced twice within ProbationWindow gets no shards for ProbationFirst, doubled each time up to ProbationMost.
	ProbationWindow time.Duration `yaml:"probation_window"`
	ProbationFirst  time.Duration `yaml:"probation_first"`
	ProbationMost   time.Duration `yaml:"probation_most"`
	// A shard that QuarantineDeaths servers died of within QuarantineWindow is not placed any more.
	QuarantineDeaths int           `yaml:"quarantine_deaths"`
	QuarantineWindow time.Duration `yaml:"quarantine_window"`
	Linger           time.Duration `yaml:"linger"`
	StepDeadline     time.Duration `yaml:"step_deadline"`
	LoadDeadline     time.Duration `yaml:"load_deadline"`
	// MaxServersDown and MaxServersDownPerRegion cap planned events over all apps, what failed counted; 0: no cap.
	MaxServersDown          int `yaml:"max_servers_down"`
	MaxServersDownPerRegion int `yaml:"max_servers_down_per_region"`
	// UnseatAfter is how long a leader must have answered nobody before a standby ends its session, UnseatDelay the longest random delay
	// before that (PROTOCOL R16).
	UnseatAfter time.Duration `yaml:"unseat_after"`
	UnseatDelay time.Duration `yaml:"unseat_delay"`
	// UnsafeFenceWait replaces the wait after a fence, which breaks the lease: for the test of the overlap detector alone.
	UnsafeFenceWait time.Duration `yaml:"unsafe_fence_wait"`
}

// DefaultConfig is the configuration before anything is set.
func DefaultConfig() Config {
	return Config{Group: DefaultGroup, Listen: "127.0.0.1:7410", AdminListen: "127.0.0.1:7440", Profile: ProfileDefault}
}

// Settings are the ledger's: the profile's, where nothing else is configured.
func (c Config) Settings() ledger.Settings {
	interval, validity, leader := time.Second, 6*time.Second, 12*time.Second
	if c.Profile == ProfileFast {
		interval, validity, leader = 500*time.Millisecond, 2500*time.Millisecond, 5*time.Second
	}
	validity = cmp.Or(c.LeaseValidity, validity)
	return ledger.Settings{
		Interval:       cmp.Or(c.LeaseInterval, interval),
		Validity:       validity,
		LeaderValidity: cmp.Or(c.LeaderValidity, leader),
		AgentGrace:     cmp.Or(c.AgentGrace, validity/2),
		PartitionGrace: cmp.Or(c.PartitionGrace, 30*time.Second),
		ProbeTimeout:   500 * time.Millisecond,
		HoldFraction:   cmp.Or(c.HoldFraction, 0.5),
		Probation: probation.Terms{
			Window: cmp.Or(c.ProbationWindow, 10*time.Minute), First: cmp.Or(c.ProbationFirst, time.Minute), Most: cmp.Or(c.ProbationMost, 30*time.Minute),
		},
		Quarantine:   probation.Limits{Deaths: cmp.Or(c.QuarantineDeaths, 3), Window: cmp.Or(c.QuarantineWindow, 5*time.Minute)},
		Linger:       cmp.Or(c.Linger, 2*time.Second),
		StepDeadline: cmp.Or(c.StepDeadline, 10*time.Second),
		LoadDeadline: cmp.Or(c.LoadDeadline, 5*time.Minute),
		BatchTick:    100 * time.Millisecond,
		Maintenance:  caps.Cluster{Down: c.MaxServersDown, DownRegion: c.MaxServersDownPerRegion},
		MaxWriteOps:  storage.MaxWriteOps,
		FenceWait:    c.UnsafeFenceWait,
	}
}

// Unseat are the standby's settings. An agent that renews only so often cannot notice silence sooner. The delay is long beside the round trip
// in which one standby sees what another did, and short beside the time without a leader that it adds to.
func (c Config) Unseat() unseat.Settings {
	s := c.Settings()
	return unseat.Settings{
		LeaderValidity: s.LeaderValidity, Silence: cmp.Or(c.UnseatAfter, max(2*time.Second, 2*s.Interval)), Delay: cmp.Or(c.UnseatDelay, s.Interval/2),
	}
}

var name = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Validate says everything that is wrong, by the keys of the file.
func (c Config) Validate() error {
	var wrong []error
	complain := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("allocator: %s: expected %s", key, fmt.Sprintf(format, args...)))
	}
	if !name.MatchString(c.Cluster) {
		complain("cluster", "1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit, not %q", c.Cluster)
	}
	if !name.MatchString(c.Name) {
		complain("name", "1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit, not %q", c.Name)
	}
	if c.Group != DefaultGroup {
		complain("group", "%q, not %q: other groups are not supported yet", DefaultGroup, c.Group)
	}
	if c.Profile != ProfileDefault && c.Profile != ProfileFast {
		complain("profile", "%q or %q, not %q", ProfileDefault, ProfileFast, c.Profile)
	}
	if c.StateDir == "" {
		complain("state_dir", "a directory of this allocator's own")
	}
	for _, a := range []struct{ key, listen, advertise string }{
		{"listen", c.Listen, c.Advertise}, {"admin_listen", c.AdminListen, c.AdminAdvertise},
	} {
		if a.listen == "" {
			complain(a.key, "host:port or unix:///path")
		} else if err := transport.Check(a.listen); err != nil {
			wrong = append(wrong, fmt.Errorf("allocator: %s: %w: choose another address", a.key, err))
		} else if host, _, err := net.SplitHostPort(a.listen); err == nil && a.advertise == "" && unspecified(host) {
			complain(a.key, "an address that others can dial, not %q: set %s too", a.listen, map[string]string{"listen": "advertise", "admin_listen": "admin_advertise"}[a.key])
		}
	}
	if _, err := latency.Configured("region_latency", c.RegionLatency); err != nil {
		wrong = append(wrong, fmt.Errorf("allocator: %w", err))
	}
	if _, err := resolve.Open("allocator: policy", c.Policy); err != nil {
		wrong = append(wrong, err)
	}
	if _, err := webhook.Open("allocator: webhooks", c.Webhooks); err != nil {
		wrong = append(wrong, err)
	}
	if c.MaxServersDown < 0 {
		complain("max_servers_down", "0 (no cap) or more, not %d", c.MaxServersDown)
	}
	if c.MaxServersDownPerRegion < 0 {
		complain("max_servers_down_per_region", "0 (no cap) or more, not %d", c.MaxServersDownPerRegion)
	}
	wrong = append(wrong, c.validateTimes()...)
	return errors.Join(wrong...)
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || (ip != nil && ip.IsUnspecified())
}

// validateTimes checks what makes the settings safe together.
func (c Config) validateTimes() []error {
	var wrong []error
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"lease_interval", c.LeaseInterval}, {"lease_validity", c.LeaseValidity}, {"leader_validity", c.LeaderValidity},
		{"agent_grace", c.AgentGrace}, {"partition_grace", c.PartitionGrace}, {"linger", c.Linger},
		{"step_deadline", c.StepDeadline}, {"load_deadline", c.LoadDeadline}, {"unseat_after", c.UnseatAfter}, {"unseat_delay", c.UnseatDelay},
		{"probation_window", c.ProbationWindow}, {"probation_first", c.ProbationFirst}, {"probation_most", c.ProbationMost},
		{"quarantine_window", c.QuarantineWindow},
		{"unsafe_fence_wait", c.UnsafeFenceWait},
	} {
		if d.value < 0 {
			wrong = append(wrong, fmt.Errorf("allocator: %s: expected a time above 0, not %s", d.key, d.value))
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	if err := c.Settings().Validate(); err != nil {
		wrong = append(wrong, fmt.Errorf("allocator: %w", err))
	}
	if s := c.Unseat(); s.Silence < 2*c.Settings().Interval {
		wrong = append(wrong, fmt.Errorf("allocator: unseat_after: expected at least twice lease_interval, not %s", s.Silence))
	}
	return wrong
}
