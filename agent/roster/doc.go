// Package roster is the pure core of an agent: one Roster for each server says what that server's incarnation is, how long its lease
// runs, what it holds, and which callbacks of the application are due.
//
// The agent's loop is its only caller: it turns everything that happens into an Event, calls Step (and Tick every 100 ms), and carries
// the Effects out, in order. The roster takes values and returns values; it never reads a clock, does I/O, locks, logs or starts a
// goroutine, and it never speaks protobuf. The same events give the same effects.
//
// Invariants:
//
//   - the lease's end only moves later by an answer to a question whose instant of asking the roster recorded itself (R6), and is zero
//     unless an incarnation lives;
//   - a lease, a command, a result and a report are about one incarnation; one that ended never comes back (the root rule);
//   - nothing at or below the highest order seen of a shard is newly taken (R3), and of one shard one callback runs at a time;
//   - what has ended is marked in the file before anybody is told (R5).
package roster
