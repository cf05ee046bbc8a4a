package dev

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/shard"
)

func valid() Config {
	return Config{Binary: "shardmanager", Scenario: "drain", Store: "embedded", Profile: profileFast, Rate: 2000, Results: io.Discard, Progress: io.Discard}
}

func TestValidateNamesTheSetting(t *testing.T) {
	t.Parallel()
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Config){
		"binary":                           func(c *Config) { c.Binary = "" },
		`scenario "drian": expected drain`: func(c *Config) { c.Scenario = "drian" },
		`store "consul"`:                   func(c *Config) { c.Store = "consul" },
		`profile "slow"`:                   func(c *Config) { c.Profile = "slow" },
		"rate 0":                           func(c *Config) { c.Rate = 0 },
		"rate 1000000":                     func(c *Config) { c.Rate = 1_000_000 },
		"trials -1":                        func(c *Config) { c.Trials = -1 },
		"results":                          func(c *Config) { c.Results = nil },
		"json":                             func(c *Config) { c.Scenario, c.JSON = "", true },
		"break-lease":                      func(c *Config) { c.Scenario, c.BreakLease = "", true },
	} {
		c := valid()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, expected an error that says %q", err, says)
		}
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%s: Run did not refuse it", says)
		}
	}
}

func TestEveryScenarioOfTheIssueIsThere(t *testing.T) {
	t.Parallel()
	const want = "drain rolling-restart crash host-crash pause agent-restart allocator-loss " +
		"add-server load-shift partial-partition slow-callback leader-pause"
	if got := strings.Join(Scenarios(), " "); got != want {
		t.Errorf("scenarios %q, expected %q", got, want)
	}
	for _, s := range scenarios() {
		if s.planned == (s.failover != nil) {
			t.Errorf("%s: either planned, or with a limit for failover", s.name)
		}
	}
	if len(named(All)) != len(scenarios()) || len(named("pause")) != 1 {
		t.Error("named does not find what was asked for")
	}
}

func TestLoadLinesSurviveAnyCut(t *testing.T) {
	t.Parallel()
	text := `{"requests":1,"lost_writes":0}` + "\n" + `{"final":true,"requests":5,"lost_writes":2}` + "\n"
	for cut := range len(text) {
		l := new(loadLines)
		for _, part := range []string{text[:cut], text[cut:]} {
			if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		last, count, bad := l.now()
		if !last.Final || last.Requests != 5 || last.LostWrites != 2 || count != 2 || bad != "" {
			t.Fatalf("cut at %d: %+v, %d lines, bad %q", cut, last, count, bad)
		}
	}
	l := new(loadLines)
	_, _ = fmt.Fprintln(l, "panic: oh no")
	if _, count, bad := l.now(); count != 0 || bad == "" {
		t.Error("a line that is no JSON must be noted")
	}
}

func TestMovesAreChangesOfPrimaries(t *testing.T) {
	t.Parallel()
	w, err := newMapWatch([]string{"127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	servers := []shard.Server{{ID: "a.kv", App: "kv", Agent: "a"}, {ID: "b.kv", App: "kv", Agent: "b"}}
	show := func(counter uint64, primaries ...shard.ServerID) {
		var entries []shard.Entry
		for i, p := range primaries {
			entries = append(entries, shard.Entry{Index: shard.Index(i), Primary: p, Term: 1})
		}
		m, err := shard.NewMap(appName, shard.Version{Counter: counter}, shard.HashSpace{Shards: uint32(len(primaries))}, servers, entries)
		if err != nil {
			t.Fatal(err)
		}
		w.take(m)
	}
	for i, step := range []struct {
		primaries []shard.ServerID
		moves     int
	}{
		{[]shard.ServerID{"", ""}, 0},
		{[]shard.ServerID{"a.kv", "a.kv"}, 0}, // first placement
		{[]shard.ServerID{"a.kv", ""}, 0},     // lost
		{[]shard.ServerID{"a.kv", "a.kv"}, 0}, // back
		{[]shard.ServerID{"b.kv", ""}, 1},
		{[]shard.ServerID{"b.kv", "b.kv"}, 2}, // failed over
	} {
		show(uint64(i+1), step.primaries...)
		if moves, _ := w.counted(); moves != step.moves {
			t.Errorf("step %d: %d moves, expected %d", i, moves, step.moves)
		}
	}
	if of, unplaced := w.shardsOf(); of["b.kv"] != 2 || unplaced != 0 {
		t.Errorf("shards %v, %d unplaced", of, unplaced)
	}
	if err := w.left("b.kv")(t.Context()); err == nil {
		t.Error("b still has shards")
	}
}

func TestLongPathsGetShortSockets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"d", strings.Repeat("d", 120)} {
		l, err := newLayout(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{l.store: true, l.kvStore: true}
		for _, s := range l.servers {
			if len(s.sock) > maxSocketPath {
				t.Errorf("socket %s has %d bytes", s.sock, len(s.sock))
			}
			for _, a := range []string{s.agentListen, s.appListen} {
				if seen[a] {
					t.Errorf("address %s is given twice", a)
				}
				seen[a] = true
			}
		}
		if l.temporary != "" {
			if err := os.RemoveAll(l.temporary); err != nil {
				t.Error(err)
			}
		}
		if outside := l.temporary != ""; outside != (len(name) > 100) {
			t.Errorf("directory of %d bytes: temporary %q", len(name), l.temporary)
		}
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	var plainOut, colourOut bytes.Buffer
	for _, c := range []*console{newConsole(&plainOut, false), newConsole(&colourOut, true)} {
		c.show("live %d", 1)
		c.show("live %d", 2)
		c.say(red, "event")
		c.end()
	}
	if text := plainOut.String(); strings.ContainsAny(text, "\x1b\r") || strings.Contains(text, "live 2") || !strings.Contains(text, "event\n") {
		t.Errorf("plain output: %q", text)
	}
	if text := colourOut.String(); !strings.Contains(text, red+"event") || strings.Count(text, "live 2") != 2 || !strings.HasSuffix(text, clearLine) {
		t.Errorf("coloured output: %q", text)
	}
}
