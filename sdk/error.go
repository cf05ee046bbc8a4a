package sdk

import (
	"errors"

	"connectrpc.com/connect"
)

// Outcome says what is known about an operation that failed (PROTOCOL R20). The zero value means that nothing is known to have gone
// wrong in the sense of this package: the error is the application's own.
type Outcome uint8

// Outcomes.
const (
	// NotExecuted: refused before it started; it may be sent again, here or elsewhere.
	NotExecuted Outcome = iota + 1
	// Unknown: it started, and then the lease ended or the connection broke. It may be repeated only if that does no harm.
	Unknown
)

// String is the value of HeaderOutcome, empty for the zero value.
func (o Outcome) String() string {
	switch o {
	case NotExecuted:
		return OutcomeNotExecuted
	case Unknown:
		return OutcomeUnknown
	}
	return ""
}

// ParseOutcome reads a value of HeaderOutcome.
func ParseOutcome(s string) (Outcome, bool) {
	switch s {
	case OutcomeNotExecuted:
		return NotExecuted, true
	case OutcomeUnknown:
		return Unknown, true
	}
	return 0, false
}

// Error is a refusal by a Host, or a Router's verdict after its retries.
type Error struct {
	Outcome Outcome
	// Shard that the operation was for; empty if it was not known.
	Shard string
	// Hint is where to go instead (host:port); empty if nobody knows.
	Hint string
	// Reason is one sentence for people.
	Reason string
	// Err is the cause, if there is one.
	Err error
}

// Error writes `shard <id>: <outcome>: <reason>: <cause>`.
func (e *Error) Error() string {
	text := e.Outcome.String() + ": " + e.Reason
	if e.Shard != "" {
		text = "shard " + e.Shard + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// OutcomeOf finds out what an error says about the operation: an *Error says so itself, an error of a Connect call by the header
// that the Host sent with it. False means that the error says nothing about it: it came from the application or from the network.
func OutcomeOf(err error) (Outcome, bool) {
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Outcome, own.Outcome != 0
	}
	if wire, ok := errors.AsType[*connect.Error](err); ok {
		return ParseOutcome(wire.Meta().Get(HeaderOutcome))
	}
	return 0, false
}

// HintOf is the address (host:port) of who serves the shard instead, where the refusal named one.
func HintOf(err error) (string, bool) {
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Hint, own.Hint != ""
	}
	if wire, ok := errors.AsType[*connect.Error](err); ok {
		hint := wire.Meta().Get(HeaderHint)
		return hint, hint != ""
	}
	return "", false
}
