// Package gossip makes this process a member of the cluster's gossip (serf): who is there, with what tags, who failed, and where this
// host is in the space of round trips.
//
// What it says is a hint and never proof (PROTOCOL R15): serf needs ten seconds to notice a crash, and errs when it is starved. Nothing
// is fenced, granted or placed because of it. Invariants:
//
//   - serf's events are always drained, whatever the reader of ours does; a reader that is too slow loses the oldest and is told so;
//   - names are those of one life of a process, so that a restart never fights its own past for a name;
//   - members of other clusters, and of another encryption key, are never merged with;
//   - coordinates that leave the package are valid (latency.Coordinate.Check).
//
// A Node is opened by the daemons in cmd, which hand the agent and the allocator only what those need of it.
package gossip
