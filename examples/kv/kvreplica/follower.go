package kvreplica

import "time"

// position is how far a replica is in the writes of one primary.
type position struct{ term, sequence uint64 }

// follower is what a secondary has. Without a snapshot at a term its data is of an earlier life, and its position is zero.
type follower struct {
	data table
	at   position
	// fresh is an instant of the own clock: everything that was acknowledged before it is in data. Zero: nothing is known.
	fresh time.Duration
}

// apply takes consecutive writes of a primary at a term; false if it cannot, and needs a snapshot.
func (f *follower) apply(term uint64, writes []write) bool {
	if f.at.term != term {
		return false
	}
	for _, w := range writes {
		switch {
		case w.sequence <= f.at.sequence: // sent again
		case w.sequence == f.at.sequence+1:
			f.data.apply(w)
			f.at.sequence = w.sequence
		default:
			return false
		}
	}
	return true
}

// install takes a primary's snapshot, which the follower owns from now on. At the same term it never goes back: a snapshot that was sent
// before what was applied meanwhile is the beginning of it.
func (f *follower) install(at position, data table) {
	if at.term == f.at.term && at.sequence <= f.at.sequence {
		return
	}
	f.data, f.at = data, at
}

// confirm takes the word of a primary that what was acknowledged before an instant is in its writes up to a position.
func (f *follower) confirm(upTo position, heard time.Duration) {
	if upTo.term == f.at.term && upTo.sequence <= f.at.sequence {
		f.fresh = max(f.fresh, heard)
	}
}
