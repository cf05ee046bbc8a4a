// Package sdktest tests the callbacks of applications that use sdk.Host, without an agent, an allocator or a store.
//
// Check takes an application's handlers through everything that can happen to a shard (first placement, planned move, aborted move,
// failover, drop, repeated and refused commands; with secondaries also roles and memberships) and reports where they break the contract
// of sdk.Handler. For tests of one's own, a Cluster runs several Hosts on loopback, each with an Agent that speaks the real protocol on a
// real Unix socket, and gives the commands that a leader would give.
//
// Package virtual runs the same App in a whole cluster, in memory and in virtual time, with a leader that decides by itself and every kind of fault;
// package ownership is what watches there.
//
// The Agent grants leases without asking anybody, so nothing here is safe outside tests.
package sdktest
