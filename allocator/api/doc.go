// Package api is what an allocator serves: AllocatorService for agents, AdminService for operators, ShardMapService from the map hub,
// health and reflection.
//
// A handler decodes, checks what can be checked without the ledger, hands an event to the loop of the leader and waits for the answer, or
// carries what the ledger says to a stream. It decides nothing about assignments. Invariants:
//
//   - the cluster's name and the protocol's version are checked before anything else of a stream is looked at;
//   - what waits to be sent to an agent is bounded (MaxOutgoing): the stream of one that does not read is closed;
//   - nothing is answered in the name of a leader that has stepped down: its streams end with NOT_LEADER and where to go.
//
// It is called by package allocator only, and it never logs: what went wrong is the caller's answer.
package api
