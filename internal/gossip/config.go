package gossip

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/hashicorp/memberlist"
)

// Profiles of times.
const (
	// ProfileLAN probes every second: for members up to some 300 ms apart, whole continents included.
	ProfileLAN = "lan"
	// ProfileWAN probes every five seconds, patiently: failures are seen and coordinates settle five times more slowly.
	ProfileWAN = "wan"
)

// Config is how a process takes part in gossip. An empty Listen means that it does not.
type Config struct {
	Listen    string   `yaml:"gossip_listen"`    // host:port, TCP and UDP
	Advertise string   `yaml:"gossip_advertise"` // host:port where other members reach it; empty: where it listens
	Join      []string `yaml:"gossip_join"`      // host:port of members to begin with
	KeyFile   string   `yaml:"gossip_key_file"`  // keyring; empty: neither encrypted nor authenticated
	Profile   string   `yaml:"gossip_profile"`   // lan or wan; empty: lan
}

// On reports whether the process takes part.
func (c Config) On() bool { return c.Listen != "" }

// maxSeeds bounds the members that are joined in one round.
const maxSeeds = 16

// Validate names every wrong setting and what was expected.
func (c Config) Validate() error {
	var wrong []error
	complain := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s: expected %s", key, fmt.Sprintf(format, args...)))
	}
	if !c.On() {
		if c.Advertise != "" || c.KeyFile != "" || len(c.Join) > 0 {
			complain("gossip_listen", "host:port to listen on, because other settings of gossip are there")
		}
		return errors.Join(wrong...)
	}
	host, _, err := split(c.Listen)
	switch {
	case err != nil:
		complain("gossip_listen", "host:port, not %q", c.Listen)
	case c.Advertise == "" && unspecified(host):
		complain("gossip_advertise", "host:port that other machines reach, because gossip_listen names no host")
	}
	if c.Advertise != "" {
		if host, port, err := split(c.Advertise); err != nil || port == 0 || unspecified(host) {
			complain("gossip_advertise", "host:port that other machines reach, not %q", c.Advertise)
		}
	}
	if len(c.Join) > maxSeeds {
		complain("gossip_join", "at most %d members: a few that are always there are enough", maxSeeds)
	}
	for i, seed := range c.Join {
		if host, port, err := split(seed); err != nil || host == "" || port == 0 {
			complain(fmt.Sprintf("gossip_join[%d]", i), "host:port, not %q", seed)
		}
	}
	if c.Profile != "" && c.Profile != ProfileLAN && c.Profile != ProfileWAN {
		complain("gossip_profile", "%s or %s, not %q", ProfileLAN, ProfileWAN, c.Profile)
	}
	if c.KeyFile != "" {
		if _, err := readKeys(c.KeyFile); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	return host, int(number), err
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || (ip != nil && ip.IsUnspecified())
}

// tellings is how often each member passes on what it hears, for each decimal digit of the number of members. An epidemic in which each
// tells k others misses a share of about e^-k of them: with memberlist's 4, one in fifty members of a cluster of up to nine never hears
// that another leaves, and takes it for failed; with 8, one in three thousand.
const tellings = 8

// times is the profile's part of memberlist's configuration.
func (c Config) times() *memberlist.Config {
	conf := memberlist.DefaultLANConfig()
	if c.Profile == ProfileWAN {
		conf = memberlist.DefaultWANConfig()
	}
	conf.RetransmitMult = tellings
	return conf
}

// resolve is the address of a host that a setting names.
func resolve(setting, host string) (net.IP, error) {
	if host == "" {
		return net.IPv4zero, nil
	}
	address, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return address.IP, nil
}

// exposed reports whether gossip without a key could be heard by other machines.
func (c Config) exposed() bool {
	host, _, err := split(c.Listen)
	ip := net.ParseIP(host)
	return c.KeyFile == "" && err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// othersMayRead is the part of a file's mode that lets anybody read it.
const othersMayRead os.FileMode = 0o004
