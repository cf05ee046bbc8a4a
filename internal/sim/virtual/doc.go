// Package virtual is time for a simulation: a queue of what happens when, clocks that err, and processes that stand still or die.
//
// Everything that happens, happens in one goroutine, in the order of instants; what is due at the same instant happens in the order in which
// it was asked for. So a run is a function of what is asked of it. Called by internal/sim; it never reads a real clock.
package virtual
