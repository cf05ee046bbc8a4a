package observe

import (
	"fmt"
	"testing"

	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestLoadLinesSurviveAnyCut(t *testing.T) {
	t.Parallel()
	text := `{"requests":1,"lost_writes":0}` + "\n" + `{"final":true,"requests":5,"lost_writes":2}` + "\n"
	for cut := range len(text) {
		l := new(Load)
		for _, part := range []string{text[:cut], text[cut:]} {
			if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		last, count, bad := l.Now()
		if !last.Final || last.Requests != 5 || last.LostWrites != 2 || count != 2 || bad != "" {
			t.Fatalf("cut at %d: %+v, %d lines, bad %q", cut, last, count, bad)
		}
	}
	l := new(Load)
	_, _ = fmt.Fprintln(l, "panic: oh no")
	if _, count, bad := l.Now(); count != 0 || bad == "" {
		t.Error("a line that is no JSON must be noted")
	}
}

func TestMovesAreChangesOfPrimaries(t *testing.T) {
	t.Parallel()
	w, err := NewMap([]string{"127.0.0.1:1"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	servers := []shard.Server{{ID: "a.kv", App: "kv", Agent: "a"}, {ID: "b.kv", App: "kv", Agent: "b"}}
	show := func(counter uint64, primaries ...shard.ServerID) {
		var entries []shard.Entry
		for i, p := range primaries {
			entries = append(entries, shard.Entry{Index: shard.Index(i), Primary: p, Term: 1})
		}
		m, err := shard.NewMap(layout.App, shard.Version{Counter: counter}, shard.HashSpace{Shards: uint32(len(primaries))}, servers, entries)
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
		if moves, _ := w.Counted(); moves != step.moves {
			t.Errorf("step %d: %d moves, expected %d", i, moves, step.moves)
		}
	}
	if of, unplaced := w.ShardsOf(); of["b.kv"] != 2 || unplaced != 0 {
		t.Errorf("shards %v, %d unplaced", of, unplaced)
	}
	if err := w.Left("b.kv")(t.Context()); err == nil {
		t.Error("b still has shards")
	}
}
