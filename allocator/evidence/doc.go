// Package evidence weighs what a leader has seen and heard of servers: answers to probes, and losses all over the cluster. It is pure: values
// in, a judgement out.
//
// Called by allocator/ledger, which alone decides what follows. It knows no server by name, keeps no time of its own and stores nothing.
package evidence
