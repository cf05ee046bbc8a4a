// Package linear records what clients of counters asked and were answered, and says whether that is linearizable: whether every operation can be
// thought to have happened at one instant between its call and its return, each key being one counter that starts at 0.
//
// Clients is who asks: a few clients that read and increment a few keys, one operation at a time each, while a test does to the service what it likes.
// History is what they noted, and Check judges it, key by key, with porcupine.
//
//   - An increment answers the new value, so that a write also reads: one that is lost, repeated or reordered leaves no order that explains the answers.
//   - What was refused as `not executed` is left out: if it happened all the same, an answer has a value that nothing explains.
//   - What timed out, or ended unknown, stays open until the end of the history if it is an increment: it may happen at any instant after its call, or
//     never. A read that nobody answered says nothing.
//
// Open increments make the search exponential, so a key is left for a new one after a few of them (maxOpen). Every key is read at the end, the ones that
// were left too: an acknowledged write that is missing then is seen.
//
// Invariants: a History without an acknowledged increment and an answered read is no success but ErrNoData; a search that did not end in its time is an
// error, too. Instants are of one process's monotonic clock.
//
// Used by e2e. It knows no service: whoever calls it says how to ask.
package linear
