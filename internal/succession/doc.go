// Package succession replaces a daemon by the program on disk, in the same process, without betting on that program.
//
// The daemon starts the program as a child on trial. The child comes as far as it can beside the daemon (Prepared), takes the daemon's place when told
// to (Order), says that it does the work (Resumed), and gives the place back (Rests). Only then the daemon executes the program in its own process:
// whoever supervises it sees one process throughout. A child that fails at any point is killed, and the daemon takes its place again.
//
// Invariants: at most one of both does the work, since the daemon steps back before the order and comes back after the child is gone; a child whose
// daemon dies learns of it by the end of Stops.
//
// internal/daemon/lineage calls it. It knows nothing of agents, leases or shards.
package succession
