// Package pairs counts ordered pairs of numbers, of which few of all that there could be are there at once.
package pairs

// Table is open-addressed, with linear probing. Invariant: no slot between that of a pair and the one that its hash names is empty, so a pair whose
// count falls to 0 leaves no trace.
type Table struct {
	slots []slot
	shift uint8
	mask  uint64
}

// slot is empty if its count is 0.
type slot struct {
	a, b, count int32
}

// New makes a table for at most so many pairs at once.
func New(most int) *Table {
	bits := uint8(3)
	for 1<<bits < 2*most {
		bits++
	}
	return &Table{slots: make([]slot, 1<<bits), shift: 64 - bits, mask: 1<<bits - 1}
}

// home is where a pair is if nothing is in its way (Fibonacci hashing).
func (t *Table) home(a, b int32) uint64 {
	return (uint64(uint32(a))<<32 | uint64(uint32(b))) * 0x9e3779b97f4a7c15 >> t.shift
}

// Of is the count of a pair.
func (t *Table) Of(a, b int32) int32 {
	for i := t.home(a, b); ; i = (i + 1) & t.mask {
		if s := &t.slots[i]; s.count == 0 || s.a == a && s.b == b {
			return s.count
		}
	}
}

// Add changes the count of a pair, which never falls below 0, and answers what it was.
func (t *Table) Add(a, b, by int32) int32 {
	for i := t.home(a, b); ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.count == 0 {
			*s = slot{a, b, by}
			return 0
		}
		if s.a == a && s.b == b {
			if s.count += by; s.count == 0 {
				t.close(i)
				return -by
			}
			return s.count - by
		}
	}
}

// close fills an empty slot with a pair after it that would not be found behind it, and so on.
func (t *Table) close(empty uint64) {
	for i := (empty + 1) & t.mask; t.slots[i].count != 0; i = (i + 1) & t.mask {
		s := t.slots[i]
		if (i-t.home(s.a, s.b))&t.mask >= (i-empty)&t.mask {
			t.slots[empty] = s
			t.slots[i].count = 0
			empty = i
		}
	}
}
