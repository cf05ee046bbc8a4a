// Package storage is the stored form of the ledger: the keys of a cluster, what each holds, and how a ledger's write becomes transactions.
//
// Invariants.
//
//   - Every key of the group is written at the modify index at which this leader last saw it (Indexes), on top of the check of the lock's
//     session and the compare-and-set of the sequence key that every transaction of a leader begins with (Guard).
//   - A write that fits one transaction is one. One that does not (the chunks of a very large app) is split between keys, in the write's
//     order but with the fences first, so that every prefix is a state that the ledger allows (PROTOCOL R24).
//   - What cannot be read is never taken for absent: Load names the key and fails.
//
// It is called by the allocator's shell, off its loop, and does no I/O itself: it makes operations and reads entries.
package storage
