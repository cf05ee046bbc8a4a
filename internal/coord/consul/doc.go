// Package consul is the coordination store on HashiCorp Consul, through consul/api: keys and transactions in its KV store, sessions on a
// catalog node of the cluster's own. Allocators and agents see a coord.Store only; their commands make it.
//
// Invariants.
//
//   - Every read is consistent: Consul's leader asks a quorum whether it still leads. An answer that says nothing, because a token may not
//     see it or because whoever answered is no Consul, is an error and never an absence (PROTOCOL R31).
//   - Every write is one transaction, sent once. One that was sent and not answered, or answered with what may hide a commit, is
//     coord.ErrUnknown (PROTOCOL R12); every other error means that nothing happened.
//   - Every written key changes, also if its value does not: an index that is answered is the index of every written key. (Consul leaves
//     an identical entry as it is, so each write has flags of its own.)
//   - Sessions live by their TTL alone, on an external node, with a lock delay of 1 ms (PROTOCOL R1, R13). Renewing one proves nothing.
//   - A destroyed session is gone: it is read back before DestroySession returns.
//   - A watch never reports the same state twice in a row, follows an index that goes backwards, and never spins.
//
// It retries nothing but watches, dials that failed, and locks that meet the lock delay of 1 ms. It never logs: what went wrong is returned,
// with the setting that mends it.
package consul
