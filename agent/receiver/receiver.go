// Package receiver is what whoever receives a command does with it: the table of docs/architecture.md §5, as a function of values.
//
// Called by agent/roster. It keeps no state.
package receiver

import "github.com/shardmanager/shardmanager/internal/shard"

// Kind of a command; the numbers are those of the wire.
type Kind uint8

// Kinds.
const (
	AddShard Kind = iota + 1
	DropShard
	PrepareAddShard
	PrepareDropShard
	CancelMove
	UpdateMembership
)

// CommandID names a command.
type CommandID struct {
	Epoch       shard.Epoch
	Incarnation shard.Incarnation
	Shard       shard.ID
	Order       shard.Order
	Kind        Kind
}

// Status of a Result; the numbers are those of the wire.
type Status uint8

// Statuses.
const (
	Done Status = iota + 1
	NotBegun
	Begun
	Stale
	Failed
	Busy
)

// Suffix is what a log says of it.
func (s Status) Suffix() string {
	return [...]string{"", " done", ": not begun", ": begun", " refused as stale", " failed", ": busy"}[s]
}

// State is what a receiver knows of one shard.
type State struct {
	Held  shard.Held  // its phase, and the highest order seen
	Under shard.Order // the phase was entered under; zero: taken over from the application
	// The newest command that was taken and what became of it; Kind 0: only the application remembers.
	Last    Kind
	Outcome Status // 0: under way
}

// Verdict is what the table of docs/architecture.md §5 says about a command.
type Verdict uint8

// Verdicts.
const (
	Refuse Verdict = iota + 1
	Take           // ask the application
	AnswerDone
	AnswerNotBegun
	AnswerBegun
)

// Judge is the receiver's table: a function of the command, the highest order seen, the phase, and what became of the newest command.
// Where the order equals the highest and the last try of the same command failed, it is tried again: retries reuse the order.
func (e State) Judge(id CommandID, role shard.Role) Verdict {
	newer := id.Order.Compare(e.Held.Max)
	is := func(p shard.Phase) bool { return e.Held.Phase == p && e.Under == id.Order }
	switch id.Kind {
	case PrepareAddShard:
		return pick(newer, is(shard.Prepared), e.retries(id.Kind))
	case PrepareDropShard:
		if newer > 0 && e.Held.Phase != shard.Serving {
			return Refuse
		}
		return pick(newer, is(shard.Forwarding), e.Held.Phase != shard.None && e.retries(id.Kind))
	case AddShard:
		if role == shard.Secondary {
			return pick(newer, is(shard.Following), e.retries(id.Kind))
		}
		return pick(newer, is(shard.Serving), is(shard.Prepared) || e.retries(id.Kind))
	case DropShard:
		return pick(newer, is(shard.None), true)
	case CancelMove:
		switch {
		case newer > 0:
			return Take
		case newer < 0:
			return AnswerBegun
		case e.Last == CancelMove && e.Outcome == NotBegun:
			return AnswerNotBegun
		case e.Last == 0 || e.Last == CancelMove || (e.Last == PrepareDropShard && e.Outcome != Done):
			return Take // the application is the authority on whether the hand-over began
		}
		return AnswerBegun
	case UpdateMembership: // has its lane
	}
	return Refuse
}

// pick: newer is taken, older refused; at the highest order itself, what was done before is answered, and again allows another try.
func pick(newer int, done, again bool) Verdict {
	switch {
	case newer > 0:
		return Take
	case newer < 0:
		return Refuse
	case done:
		return AnswerDone
	case again:
		return Take
	}
	return Refuse
}

// retries: the newest command was of this kind and is not done; or only the application remembers what it was, and decides.
func (e State) retries(k Kind) bool {
	return e.Last == 0 || e.Last == k && (e.Outcome == Failed || e.Outcome == Busy)
}
