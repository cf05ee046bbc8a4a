package sdk

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Every row of docs/architecture.md §5: what a server says to a command, by phase and by the command's place against the highest order
// seen. A pending row is one whose command was accepted and not completed.
func TestJudge(t *testing.T) {
	var (
		lower  = shard.Order{Term: 4, Move: 9}
		same   = shard.Order{Term: 5, Move: 7}
		higher = shard.Order{Term: 5, Move: 8}
		older  = shard.Order{Term: 3, Move: 3} // under which a shard is served that has refused a later move
	)
	at := func(phase shard.Phase, under shard.Order) record {
		r := newRecord()
		r.enter(phase, under)
		r.max = same
		return r
	}
	pending := func(r record, kind command) record {
		r.accept(kind, same)
		return r
	}
	handed := at(shard.Forwarding, same)
	handed.handed = true
	refusedMove := at(shard.Serving, older)
	refusedMove.cancelled = same

	records := []struct {
		name string
		record
	}{
		{"nothing held", at(shard.None, same)},
		{"prepared", at(shard.Prepared, same)},
		{"serving", at(shard.Serving, same)},
		{"serving, a later move cancelled", refusedMove},
		{"forwarding, marker not sent", at(shard.Forwarding, same)},
		{"forwarding", handed},
		{"prepare add failed", pending(at(shard.None, older), commandPrepareAdd)},
		{"prepare drop failed or busy", pending(at(shard.Serving, older), commandPrepareDrop)},
		{"add failed", pending(at(shard.None, older), commandAdd)},
		{"activate failed", pending(at(shard.None, older), commandActivate)},
		{"secondary", at(shard.Following, same)},
		{"follow failed", pending(at(shard.Serving, older), commandFollow)},
	}
	// For each command: verdicts at lower, same, higher, in the order of records. r refuse, t take, d done.
	tests := map[command]map[string]string{
		commandPrepareAdd: {
			"nothing held": "rrt", "prepared": "rdt", "serving": "rrt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rtt", "prepare drop failed or busy": "rrt",
			"add failed": "rrt", "activate failed": "rrt",
			"secondary": "rrt", "follow failed": "rrt",
		},
		commandPrepareDrop: {
			"nothing held": "rrr", "prepared": "rrr", "serving": "rrt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rtr", "forwarding": "rdr", "prepare add failed": "rrr", "prepare drop failed or busy": "rtt",
			"add failed": "rrr", "activate failed": "rrr",
			"secondary": "rrr", "follow failed": "rrt",
		},
		commandAdd: {
			"nothing held": "rrt", "prepared": "rtt", "serving": "rdt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rrt", "prepare drop failed or busy": "rrt",
			"add failed": "rtt", "activate failed": "rtt",
			"secondary": "rrt", "follow failed": "rrt",
		},
		commandActivate: {
			"nothing held": "rrt", "prepared": "rtt", "serving": "rdt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rrt", "prepare drop failed or busy": "rrt",
			"add failed": "rtt", "activate failed": "rtt",
			"secondary": "rrt", "follow failed": "rrt",
		},
		commandTransfer: {
			"nothing held": "rrr", "prepared": "rtr", "serving": "rdr", "serving, a later move cancelled": "rrr",
			"forwarding, marker not sent": "rrr", "forwarding": "rrr", "prepare add failed": "rrr", "prepare drop failed or busy": "rrr",
			"add failed": "rrr", "activate failed": "rrr",
			"secondary": "rrr", "follow failed": "rrr",
		},
		commandDrop: {
			"nothing held": "rtt", "prepared": "rtt", "serving": "rtt", "serving, a later move cancelled": "rtt",
			"forwarding, marker not sent": "rtt", "forwarding": "rtt", "prepare add failed": "rtt", "prepare drop failed or busy": "rtt",
			"add failed": "rtt", "activate failed": "rtt",
			"secondary": "rtt", "follow failed": "rtt",
		},
		commandFollow: {
			"nothing held": "rrt", "prepared": "rrt", "serving": "rrt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rrt", "prepare drop failed or busy": "rrt",
			"add failed": "rrt", "activate failed": "rrt",
			"secondary": "rdt", "follow failed": "rtt",
		},
	}
	letters := map[verdict]byte{refuse: 'r', take: 't', done: 'd'}
	for kind, rows := range tests {
		if len(rows) != len(records) {
			t.Errorf("%s: %d rows for %d records", kind, len(rows), len(records))
		}
		for _, given := range records {
			var got []byte
			for _, o := range []shard.Order{lower, same, higher} {
				got = append(got, letters[given.judge(kind, o)])
			}
			if want := rows[given.name]; string(got) != want {
				t.Errorf("%s, %s: verdicts at a lower, the same and a higher order = %s, want %s", kind, given.name, got, want)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	o := shard.Order{Term: 5, Move: 7}
	serving := newRecord()
	serving.enter(shard.Serving, shard.Order{Term: 4, Move: 6})
	serving.max = serving.under

	notBegun := serving
	if notBegun.cancel(o) || notBegun.cancel(o) {
		t.Error("a move that never came: begun, want not begun, twice")
	}
	if got := notBegun.judge(commandPrepareDrop, o); got != refuse {
		t.Errorf("PrepareDropShard of a cancelled move: verdict %d, want refuse", got)
	}
	busy := serving
	busy.accept(commandPrepareDrop, o)
	if busy.cancel(o) {
		t.Error("a move that ended busy: begun, want not begun")
	}
	if got := busy.judge(commandPrepareDrop, o); got != refuse {
		t.Errorf("PrepareDropShard of a move cancelled after busy: verdict %d, want refuse", got)
	}
	begun := serving
	begun.accept(commandPrepareDrop, o)
	begun.enter(shard.Forwarding, o)
	if !begun.cancel(o) {
		t.Error("a move whose hand-over began: not begun, want begun")
	}
	late := notBegun
	if late.cancel(shard.Order{Term: 5, Move: 6}); !late.cancel(shard.Order{Term: 5, Move: 6}) {
		t.Error("CancelMove below the highest order: not begun, want begun")
	}
}

// Whatever comes, in whatever order: the highest order never falls, nothing below it is taken, and what was refused for ever is.
func TestRecordKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRecord()
		refusedForEver := map[shard.Order]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			o := shard.Order{Term: shard.Term(rapid.Uint64Range(1, 4).Draw(t, "term")), Move: shard.MoveID(rapid.Uint64Range(1, 4).Draw(t, "move"))}
			kind := command(rapid.Uint8Range(uint8(commandPrepareAdd), uint8(commandFollow)).Draw(t, "kind"))
			fails := rapid.Bool().Draw(t, "fails")
			before := r
			if kind == commandCancel {
				if !r.cancel(o) {
					refusedForEver[o] = true
				}
			} else if r.judge(kind, o) == take {
				if o.Compare(before.max) < 0 {
					t.Fatalf("%s %s taken below %s", kind, o, before.max)
				}
				if kind == commandPrepareDrop && refusedForEver[o] {
					t.Fatalf("%s %s taken, although it was refused for ever", kind, o)
				}
				r.accept(kind, o)
				if !fails {
					r.enter(phaseAfter(kind), o)
					r.handed = kind == commandPrepareDrop
					r.complete()
				}
				if !fails && r.judge(kind, o) == refuse {
					t.Fatalf("%s %s was done and is refused when repeated", kind, o)
				}
				if fails && r.judge(kind, o) != take {
					t.Fatalf("%s %s failed and is not taken when repeated", kind, o)
				}
			}
			if r.max.Compare(before.max) < 0 || r.under.Compare(r.max) > 0 {
				t.Fatalf("after %s %s: max %s, before %s, under %s", kind, o, r.max, before.max, r.under)
			}
			if (r.term == 0) != (r.phase == shard.None) {
				t.Fatalf("after %s %s: term %d in phase %s", kind, o, r.term, r.phase)
			}
		}
	})
}

func phaseAfter(kind command) shard.Phase {
	switch kind {
	case commandPrepareAdd, commandActivate, commandTransfer:
		return shard.Prepared
	case commandPrepareDrop:
		return shard.Forwarding
	case commandAdd:
		return shard.Serving
	case commandFollow:
		return shard.Following
	case commandDrop, commandCancel:
	}
	return shard.None
}
