//go:build invariants

package invariant

// Enabled says whether this binary checks itself.
const Enabled = true
