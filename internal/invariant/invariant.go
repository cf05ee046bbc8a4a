// Package invariant lets code say what must be true at a place, and be held to it: with the build tag `invariants` a broken one panics,
// without it nothing is left of the check in the binary. Tests and the random worlds run with the tag; what is released is built without.
//
// The cores and the shells call it. A check stands behind the constant, so that what it looks at is not even computed in a release:
//
//	if invariant.Enabled {
//		invariant.Check(next.Term >= old.Term, "shard %s: term %d after %d", id, next.Term, old.Term)
//	}
//
// It is for what only a mistake in this program can break, never for what a peer, a file or a person says. It keeps no state.
package invariant

import "fmt"

// Check panics if something that must be true is not.
func Check(ok bool, format string, args ...any) {
	if Enabled && !ok {
		panic("invariant broken: " + fmt.Sprintf(format, args...))
	}
}
