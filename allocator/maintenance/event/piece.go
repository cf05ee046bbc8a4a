package event

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// State of a piece; the numbers are those of the wire.
type State uint8

// States, in the order in which they come.
const (
	Waiting   State = iota + 1 // not approved
	Approved                   // counts as down; its servers are being prepared
	Ready                      // the deployer may go ahead
	Done                       // over in order
	Expired                    // over because its time ran out
	Cancelled                  // taken back
)

var stateNames = [...]string{"unknown", "waiting", "approved", "ready", "done", "expired", "cancelled"}

// String names the state.
func (s State) String() string { return nameOf(stateNames[:], int(s)) }

// Active reports whether the servers of a piece count as down.
func (s State) Active() bool { return s == Approved || s == Ready }

// Over reports whether nothing more becomes of a piece.
func (s State) Over() bool { return s >= Done }

// Covered is one incarnation of a server. The next one has come back from the event.
type Covered struct {
	Server      shard.ServerID
	Incarnation shard.Incarnation // 0: not approved yet
}

// Piece is a part of an event that is approved, and goes down, at once.
type Piece struct {
	Covers []Covered
	State  State
	Left   time.Duration // of Approved, until its preparation is given up; of Ready, until it expires; else 0
	Why    string        // what it waits for, or how it ended; for people
	Never  bool          // it waits for what can never be, as things are
}

// Has reports whether a piece is about a server.
func (p *Piece) Has(id shard.ServerID) bool {
	for i := range p.Covers {
		if p.Covers[i].Server == id {
			return true
		}
	}
	return false
}

// Event is a request with its pieces.
type Event struct {
	Request
	Pieces []Piece
	Turn   uint64 // number of the last approval of a piece of it, over all events; 0: none
	Waived bool   // an operator said that it need wait for no start and no window
}

// Over reports whether all its pieces are.
func (e *Event) Over() bool {
	for i := range e.Pieces {
		if !e.Pieces[i].State.Over() {
			return false
		}
	}
	return true
}

// Active reports whether a piece of it is.
func (e *Event) Active() bool {
	for i := range e.Pieces {
		if e.Pieces[i].State.Active() {
			return true
		}
	}
	return false
}

// Clone is a copy that shares nothing that changes.
func (e *Event) Clone() Event {
	c := *e
	c.Pieces = append([]Piece(nil), e.Pieces...)
	for i := range c.Pieces {
		c.Pieces[i].Covers = append([]Covered(nil), e.Pieces[i].Covers...)
	}
	return c
}
