package transport

import (
	"net"
	"strings"
	"testing"
)

// FuzzAddress: an address is refused and quoted, or names a network and a place in it.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"h:1", "http://h:1", "unix:///a/b", "unix://", "[::1]:80", "h", "", "unix://" + strings.Repeat("a", 200), "http://unix:1", "h:1\n", "a b:1", "%:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		network, target, err := split(address)
		endpoint, dialErr := Dial(address)
		if (err == nil) != (dialErr == nil) {
			t.Fatalf("split says %v, Dial %v", err, dialErr)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "address ") {
				t.Fatal(err)
			}
			return
		}
		defer endpoint.Close()
		switch network {
		case "unix":
			if "unix://"+target != address || len(target) > maxUnixPath || endpoint.URL != "http://unix" {
				t.Fatalf("%q: socket %q, URL %q", address, target, endpoint.URL)
			}
		case "tcp":
			if _, _, err := net.SplitHostPort(target); err != nil || endpoint.URL != "http://"+target || !strings.HasSuffix(address, target) {
				t.Fatalf("%q: place %q, URL %q (%v)", address, target, endpoint.URL, err)
			}
		default:
			t.Fatalf("%q: network %q", address, network)
		}
	})
}
