// Package transfer carries the state of a shard from one application to another as a stream of frames, and keeps it honest.
//
// The receiver pulls: Inbox.Pull asks, Reader takes the frames apart and gives the application the content, in order, to an end that it has
// checked. The source answers through an Outbox, one for each shard, which knows whose snapshot is out, and Send, which cuts the
// application's content into frames at the pace of a Valve that all streams of the process share.
//
// Invariants. Content reaches its end (io.EOF) only if every chunk came in order, and number, size and checksum (XXH64, seed 0) of all of them are
// what the source says it sent; else the stream ends with an error, and everything received has to be discarded. The receiver holds no
// more than a chunk, the source what it sent last (keepSent): when a connection breaks the receiver asks again, and the stream goes on after the last chunk
// that it has. Both sides give up when nothing moves for the time set. Of one target an Outbox knows one snapshot, the one begun
// last, and an attempt that is late never replaces a newer one; each snapshot is ended exactly once.
//
// Package sdk calls it from both ends and decides who may ask for what. Nothing here knows leases, terms or the order of commands beyond
// comparing names for equality, and nothing logs.
package transfer
