package page

import (
	"errors"
	"time"
)

// Player plays scenarios on the running cluster, one at a time.
type Player interface {
	// Play begins a scenario; ErrBusy while another is played, ErrUnknown if there is none of the name.
	Play(name string) error
	// Now is what is played, and what was.
	Now() Play
}

// Refusals of Player.Play.
var (
	ErrBusy    = errors.New("another scenario is being played")
	ErrUnknown = errors.New("there is no such scenario")
)

// Play is what is played, and what was.
type Play struct {
	Running string        // name; empty: nothing
	For     time.Duration // so far
	Failed  int64         // requests since it began
	Said    string        // its last event
	Closed  string        // why nothing can be played at all; empty: it can
	List    []Scenario    // that can be played, in order
}

// Scenario that can be played.
type Scenario struct {
	Name, What string
	Played     bool
	Failed     int64         // requests that failed while it was played last
	Took       time.Duration // last time
	Err        string        // why it could not be played to its end last time; empty: it was
}
