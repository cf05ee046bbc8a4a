package layout

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestLongPathsGetShortSockets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"d", strings.Repeat("d", 120)} {
		l, err := New(filepath.Join(t.TempDir(), name), false)
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
