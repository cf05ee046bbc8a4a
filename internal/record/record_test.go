package record

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
	at := func(phase shard.Phase, under shard.Order) Record {
		r := New()
		r.Enter(phase, under)
		r.Max = same
		return r
	}
	pending := func(r Record, kind Command) Record {
		r.Accept(kind, same)
		return r
	}
	handed := at(shard.Forwarding, same)
	handed.Handed = true
	refusedMove := at(shard.Serving, older)
	refusedMove.cancelled = same

	records := []struct {
		name string
		Record
	}{
		{"nothing held", at(shard.None, same)},
		{"prepared", at(shard.Prepared, same)},
		{"serving", at(shard.Serving, same)},
		{"serving, a later move cancelled", refusedMove},
		{"forwarding, marker not sent", at(shard.Forwarding, same)},
		{"forwarding", handed},
		{"prepare add failed", pending(at(shard.None, older), PrepareAdd)},
		{"prepare drop failed or busy", pending(at(shard.Serving, older), PrepareDrop)},
		{"add failed", pending(at(shard.None, older), Add)},
		{"activate failed", pending(at(shard.None, older), Activate)},
		{"secondary", at(shard.Following, same)},
		{"follow failed", pending(at(shard.Serving, older), Follow)},
	}
	// For each command: verdicts at lower, same, higher, in the order of records. r refuse, t take, d done.
	tests := map[Command]map[string]string{
		PrepareAdd: {
			"nothing held": "rrt", "prepared": "rdt", "serving": "rrt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rtt", "prepare drop failed or busy": "rrt",
			"add failed": "rrt", "activate failed": "rrt",
			"secondary": "rrt", "follow failed": "rrt",
		},
		PrepareDrop: {
			"nothing held": "rrr", "prepared": "rrr", "serving": "rrt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rtr", "forwarding": "rdr", "prepare add failed": "rrr", "prepare drop failed or busy": "rtt",
			"add failed": "rrr", "activate failed": "rrr",
			"secondary": "rrr", "follow failed": "rrt",
		},
		Add: {
			"nothing held": "rrt", "prepared": "rtt", "serving": "rdt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rrt", "prepare drop failed or busy": "rrt",
			"add failed": "rtt", "activate failed": "rtt",
			"secondary": "rrt", "follow failed": "rrt",
		},
		Activate: {
			"nothing held": "rrt", "prepared": "rtt", "serving": "rdt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rrt", "prepare drop failed or busy": "rrt",
			"add failed": "rtt", "activate failed": "rtt",
			"secondary": "rrt", "follow failed": "rrt",
		},
		Transfer: {
			"nothing held": "rrr", "prepared": "rtr", "serving": "rdr", "serving, a later move cancelled": "rrr",
			"forwarding, marker not sent": "rrr", "forwarding": "rrr", "prepare add failed": "rrr", "prepare drop failed or busy": "rrr",
			"add failed": "rrr", "activate failed": "rrr",
			"secondary": "rrr", "follow failed": "rrr",
		},
		Drop: {
			"nothing held": "rtt", "prepared": "rtt", "serving": "rtt", "serving, a later move cancelled": "rtt",
			"forwarding, marker not sent": "rtt", "forwarding": "rtt", "prepare add failed": "rtt", "prepare drop failed or busy": "rtt",
			"add failed": "rtt", "activate failed": "rtt",
			"secondary": "rtt", "follow failed": "rtt",
		},
		Follow: {
			"nothing held": "rrt", "prepared": "rrt", "serving": "rrt", "serving, a later move cancelled": "rrt",
			"forwarding, marker not sent": "rrt", "forwarding": "rrt", "prepare add failed": "rrt", "prepare drop failed or busy": "rrt",
			"add failed": "rrt", "activate failed": "rrt",
			"secondary": "rdt", "follow failed": "rtt",
		},
	}
	letters := map[Verdict]byte{Refuse: 'r', Take: 't', Done: 'd'}
	for kind, rows := range tests {
		if len(rows) != len(records) {
			t.Errorf("%s: %d rows for %d records", kind, len(rows), len(records))
		}
		for _, given := range records {
			var got []byte
			for _, o := range []shard.Order{lower, same, higher} {
				got = append(got, letters[given.Judge(kind, o)])
			}
			if want := rows[given.name]; string(got) != want {
				t.Errorf("%s, %s: verdicts at a lower, the same and a higher order = %s, want %s", kind, given.name, got, want)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	o := shard.Order{Term: 5, Move: 7}
	serving := New()
	serving.Enter(shard.Serving, shard.Order{Term: 4, Move: 6})
	serving.Max = serving.Under

	notBegun := serving
	if notBegun.Cancel(o) || notBegun.Cancel(o) {
		t.Error("a move that never came: begun, want not begun, twice")
	}
	if got := notBegun.Judge(PrepareDrop, o); got != Refuse {
		t.Errorf("PrepareDropShard of a cancelled move: verdict %d, want refuse", got)
	}
	busy := serving
	busy.Accept(PrepareDrop, o)
	if busy.Cancel(o) {
		t.Error("a move that ended busy: begun, want not begun")
	}
	if got := busy.Judge(PrepareDrop, o); got != Refuse {
		t.Errorf("PrepareDropShard of a move cancelled after busy: verdict %d, want refuse", got)
	}
	begun := serving
	begun.Accept(PrepareDrop, o)
	begun.Enter(shard.Forwarding, o)
	if !begun.Cancel(o) {
		t.Error("a move whose hand-over began: not begun, want begun")
	}
	late := notBegun
	if late.Cancel(shard.Order{Term: 5, Move: 6}); !late.Cancel(shard.Order{Term: 5, Move: 6}) {
		t.Error("CancelMove below the highest order: not begun, want begun")
	}
}

// Whatever comes, in whatever order: the highest order never falls, nothing below it is taken, and what was refused for ever is.
func TestRecordKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := New()
		refusedForEver := map[shard.Order]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			o := shard.Order{Term: shard.Term(rapid.Uint64Range(1, 4).Draw(t, "term")), Move: shard.MoveID(rapid.Uint64Range(1, 4).Draw(t, "move"))}
			kind := Command(rapid.Uint8Range(uint8(PrepareAdd), uint8(Follow)).Draw(t, "kind"))
			fails := rapid.Bool().Draw(t, "fails")
			before := r
			if kind == Cancel {
				if !r.Cancel(o) {
					refusedForEver[o] = true
				}
			} else if r.Judge(kind, o) == Take {
				if o.Compare(before.Max) < 0 {
					t.Fatalf("%s %s taken below %s", kind, o, before.Max)
				}
				if kind == PrepareDrop && refusedForEver[o] {
					t.Fatalf("%s %s taken, although it was refused for ever", kind, o)
				}
				r.Accept(kind, o)
				if !fails {
					r.Enter(phaseAfter(kind), o)
					r.Handed = kind == PrepareDrop
					r.Complete()
				}
				if !fails && r.Judge(kind, o) == Refuse {
					t.Fatalf("%s %s was done and is refused when repeated", kind, o)
				}
				if fails && r.Judge(kind, o) != Take {
					t.Fatalf("%s %s failed and is not taken when repeated", kind, o)
				}
			}
			if r.Max.Compare(before.Max) < 0 || r.Under.Compare(r.Max) > 0 {
				t.Fatalf("after %s %s: max %s, before %s, under %s", kind, o, r.Max, before.Max, r.Under)
			}
			if (r.Term == 0) != (r.Phase == shard.None) {
				t.Fatalf("after %s %s: term %d in phase %s", kind, o, r.Term, r.Phase)
			}
		}
	})
}

