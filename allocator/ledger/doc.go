// Package ledger is the pure state machine of the leading allocator: the only writer of assignments. It knows which servers live, grants
// their leases, gathers evidence against the silent, fences them, and carries every shard through placement, failover and moves.
//
// The allocator's loop calls it: Loaded first, then one Step for each event in the order of arrival, and Tick at least every 100 ms. All
// that is to happen in the world is in Effects. It reads no clock, does no I/O, starts nothing, logs nothing and draws no random numbers:
// the same events give the same effects, byte for byte.
//
// Invariants, each with its rule in PROTOCOL.md:
//   - A row changes in one operation, and what follows from it is emitted by the step that learns that it is durable (R24). A shard has
//     at most one change that is not durable yet; nothing is decided about it meanwhile.
//   - A shard is granted only when every other incarnation that a durable row allowed to execute it has stopped, is fenced and waited
//     for, or has ended (R11). All three are facts that never become untrue, so a grant that is durable late is still right.
//   - Terms and moves of a shard only grow, and none is issued before its row is durable (R3, R24).
//   - Once Aborting is durable no leader moves that move forward; row 4 needs the target prepared and the source stopped or over (R10).
//   - A lease is granted only to an incarnation that was read in its key, that is neither fenced nor ended, while the lock was confirmed
//     less than LV ago (R2, R26, DESIGN §5).
//
// The cost of an event does not depend on the number of shards, but for loading, for making a solver's input, and for what the event
// itself names. A Tick costs the number of servers and of shards that are not at rest.
package ledger
