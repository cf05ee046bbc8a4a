package sdk

import "github.com/shardmanager/shardmanager/internal/shard"

// command is a kind of order from the leader.
type command uint8

const (
	commandPrepareAdd command = iota + 1
	commandPrepareDrop
	commandAdd
	commandActivate
	commandCancel
	commandDrop
	commandTransfer // TransferState, from the source of the move
	commandFollow   // AddShard as a secondary
)

// verdict says what to do with a command.
type verdict uint8

const (
	// refuse: older than what is known, or it does not fit the phase.
	refuse verdict = iota + 1
	// take: do it.
	take
	// done: it was done before; answer the same again.
	done
)

// record is what a server knows about the order of commands for one shard: the receiver's half of docs/architecture.md §5. It is a
// pure value.
//
// Invariants: max never falls; under <= max; term is 0 exactly in phase None; begun implies phase Forwarding.
type record struct {
	phase shard.Phase
	term  shard.Term  // held at; 0 in phase None
	under shard.Order // what the phase was entered under
	max   shard.Order // highest accepted, or refused for ever
	// pending is a command that was accepted and has not been completed yet: its callback failed, or its caller went away. Only the
	// same one is taken again at the same order.
	pending      command
	pendingOrder shard.Order
	cancelled    shard.Order // CancelMove refused this one for ever
	handed       bool        // phase Forwarding: the target has the marker
}

func newRecord() record { return record{phase: shard.None} }

// isPending reports whether one of kinds was accepted at o and waits for its repetition.
func (r *record) isPending(o shard.Order, kinds ...command) bool {
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

// judge says what to do with a command of order o. CancelMove is cancel's.
func (r *record) judge(kind command, o shard.Order) verdict {
	order := o.Compare(r.max)
	switch {
	case order < 0:
		return refuse
	case order > 0:
		if kind == commandPrepareDrop && r.phase != shard.Serving || kind == commandTransfer {
			return refuse
		}
		return take
	}
	held := r.under == o
	switch kind {
	case commandPrepareAdd:
		return pick(r.isPending(o, commandPrepareAdd), held && r.phase == shard.Prepared)
	case commandPrepareDrop:
		forwarding := held && r.phase == shard.Forwarding
		return pick(forwarding && !r.handed || r.phase == shard.Serving && r.isPending(o, commandPrepareDrop), forwarding && r.handed)
	case commandAdd:
		return pick(held && r.phase == shard.Prepared || r.isPending(o, commandAdd, commandActivate), held && r.phase == shard.Serving)
	case commandActivate:
		return pick(held && r.phase == shard.Prepared || r.isPending(o, commandAdd, commandActivate), held && r.phase == shard.Serving)
	case commandTransfer:
		return pick(held && r.phase == shard.Prepared, held && r.phase == shard.Serving)
	case commandFollow:
		return pick(r.isPending(o, commandFollow), held && r.phase == shard.Following)
	case commandDrop:
		return take
	case commandCancel:
	}
	return refuse
}

func pick(takeIt, doneBefore bool) verdict {
	switch {
	case doneBefore:
		return done
	case takeIt:
		return take
	}
	return refuse
}

// accept notes that a command was taken: from here on nothing older is.
func (r *record) accept(kind command, o shard.Order) {
	r.max = o
	r.pending, r.pendingOrder = kind, o
}

// complete notes that the command accepted last is done.
func (r *record) complete() { r.pending, r.pendingOrder = 0, shard.Order{} }

// enter changes the phase.
func (r *record) enter(phase shard.Phase, o shard.Order) {
	r.phase, r.under, r.handed = phase, o, false
	switch phase {
	case shard.None:
		r.term = 0
	case shard.Prepared, shard.Serving, shard.Following:
		r.term = o.Term
	case shard.Forwarding: // keeps the term it served at
	}
}

// cancel answers CancelMove: begun is true if the hand-over of move o began here, or may have; else o is refused for ever. A
// PrepareDropShard that was accepted but ended before the hand-over (busy, or its caller went away) has not begun.
func (r *record) cancel(o shard.Order) (begun bool) {
	order := o.Compare(r.max)
	switch {
	case order > 0 || order == 0 && r.phase == shard.Serving && r.isPending(o, commandPrepareDrop):
		r.max, r.cancelled = o, o
		r.complete()
		return false
	case order == 0 && r.cancelled == o:
		return false
	}
	return true
}
