// Package overlap records what the servers of one machine do and finds two servers that own one shard at the same instant (promise 1).
//
// Each application process appends records to a file of its own (Writer, an sdk.Observer): when its shards were activated and released,
// every end of its lease, and every acknowledged operation. Afterwards Read and Analyse turn the files of all processes into claims:
//
//   - an owner's claim starts when Activate returned and ends at the first of: the last guard token returned after the shard stopped, the
//     lease's end as extended by then, the lease's revocation, the end of the process;
//   - an operation's claim reaches from its start to its final lease check, whatever the lease says.
//
// Two claims of different processes on one shard that share an instant are an overlap. Claims are half-open: one may start at the
// instant at which another ends.
//
// All instants are CLOCK_MONOTONIC_RAW of one host, in nanoseconds, so histories of two machines, or of two boots, must not be mixed.
// A record is written by one write(2) before the answer it is about leaves the process: kill -9 loses nothing that was acknowledged.
// The package never decides what is allowed: it is a checker, and an analysis of no data is an error, not a success.
//
// Used by examples/kv (records), internal/dev and e2e (analysis).
package overlap
