package row

import "fmt"

// Change is one that is about to be made to a row. It checks what must hold of every change, whoever decides it; the ledger does so in
// binaries that check themselves (package invariant).
type Change struct {
	Old, Next *Row
	// Stopped reports whether an incarnation can execute the shard no more: it acknowledged a stop, or is over.
	Stopped func(Owner) bool
}

// Wrong says what must not be; empty: nothing.
func (c Change) Wrong() string {
	old, next := c.Old, c.Next
	switch {
	case next.Term < old.Term || next.Move < old.Move:
		return fmt.Sprintf("(term, move) goes back from %d/%d to %d/%d (R3)", old.Term, old.Move, next.Term, next.Move)
	case next.PrimaryTerm > next.Term:
		return fmt.Sprintf("the primary's term %d is above the highest, %d", next.PrimaryTerm, next.Term)
	case next.ID != old.ID && old.ID != "" && next.ID != "":
		return fmt.Sprintf("shard %s becomes %s", old.ID, next.ID)
	case next.Open != nil && (next.Open.Term > next.Term || next.Open.Move > next.Move):
		return fmt.Sprintf("the open move's order %s is above the highest", next.Open.Order())
	case old.Open != nil && next.Open != nil && old.Open.Move == next.Open.Move && next.Open.Phase < old.Open.Phase:
		return fmt.Sprintf("the open move goes back from phase %d to %d", old.Open.Phase, next.Open.Phase)
	case old.Open != nil && old.Open.Phase == Aborting && next.Open != nil && next.Open.Phase == Moved:
		return "a move goes forward after the decision to abort it (R10)"
	}
	for i := range next.Secondaries {
		if s := &next.Secondaries[i]; s.Order.Term > next.Term || s.Order.Move > next.Move || s.Incarnation == 0 {
			return fmt.Sprintf("secondary %v has order %s, the row %d/%d", s.Owner, s.Order, next.Term, next.Move)
		}
	}
	return c.wrongGrant()
}

// wrongGrant is the grant rule (R11), told by the rows alone: whoever the old row allowed to execute the shard, and is not the new primary, has
// stopped or is over. The source of a move past row 4 had when that row was written.
func (c Change) wrongGrant() string {
	old, next := c.Old, c.Next
	granted := next.Primary.Incarnation != 0 && (next.Primary != old.Primary || next.PrimaryTerm != old.PrimaryTerm)
	if !granted {
		return ""
	}
	if next.PrimaryTerm <= old.PrimaryTerm {
		return fmt.Sprintf("a grant at term %d, after one at %d", next.PrimaryTerm, old.PrimaryTerm)
	}
	allowed := []Owner{old.Primary}
	if m := old.Open; m != nil && m.Phase != Moved {
		allowed = append(allowed, m.To)
	}
	for _, o := range allowed {
		if o.Incarnation != 0 && o != next.Primary && !c.Stopped(o) {
			return fmt.Sprintf("granted to %v while %v may execute it (R11)", next.Primary, o)
		}
	}
	return ""
}

// Tally counts what rows say of owners.
type Tally struct {
	Moves                            int // open moves and newcomers
	Primaries, Secondaries, Touching map[Owner]int
}

// NewTally counts nothing yet.
func NewTally() Tally {
	return Tally{Primaries: map[Owner]int{}, Secondaries: map[Owner]int{}, Touching: map[Owner]int{}}
}

// Add counts a durable row, and the one that is to take its place; nil: none.
func (t *Tally) Add(durable, staged *Row) {
	t.Primaries[durable.Primary]++
	for i := range durable.Secondaries {
		t.Secondaries[durable.Secondaries[i].Owner]++
	}
	newest, open := durable, durable.Open
	if staged != nil {
		newest = staged
		if open == nil {
			open = staged.Open
		}
	}
	if open != nil {
		t.touch(open.From, open.To)
	}
	for _, ends := range newest.Comings() {
		t.touch(ends[0], ends[1])
	}
}

func (t *Tally) touch(a, b Owner) {
	t.Moves++
	t.Touching[a]++
	t.Touching[b]++
}
