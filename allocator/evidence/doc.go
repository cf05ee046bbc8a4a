// Package evidence weighs what a leader has seen and heard of servers: answers to probes, losses all over the cluster, servers
// that come and go, deaths that follow a shard. It is pure: values in, a judgement out.
//
// Called by allocator/ledger, which alone decides what follows. It knows no server by name, keeps no time of its own and stores nothing.
package evidence
