package transport

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzAddress: an address is refused and quoted, or names a network and a place in it, of which a URL can be made.
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
			if u, err := url.Parse(endpoint.URL); err == nil && u.Host != target && u.Path == "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil {
				t.Fatalf("%q: host %q of %q", address, u.Host, endpoint.URL)
			}
		default:
			t.Fatalf("%q: network %q", address, network)
		}
	})
}
