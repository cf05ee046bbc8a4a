// Package row is what is durable about one shard: who may execute it, at which term, and what is under way; and about one server. It is pure: values,
// and what follows from one of them alone.
//
// Called by allocator/ledger, which alone changes them, and by whoever stores them. It decides nothing.
package row

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Owner is a server's incarnation.
type Owner struct {
	Server      shard.ServerID
	Incarnation shard.Incarnation
}

// Row is what is durable about one shard.
type Row struct {
	ID          shard.ID     // of a named key space; empty: no shard has this index now
	Deleting    bool         // of a named key space: nobody serves it any more, and whoever holds it drops it
	Term        shard.Term   // highest ever granted or reserved
	Move        shard.MoveID // highest ever used
	Primary     Owner        // zero: never placed, or its owner acknowledged a stop
	PrimaryTerm shard.Term
	PrimaryMove shard.MoveID // not stored: the Move of the grant, known to this leader; 0 after a load
	Open        *OpenMove
	// Secondaries in the order in which they came; the slice is never changed in place.
	Secondaries []Secondary
	// MembersMove is the Move at which the secondaries that the primary must know changed last: their membership carries it.
	MembersMove shard.MoveID
	MembersTold shard.MoveID // not stored: the MembersMove that the primary acknowledged to this leader
}

// Secondary is one secondary of a shard.
type Secondary struct {
	Owner
	Order    shard.Order // of the decision that made it what it is; its commands carry it
	State    SecondaryState
	Replaces Owner // who goes once this one is in sync; zero: nobody
}

// SecondaryState is the durable part of a secondary's progress; the numbers are those stored.
type SecondaryState uint8

// States of a secondary.
const (
	// Joining: it is to take the shard on.
	Joining SecondaryState = iota + 1
	// Syncing: it took the shard on, and the primary brings it up to date.
	Syncing
	// InSync: the primary acknowledges no write before this one has applied it, so it may become primary. In an app without primaries: it
	// serves.
	InSync
	// Leaving: it is to drop the shard.
	Leaving
)

// OpenMove is a move of a primary in progress.
type OpenMove struct {
	Move   shard.MoveID
	Term   shard.Term // reserved for To
	From   Owner
	To     Owner
	Reason placement.Reason
	Phase  MovePhase
	Stays  bool // From becomes a secondary; only where there are secondaries
}

// MovePhase is the durable part of a move's progress; the numbers are those stored.
type MovePhase uint8

// Phases of a move.
const (
	// Opened: rows 1 to 3. To may be prepared, From may be handing over.
	Opened MovePhase = iota + 1
	// Aborting: decided to abort; no leader moves forward from here (PROTOCOL R10).
	Aborting
	// Moved: rows 4 to 7. To is primary, From forwards until it is dropped.
	Moved
)

// Copies is how many owners have every acknowledged write, of those that count.
func (r *Row) Copies(counts func(Owner) bool) (n int) {
	if r.Primary.Incarnation != 0 && counts(r.Primary) {
		n++
	}
	for i := range r.Secondaries {
		if s := &r.Secondaries[i]; s.State == InSync && counts(s.Owner) {
			n++
		}
	}
	return n
}

// SecondaryOf returns the secondary of an incarnation; nil: none. It must not be changed.
func (r *Row) SecondaryOf(o Owner) *Secondary {
	for i := range r.Secondaries {
		if r.Secondaries[i].Owner == o {
			return &r.Secondaries[i]
		}
	}
	return nil
}

// Kept appends the incarnations that are to keep the shard: without those that leave, and newcomers that come for somebody who is still there.
func (r *Row) Kept(list []Owner) []Owner {
	if r.Primary.Incarnation != 0 {
		list = append(list, r.Primary)
	}
	for i := range r.Secondaries {
		s := &r.Secondaries[i]
		comesFor := s.Replaces.Incarnation != 0 && (s.Replaces == r.Primary || r.SecondaryOf(s.Replaces) != nil)
		if s.State != Leaving && !comesFor {
			list = append(list, s.Owner)
		}
	}
	return list
}

// SameMembers reports whether the primary has to know the same secondaries by both rows. One that came in sync did so because the primary
// acknowledged it: that is no news.
func (r *Row) SameMembers(other *Row) bool {
	members := func(list []Secondary) []Owner {
		var some []Owner
		for _, s := range list {
			if s.State == Syncing || s.State == InSync {
				some = append(some, s.Owner)
			}
		}
		return some
	}
	return slices.Equal(members(r.Secondaries), members(other.Secondaries))
}

