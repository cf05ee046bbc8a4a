package consul

import (
	"net"
	"strings"
	"testing"
)

// FuzzAddress: where Consul is, is refused and quoted, or a socket by an absolute path, or a host and a port.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:8500", "https://consul:8501", "http://h:1", "unix:///run/consul.sock", "unix://x", "h", "", "ftp://h:1", "http://u:p@h:1", "http://h:1/x", "http://h:1?", "https://[::1]:1", "a://b://c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text)
		config := Config{Addresses: []string{text}}.Validate()
		if err != nil {
			if config == nil || !strings.HasPrefix(config.Error(), "consul_addresses[0]: expected host:port") {
				t.Fatalf("refused, but the configuration: %v", config)
			}
			return
		}
		if a.socket != "" {
			if !strings.HasPrefix(a.socket, "/") || a.scheme != "http" || !strings.HasSuffix(text, a.socket) {
				t.Fatalf("%q: %+v", text, a)
			}
			return
		}
		host, port, err := net.SplitHostPort(a.host)
		if err != nil || host == "" || port == "" || a.scheme != "http" && a.scheme != "https" {
			t.Fatalf("%q: %+v: %v", text, a, err)
		}
		if again, err := parseAddress(a.scheme + "://" + a.host); err != nil || again != a {
			t.Fatalf("%q: %+v, and written as a URL %+v, %v", text, a, again, err)
		}
	})
}