// A drop that was taken and did not come to an end: nothing is served, whoever asks.
func TestHeld(t *testing.T) {
	o := shard.Order{Term: 2, Move: 3}
	tests := map[string]struct {
		pending Command
		phase   shard.Phase
		term    shard.Term
	}{
		"nothing pending":        {0, shard.Serving, 1},
		"a hand-over was busy":   {PrepareDrop, shard.Serving, 1},
		"a drop failed":          {Drop, shard.None, 0},
		"to follow instead":      {Follow, shard.Serving, 1},
		"to serve at a new term": {Add, shard.Serving, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := New()
			r.Enter(shard.Serving, shard.Order{Term: 1, Move: 1})
			r.Max = r.Under
			want := shard.Held{Shard: "7", Phase: test.phase, Term: test.term, Max: r.Max}
			if test.pending != 0 {
				r.Accept(test.pending, o)
				want.Max = o
			}
			if got := r.Held("7"); got != want {
				t.Errorf("held %+v, expected %+v", got, want)
			}
		})
	}
}

func phaseAfter(kind Command) shard.Phase {
	switch kind {
	case PrepareAdd, Activate, Transfer:
		return shard.Prepared
	case PrepareDrop:
		return shard.Forwarding
	case Add:
		return shard.Serving
	case Follow:
		return shard.Following
	case Drop, Cancel:
	}
	return shard.None
}