// Heir reports whether a secondary that has everything is to take over from the primary.
func (r *Row) Heir(s *Secondary) bool {
	return s.State == InSync && s.Replaces.Incarnation != 0 && s.Replaces == r.Primary
}

// Comings are the changes of secondaries under way: for each the newcomer, and whom it replaces. It counts from the decision until it is in sync
// or gone; one that takes over from the primary until it hands over to it, for that follows whatever the caps say.
func (r *Row) Comings() (list [][2]Owner) {
	for i := range r.Secondaries {
		if s := &r.Secondaries[i]; s.State == Joining || s.State == Syncing || r.Open == nil && r.Heir(s) {
			list = append(list, [2]Owner{s.Owner, s.Replaces})
		}
	}
	return list
}

// Beside is who has a copy of the shard by a move that is past its decision: the source that forwards still, or the target that is given up.
// Zero: nobody.
func (r *Row) Beside() Owner {
	switch {
	case r.Open == nil || r.Open.Phase == Opened:
		return Owner{}
	case r.Open.From == r.Primary:
		return r.Open.To
	}
	return r.Open.From
}

// ForgetGone notes that newcomers which came for somebody who is not in the row any more replace nobody.
func (r *Row) ForgetGone() {
	for i := range r.Secondaries {
		if o := r.Secondaries[i].Replaces; o != (Owner{}) && o != r.Primary && r.SecondaryOf(o) == nil {
			r.Secondaries = slices.Clone(r.Secondaries)
			r.Secondaries[i].Replaces = Owner{}
		}
	}
}

// UnderTarget makes the secondaries those of the target of a move that takes over now: it is none itself any more, and the source is one from the
// activation on, if it is there, since it has everything that was acknowledged. The target was told so when it was prepared, unless something
// changed since.
func (r *Row) UnderTarget(sourceThere bool) {
	m := r.Open
	r.Move++
	o := shard.Order{Term: r.Term, Move: r.Move}
	r.Secondaries = slices.DeleteFunc(slices.Clone(r.Secondaries), func(s Secondary) bool { return s.Owner == m.To })
	for i := range r.Secondaries {
		switch s := &r.Secondaries[i]; s.State {
		case Syncing:
			s.State, s.Order = Joining, o
		case InSync:
			s.Replaces = Owner{} // it was to take over from another primary
		case Joining, Leaving:
		}
	}
	told := r.MembersMove <= m.Move && sourceThere
	if sourceThere {
		r.Secondaries = append(r.Secondaries, Secondary{Owner: m.From, Order: o, State: InSync})
	}
	if r.MembersMove = m.Move; !told {
		r.MembersMove = r.Move
	}
}

// UnderNewPrimary makes the secondaries those of a primary that was just granted: it is none itself. A source that handed over to somebody
// else is told anew what it is; the primary is told its membership with the grant.
func (r *Row) UnderNewPrimary() {
	if len(r.Secondaries) == 0 && r.MembersMove == 0 {
		return
	}
	r.Secondaries = slices.DeleteFunc(slices.Clone(r.Secondaries), func(s Secondary) bool { return s.Owner == r.Primary })
	for i := range r.Secondaries {
		s := &r.Secondaries[i]
		if s.State == Syncing {
			s.State, s.Order = Joining, shard.Order{Term: r.Term, Move: r.Move}
		}
		s.Replaces = Owner{} // decided for another primary
	}
	r.MembersMove = r.Move
}

// Owners lists the incarnations that a row names.
func (r *Row) Owners() []Owner {
	list := make([]Owner, 1, 3+len(r.Secondaries))
	list[0] = r.Primary
	if r.Open != nil {
		list = append(list, r.Open.From, r.Open.To)
	}
	for i := range r.Secondaries {
		list = append(list, r.Secondaries[i].Owner)
	}
	return list
}

// Anew is the row in a new generation of the stored state, for which every incarnation that it names is over: nobody has the shard, and what is decided
// about it comes after all that was (PROTOCOL R14).
func (r *Row) Anew(generation uint64) Row {
	return Row{ID: r.ID, Deleting: r.Deleting, Term: max(r.Term, shard.FirstTerm(generation)), Move: r.Move}
}

// Ends are both servers of it.
func (m *OpenMove) Ends() [2]Owner { return [2]Owner{m.From, m.To} }

// Order is that of its commands.
func (m *OpenMove) Order() shard.Order { return shard.Order{Term: m.Term, Move: m.Move} }
