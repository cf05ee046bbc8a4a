package layout

import (
	"path/filepath"
	"strings"
	"testing"
)

// Two clusters on one machine do not take each other's ports, not even while nobody listens at them.
func TestClustersShareNoPort(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 40 {
		p := newPorts()
		t.Cleanup(func() {
			if err := p.release(); err != nil {
				t.Error(err)
			}
		})
		for range blockSize + 2 { // more than one block
			a, err := p.take(0)
			if err != nil {
				t.Fatal(err)
			}
			if seen[a] {
				t.Fatalf("%s is given twice", a)
			}
			seen[a] = true
		}
	}
}

func TestLongPathsGetShortSockets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"d", strings.Repeat("d", 120)} {
		l, err := New(filepath.Join(t.TempDir(), name), 0)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{l.Store: true, l.KVStore: true}
		for _, s := range l.Servers {
			if len(s.Sock) > maxSocketPath {
				t.Errorf("socket %s has %d bytes", s.Sock, len(s.Sock))
			}
			for _, a := range []string{s.AgentListen, s.AppListen} {
				if seen[a] {
					t.Errorf("address %s is given twice", a)
				}
				seen[a] = true
			}
		}
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
		if outside := l.temporary != ""; outside != (len(name) > 100) {
			t.Errorf("directory of %d bytes: temporary %q", len(name), l.temporary)
		}
	}
}
