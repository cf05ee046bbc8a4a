// Package kvreplica keeps the shards of the example's mode primary-secondary: each replica has its shards' data in memory, and the primary
// replicates every write to the shard's secondaries before it acknowledges it. examples/kv/README.md says why no acknowledged write is
// lost. kvserve calls it from the callbacks of sdk.Host and from the service's handlers; servers call each other by kv.v1.ReplicaService.
//
// Invariants:
//
//   - a shard's promised term only grows; nothing of a lower one is taken, from anybody;
//   - a write is acknowledged, and visible to reads at the primary, once every member that counts has applied it at the primary's term. A
//     member counts from the first membership that calls it in sync, or else from the instant at which it had caught up, until a
//     membership leaves it out: only UpdateMembership shrinks the set;
//   - at one term a secondary has a prefix of the primary's writes, and never goes back in it;
//   - clocks of two servers are never compared: how stale a secondary is counts from an instant of its own clock that the primary echoed.
//
// The cores (table, leader, follower) are values without clock, lock, goroutine or I/O. Node is the shell around them: it locks each shard
// on its own, sends to each server in one loop, and installs in the background.
package kvreplica
