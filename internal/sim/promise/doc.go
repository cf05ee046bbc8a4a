// Package promise checks the ten promises of a cluster (docs/proof.md) against what was observed of it. Each promise has a checker of its
// own, in a file of its own, which knows nothing of how the cluster works: it sees observations, and says which of them breaks its promise.
//
// Called by internal/sim with everything that a simulated cluster does. A checker believes nothing that the cluster says of itself: instants
// are true ones, and who lives or is reached is what the simulation did, not what the leader thinks.
package promise
