package row_test

import (
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/row"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Each case changes a sound row; what is wrong is found and said, and what is right is let through.
func TestChange(t *testing.T) {
	a, b, c := row.Owner{Server: "a.kv", Incarnation: 1}, row.Owner{Server: "b.kv", Incarnation: 2}, row.Owner{Server: "c.kv", Incarnation: 3}
	open := func(phase row.MovePhase) *row.OpenMove {
		return &row.OpenMove{Move: 7, Term: 5, From: a, To: b, Phase: phase}
	}
	sound := row.Row{Term: 5, Move: 7, Primary: a, PrimaryTerm: 4}
	grant := func(r *row.Row, to row.Owner) { r.Primary, r.Term, r.PrimaryTerm, r.Move = to, 6, 6, 8 }
	for name, k := range map[string]struct {
		old     *row.OpenMove
		change  func(*row.Row)
		stopped []row.Owner
		says    string
	}{
		"nothing":                   {nil, func(*row.Row) {}, nil, ""},
		"a lower term":              {nil, func(r *row.Row) { r.Term-- }, nil, "goes back"},
		"a lower move":              {nil, func(r *row.Row) { r.Move-- }, nil, "goes back"},
		"primary's term too high":   {nil, func(r *row.Row) { r.PrimaryTerm = 6 }, nil, "above the highest"},
		"open order too high":       {nil, func(r *row.Row) { r.Open = open(row.Opened); r.Open.Term = 9 }, nil, "open move's order"},
		"forward after an abort":    {open(row.Aborting), func(r *row.Row) { r.Open = open(row.Moved) }, nil, "R10"},
		"back from moved":           {open(row.Moved), func(r *row.Row) { r.Open = open(row.Opened) }, nil, "goes back from phase"},
		"secondary's order":         {nil, func(r *row.Row) { r.Secondaries = []row.Secondary{{Owner: b, Order: shard.Order{Term: 9}}} }, nil, "secondary"},
		"another id":                {nil, func(r *row.Row) { r.ID = "y" }, nil, "becomes"},
		"granted beside the owner":  {nil, func(r *row.Row) { grant(r, c) }, nil, "R11"},
		"granted after the owner":   {nil, func(r *row.Row) { grant(r, c) }, []row.Owner{a}, ""},
		"granted beside the target": {open(row.Aborting), func(r *row.Row) { grant(r, c); r.Open = nil }, []row.Owner{a}, "R11"},
		"granted after both":        {open(row.Aborting), func(r *row.Row) { grant(r, c); r.Open = nil }, []row.Owner{a, b}, ""},
		"taken over, handed":        {open(row.Opened), func(r *row.Row) { r.Primary, r.PrimaryTerm, r.Open = b, 5, open(row.Moved) }, []row.Owner{a}, ""},
		"taken over, not handed":    {open(row.Opened), func(r *row.Row) { r.Primary, r.PrimaryTerm, r.Open = b, 5, open(row.Moved) }, nil, "R11"},
		"granted at an old term":    {nil, func(r *row.Row) { r.Primary, r.PrimaryTerm = c, 4 }, []row.Owner{a}, "a grant at term"},
	} {
		old := sound
		old.ID, old.Open = "x", k.old
		next := old
		k.change(&next)
		stopped := func(o row.Owner) bool {
			for _, s := range k.stopped {
				if s == o {
					return true
				}
			}
			return false
		}
		got := row.Change{Old: &old, Next: &next, Stopped: stopped}.Wrong()
		if k.says == "" && got != "" || !strings.Contains(got, k.says) {
			t.Errorf("%s: %q, expected %q", name, got, k.says)
		}
	}
}

// A tally counts a move once, whether it is durable, staged or both, and newcomers as they are to be.
func TestTally(t *testing.T) {
	a, b, c := row.Owner{Server: "a.kv", Incarnation: 1}, row.Owner{Server: "b.kv", Incarnation: 2}, row.Owner{Server: "c.kv", Incarnation: 3}
	moving := row.Row{Primary: a, Open: &row.OpenMove{From: a, To: b}}
	joining := row.Row{Primary: a, Secondaries: []row.Secondary{{Owner: c, State: row.Joining, Replaces: a}}}
	done := row.Row{Primary: a, Secondaries: []row.Secondary{{Owner: c, State: row.InSync}}}
	n := row.NewTally()
	n.Add(&moving, &row.Row{Primary: b}) // closing: still counted
	n.Add(&row.Row{Primary: a}, &moving) // opening
	n.Add(&joining, nil)
	n.Add(&joining, &done) // over, once that is staged
	if n.Moves != 3 || n.Primaries[a] != 4 || n.Secondaries[c] != 2 || n.Touching[a] != 3 || n.Touching[b] != 2 || n.Touching[c] != 1 {
		t.Errorf("%+v", n)
	}
}
