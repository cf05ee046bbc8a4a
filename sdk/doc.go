// Package sdk is what applications use of Shard Manager: Host on the side that owns shards, Router on the side that calls it.
//
// # Host
//
// A Host sits in the application's process. It registers at the agent on the same machine, calls the application's Handler when a
// shard comes or goes, and guards every operation: an operation starts only while this process is primary of the shard and its lease
// runs, and its answer leaves only if the lease still ran at the end. During a planned move it holds new requests for the instant of
// the hand-over and then forwards them to the new owner, so that nobody sees an error.
//
// # Secondaries
//
// An application that replicates its shards itself implements RoleChanger and MembershipUpdater. Its secondaries execute reads that are
// marked for any replica (HeaderRead), under the lease of their server and with answers that say so (HeaderRole, SetStaleness).
// What a primary acknowledged survives it as far as the application keeps the contract of UpdateMembership.
//
// # Router
//
// A Router sits in the process of a client. It follows the shard map, finds the server of a key without locks, and retries what was
// certainly not executed, within the caller's deadline.
//
// # What an answer means
//
// A refused request says whether it may have been executed (see Error): `not executed` may be sent again anywhere, `unknown` only if
// the method is idempotent or the application recognises repeated requests by an id. An answer without such an error was given by a
// primary, or by a secondary that says so, whose lease ran from the start of the operation to its end.
//
// # What the application has to do
//
// The guard stops answers, it cannot stop writes: a process that is paused for a minute finishes its write when it wakes. Storage
// that is shared between servers has to refuse writes that carry an older term than the highest it has seen for the shard. The
// term is in Shard, which every callback and ShardFromContext give.
//
// The package runs on Linux. It shows no type of Shard Manager's inner packages, starts no goroutine outside Run, requests and
// callbacks in progress, and never logs except to the logger given.
package sdk
