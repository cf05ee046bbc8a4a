// Package policy reads policies, checks them, and composes the layers of one into what holds for a shard. docs/policy.md is for those who
// write policies.
//
// A Source is one layer: the cluster's defaults, the policy of an app, or what that says of some of its shards. Parse and New make one and
// refuse whatever is wrong with it by itself, each problem with its place (file, line and field), two places where two statements clash.
// Compose puts layers together, earlier ones first, by these rules:
//
//   - A scalar (a cap on moves, the group, `during` of a metric) of a later layer takes the place of an earlier one.
//   - Constraints add up. One that says the same as an earlier one is left out, a spread that is stricter takes the place of an earlier one.
//     A spread that is looser than an earlier one is a conflict: what must hold cannot be taken back. An exclusion and a dependency on the
//     same other are a conflict if no server can satisfy both.
//   - Goals of which there is one only (region preference, drain, latency, cost, parallel failover, movement) are replaced by a later layer,
//     with their tier. Goals about a subject (a spread over a domain, the utilisation of a metric, the balance of a metric in a scope) stand
//     side by side in different tiers. In one tier, a later one that differs in its weight only takes the place of the earlier; one that
//     differs otherwise is a conflict, unless it says replace.
//   - Within one layer nothing takes the place of anything: statements with the same subject are refused.
//
// A conflict leaves the earlier statement as it is and the later one out, and names both. Whoever applies a policy refuses it while there are
// conflicts.
//
// Invariants. A Source passed every check; it never changes, so that any number of goroutines may read it. What Compose gives has all defaults
// filled in. The same layers always give the same result, in the same order. There is no clock, I/O or randomness.
//
// It is called by whoever takes policies from users and by the allocator, before it plans. It does not know servers: which of them are
// eligible is for package eligibility to say, and whether a plan can satisfy a policy for package placement.
package policy
