package consul

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// DefaultAddress is where the Consul agent of a host listens.
const DefaultAddress = "127.0.0.1:8500"

// DefaultCheckTTL makes a thousand agents cost their Consul servers no more than 40 requests a second, if they are Consul's agents too.
const DefaultCheckTTL = time.Minute

// minCheckTTL leaves room for a late refresh.
const minCheckTTL = time.Second

// Config says how to reach Consul. Whatever is empty, WithEnvironment takes from the variables that Consul's own tools read.
type Config struct {
	Addresses  []string `yaml:"consul_addresses"` // host:port, http://, https:// or unix:///path; another is tried when one fails
	Token      string   `yaml:"consul_token"`
	TokenFile  string   `yaml:"consul_token_file"` // read again when it changes
	CAFile     string   `yaml:"consul_ca_file"`
	CertFile   string   `yaml:"consul_cert_file"` // read again for each connection
	KeyFile    string   `yaml:"consul_key_file"`
	ServerName string   `yaml:"consul_server_name"` // in Consul's certificate; default: the address's host
	Datacenter string   `yaml:"consul_datacenter"`  // default: that of the Consul agent
	Namespace  string   `yaml:"consul_namespace"`   // Consul Enterprise
	Partition  string   `yaml:"consul_partition"`   // Consul Enterprise
	// Register puts the process into the catalog, with a check that turns critical if it says nothing for CheckTTL; 0: DefaultCheckTTL.
	Register bool          `yaml:"consul_register"`
	CheckTTL time.Duration `yaml:"consul_check_ttl"`
}

// WithEnvironment fills what is empty from Consul's own variables, and addresses with the agent of the host.
func (c Config) WithEnvironment(get func(string) string) Config {
	if len(c.Addresses) == 0 {
		address := get("CONSUL_HTTP_ADDR")
		if address == "" {
			address = DefaultAddress
		}
		if on := get("CONSUL_HTTP_SSL"); (on == "true" || on == "1") && !strings.Contains(address, "://") {
			address = "https://" + address
		}
		c.Addresses = []string{address}
	}
	if c.Token == "" && c.TokenFile == "" {
		c.TokenFile = get("CONSUL_HTTP_TOKEN_FILE")
		if c.TokenFile == "" {
			c.Token = get("CONSUL_HTTP_TOKEN")
		}
	}
	fill := func(field *string, variable string) {
		if *field == "" {
			*field = get(variable)
		}
	}
	fill(&c.Namespace, "CONSUL_NAMESPACE")
	fill(&c.Partition, "CONSUL_PARTITION")
	if c.secure() {
		fill(&c.CAFile, "CONSUL_CACERT")
		fill(&c.CertFile, "CONSUL_CLIENT_CERT")
		fill(&c.KeyFile, "CONSUL_CLIENT_KEY")
		fill(&c.ServerName, "CONSUL_TLS_SERVER_NAME")
	}
	return c
}

// Validate names every wrong setting and what was expected.
func (c Config) Validate() error {
	var wrong []error
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	expect(len(c.Addresses) > 0, "consul_addresses: expected at least one address, such as %s", DefaultAddress)
	for i, a := range c.Addresses {
		_, err := parseAddress(a)
		expect(err == nil, "consul_addresses[%d]: %w", i, err)
	}
	expect(c.Token == "" || c.TokenFile == "", "consul_token: expected a token or consul_token_file, not both")
	expect((c.CertFile == "") == (c.KeyFile == ""), "consul_cert_file: expected together with consul_key_file")
	for key, value := range map[string]string{
		"consul_ca_file": c.CAFile, "consul_cert_file": c.CertFile, "consul_server_name": c.ServerName,
	} {
		expect(value == "" || c.secure(), "%s: expected consul_addresses to begin with https://", key)
	}
	expect(c.CheckTTL == 0 || c.CheckTTL >= minCheckTTL, "consul_check_ttl: expected %s or more, not %s", minCheckTTL, c.CheckTTL)
	return errors.Join(wrong...)
}

// secure reports whether any address is reached by TLS.
func (c Config) secure() bool {
	for _, a := range c.Addresses {
		if strings.HasPrefix(a, "https://") {
			return true
		}
	}
	return false
}

// address is one place where Consul listens.
type address struct {
	scheme string
	host   string // of the URL
	socket string // path of a Unix socket; empty: host is dialled
}

func parseAddress(text string) (address, error) {
	wrong := fmt.Errorf("expected host:port, http://host:port, https://host:port or unix:///path, not %q", text)
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "http", text
	}
	if scheme == "unix" {
		if !strings.HasPrefix(rest, "/") {
			return address{}, wrong
		}
		return address{scheme: "http", host: "localhost", socket: rest}, nil
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || (scheme != "http" && scheme != "https") || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return address{}, wrong
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil || host == "" || port == "" {
		return address{}, wrong
	}
	return address{scheme: scheme, host: u.Host}, nil
}
