package linear

import (
	"math"
	"sync"
)

// Outcome of an operation, as its client knows it.
type Outcome uint8

// Outcomes.
const (
	// Done: it was executed, and answered.
	Done Outcome = iota + 1
	// Refused: it was not executed, and never will be.
	Refused
	// Open: it may have been executed, or may yet be.
	Open
)

// Kind of an operation.
type Kind uint8

// Kinds.
const (
	Read Kind = iota + 1
	Increment
)

// Operation is what one client asked once, and what came of it.
type Operation struct {
	Client       int
	Key          string
	Kind         Kind
	Outcome      Outcome
	Value        int64 // the answer, if it is Done
	Call, Return int64 // in nanoseconds; an Open one has returned, too, without saying what happened
}

// History is what all clients did. Safe for concurrent use.
type History struct {
	mu         sync.Mutex
	operations []Operation
}

// Add appends an operation that is over.
func (h *History) Add(o Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

// Counts are the operations of a history.
type Counts struct{ Keys, Reads, Increments, Refused, Open int }

// Count counts the operations by what came of them.
func (h *History) Count() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	var c Counts
	keys := map[string]bool{}
	for _, o := range h.operations {
		keys[o.Key] = true
		switch {
		case o.Outcome == Refused:
			c.Refused++
		case o.Outcome == Open:
			c.Open++
		case o.Kind == Read:
			c.Reads++
		default:
			c.Increments++
		}
	}
	c.Keys = len(keys)
	return c
}

// byKey sorts what counts by key: what was refused, and reads that nobody answered, do not. Open increments return at infinity.
func (h *History) byKey() map[string][]Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := map[string][]Operation{}
	for _, o := range h.operations {
		switch {
		case o.Outcome == Refused, o.Outcome == Open && o.Kind == Read:
			continue
		case o.Outcome == Open:
			o.Return = math.MaxInt64
		}
		keys[o.Key] = append(keys[o.Key], o)
	}
	return keys
}
