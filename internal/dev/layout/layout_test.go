package layout

import (
	"path/filepath"
	"slices"
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

// Everybody takes part in gossip at an address of their own and begins with the allocators, or nobody does.
func TestGossip(t *testing.T) {
	t.Parallel()
	l, err := New(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
	})
	if got := l.Allocators[0].Page(); got != "http://"+l.Allocators[0].Admin+"/ui/" {
		t.Errorf("its page is %s", got)
	}
	seeds := []string{l.Allocators[0].Gossip, l.Allocators[1].Gossip, l.Allocators[2].Gossip}
	seen := map[string]bool{}
	for name, args := range map[string]func(Settings) []string{
		"allocator-1": func(s Settings) []string { return l.AllocatorArgs(l.Allocators[0], s) },
		"allocator-2": func(s Settings) []string { return l.AllocatorArgs(l.Allocators[1], s) },
		"node-1":      func(s Settings) []string { return l.AgentArgs(l.Servers[0], s) },
		"node-2":      func(s Settings) []string { return l.AgentArgs(l.Servers[1], s) },
	} {
		if slices.Contains(args(Settings{}), "--gossip-listen") {
			t.Errorf("%s takes part unasked", name)
		}
		got := args(Settings{Gossip: true})
		listen, join := slices.Index(got, "--gossip-listen"), slices.Index(got, "--gossip-join")
		if listen < 0 || join < 0 || got[join+1] != strings.Join(seeds, ",") || seen[got[listen+1]] {
			t.Errorf("%s: %q", name, got)
			continue
		}
		seen[got[listen+1]] = true
	}
}
