// Package fleet runs a cluster of many small servers on one machine: the embedded store, allocators, the example's store and its load generator, each a
// process of the binary, and servers, each a process of this program, with a real agent and the example's application in it (Serve).
//
// It starts, ends and watches; what happens to servers and what that means is the caller's, bench/rollout.
package fleet
