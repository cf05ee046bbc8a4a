// Package engine is the constraint solver of placement: a local search over flat integer arrays that improves an assignment of replicas
// to servers, step by step.
//
// A [Problem] is stated in the engine's own terms, by index: servers with capacities and fault domains, replicas with loads and groups,
// constraints, and goals in tiers. [NewSearch] checks it and starts from the current assignment; [Search.Step] makes n proposals; the best
// assignment so far is [Search.Best].
//
// The search first descends: tier by tier, from the hottest server, by the best of sampled shifts and swaps, until nothing improves. If it
// is told to explore it goes on with simulated annealing (Kirkpatrick, Gelatt, Vecchi, "Optimization by Simulated Annealing", 1983), in rounds
// that start at the best assignment so far, and whose shifts often go home, where a replica started: without that the many places that are not
// home drown the one that is, and whatever moving costs is spent on moves that gain nothing.
//
// Invariants, each with a test:
//   - what Best returns never breaks more than the start did, and no goal of a higher tier is worse for one of a lower tier;
//   - a constraint that holds is not broken on the way either;
//   - the same (problem, options, number of steps) visits the same assignments, however the steps are split into calls;
//   - all sums are what the definitions say;
//   - Step does not allocate once the descent is over, and no inner loop has an interface call or a map.
package engine
