// Package allocator is the shell around the ledger: an allocator is one of several processes of which one leads.
//
// It owns what the cores may not have: the clock, the store, sockets, goroutines and the log. The parts, each in a file of its own:
//
//   - election: a session, the lock, and the proof each second that the lock is still held (PROTOCOL R1);
//   - tenure: one leadership from the acquire to the release: it reads everything, runs the loop and gives the lock up;
//   - loop: the one goroutine that owns the ledger; it takes events from a bounded mailbox, steps, and performs the effects in order;
//   - writer: one transaction at a time, and the resolution of unknown outcomes (PROTOCOL R12);
//   - follow: while another leads, its maps are followed and served on.
//
// Invariants: the ledger is only ever touched by the loop's goroutine; an event's instant is read after the event was received (PROTOCOL
// R7); nothing that depends on a write leaves before the write is known to be durable; whoever is not proven to hold the lock decides
// nothing.
//
// It is called by cmd/shardmanager and internal/dev. It never decides where a shard goes or when a lease ends: that is the ledger's.
package allocator
