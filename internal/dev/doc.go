// Package dev runs a whole cluster on one machine, as separate processes, and plays scenarios on it: the library behind
// `shardmanager dev` and the end-to-end tests.
//
// A cluster is the embedded store, three allocators, six servers (an agent and the example application each) in three regions with two
// zones each, the example's storage and its load generator. Scenarios stop, kill, pause and restart these processes, as an operator, a
// deployer or a disaster would; what happened is then read from what the processes themselves recorded (internal/overlap), never from what
// this package believes. A scenario that has nothing to judge fails.
//
// Package layout says where everything is, process runs the programs, relay parts them, observe sees what they show, and judge says what
// the records prove; here the cluster is put together and played with.
//
// Invariants: every process started here ends with this one, and writes to no file outside the cluster's directory. Instants are CLOCK_MONOTONIC_RAW, the clock of the records.
//
// Called by cmd/shardmanager and e2e. It knows the processes by their command lines and services only, and never reaches into them.
package dev
