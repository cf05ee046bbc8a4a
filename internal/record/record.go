// Package record is what a server knows about the order of commands for one shard, and what it says to the next one: the application's half of
// the receiver's table, docs/architecture.md §5. It is pure.
//
// Called by sdk for each replica that it hosts, and by internal/sim for those that it simulates.
package record

import "github.com/shardmanager/shardmanager/internal/shard"

// Command is a kind of order from the leader.
type Command uint8

// Commands.
const (
	PrepareAdd Command = iota + 1
	PrepareDrop
	Add
	Activate
	Cancel
	Drop
	Transfer // TransferState, from the source of the move
	Follow   // AddShard as a secondary
)

// Verdict says what to do with a command.
type Verdict uint8

// Verdicts.
const (
	// Refuse: older than what is known, or it does not fit the phase.
	Refuse Verdict = iota + 1
	// Take: do it.
	Take
	// Done: it was done before; answer the same again.
	Done
)

// Record is what a server knows about the order of commands for one shard: the receiver's half of docs/architecture.md §5. It is a
// pure value.
//
// Invariants: Max never falls; Under <= Max; Term is 0 exactly in phase None; Handed implies phase Forwarding.
type Record struct {
	Phase shard.Phase
	Term  shard.Term  // held at; 0 in phase None
	Under shard.Order // what the phase was entered under
	Max   shard.Order // highest accepted, or refused for ever
	// pending is a command that was accepted and has not been completed yet: its callback failed, or its caller went away. Only the
	// same one is taken again at the same order.
	pending      Command
	pendingOrder shard.Order
	cancelled    shard.Order // CancelMove refused this one for ever
	Handed       bool        // phase Forwarding: the target has the marker
}

// New is that of a shard that was never heard of.
func New() Record { return Record{Phase: shard.None} }

// isPending reports whether one of kinds was accepted at o and waits for its repetition.
func (r *Record) isPending(o shard.Order, kinds ...Command) bool {
	if r.pendingOrder != o {
		return false
	}
	for _, kind := range kinds {
		if r.pending == kind {
			return true
		}
	}
	return false
}

// Judge says what to do with a command of order o. CancelMove is Cancel's.
func (r *Record) Judge(kind Command, o shard.Order) Verdict {
	order := o.Compare(r.Max)
	switch {
	case order < 0:
		return Refuse
	case order > 0:
		if kind == PrepareDrop && r.Phase != shard.Serving || kind == Transfer {
			return Refuse
		}
		return Take
	}
	held := r.Under == o
	switch kind {
	case PrepareAdd:
		return pick(r.isPending(o, PrepareAdd), held && r.Phase == shard.Prepared)
	case PrepareDrop:
		forwarding := held && r.Phase == shard.Forwarding
		return pick(forwarding && !r.Handed || r.Phase == shard.Serving && r.isPending(o, PrepareDrop), forwarding && r.Handed)
	case Add:
		return pick(held && r.Phase == shard.Prepared || r.isPending(o, Add, Activate), held && r.Phase == shard.Serving)
	case Activate:
		return pick(held && r.Phase == shard.Prepared || r.isPending(o, Add, Activate), held && r.Phase == shard.Serving)
	case Transfer:
		return pick(held && r.Phase == shard.Prepared, held && r.Phase == shard.Serving)
	case Follow:
		return pick(r.isPending(o, Follow), held && r.Phase == shard.Following)
	case Drop:
		return Take
	case Cancel:
	}
	return Refuse
}

func pick(takeIt, doneBefore bool) Verdict {
	switch {
	case doneBefore:
		return Done
	case takeIt:
		return Take
	}
	return Refuse
}

// Accept notes that a command was taken: from here on nothing older is. A hand-over that goes on is no new one.
func (r *Record) Accept(kind Command, o shard.Order) {
	if kind == PrepareDrop && r.Phase == shard.Forwarding {
		return
	}
	r.Max = o
	r.pending, r.pendingOrder = kind, o
}

// Complete notes that the command accepted last is done.
func (r *Record) Complete() { r.pending, r.pendingOrder = 0, shard.Order{} }

// Enter changes the phase.
func (r *Record) Enter(phase shard.Phase, o shard.Order) {
	r.Phase, r.Under, r.Handed = phase, o, false
	switch phase {
	case shard.None:
		r.Term = 0
	case shard.Prepared, shard.Serving, shard.Following:
		r.Term = o.Term
	case shard.Forwarding: // keeps the term it served at
	}
}

// Held is what the server says that it holds. Where DropShard was taken and has not come to an end, nothing is served any more: a leader that never
// asked for it is to know.
func (r *Record) Held(id shard.ID) shard.Held {
	if r.Phase == shard.Serving && r.pending == Drop {
		return shard.Held{Shard: id, Phase: shard.None, Max: r.Max}
	}
	return shard.Held{Shard: id, Phase: r.Phase, Term: r.Term, Max: r.Max}
}

// Cancel answers CancelMove: begun is true if the hand-over of move o began here, or may have; else o is refused for ever. A
// PrepareDropShard that was accepted but ended before the hand-over (busy, or its caller went away) has not begun.
func (r *Record) Cancel(o shard.Order) (begun bool) {
	order := o.Compare(r.Max)
	switch {
	case order > 0 || order == 0 && r.Phase == shard.Serving && r.isPending(o, PrepareDrop):
		r.Max, r.cancelled = o, o
		r.Complete()
		return false
	case order == 0 && r.cancelled == o:
		return false
	}
	return true
}

// String names the command as the wire does.
func (c Command) String() string {
	switch c {
	case PrepareAdd:
		return "PrepareAddShard"
	case PrepareDrop:
		return "PrepareDropShard"
	case Add:
		return "AddShard"
	case Activate:
		return "Activate"
	case Cancel:
		return "CancelMove"
	case Drop:
		return "DropShard"
	case Transfer:
		return "TransferState"
	case Follow:
		return "AddShard as a secondary"
	}
	return "no command"
}
