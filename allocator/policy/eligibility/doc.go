// Package eligibility says which servers satisfy an expression in CEL, the Common Expression Language (https://cel.dev).
//
// An expression sees one server as server.id, server.host, server.rack, server.zone and server.region (strings), server.labels and
// server.metadata (maps from strings to strings) and server.capacity (a map from strings to integers, in each metric's fixed-point unit). Its
// value must be a bool, which is checked when it is compiled, with all names and types in it. A key that a map does not have is an error when
// the expression is evaluated: has(server.labels.tier) asks for it, server.labels[?"tier"].orValue("") has a default.
//
// Invariants. An expression is compiled once per Env. Servers that are alike in all that an expression reads are evaluated once. Evaluation
// ends: each server may cost MaxCost at most, and the context is looked at while a list is gone through. What fails is an error that names the
// subject and the server; no failure makes a server eligible, and nothing panics.
//
// It is called by package policy, and through it by the allocator before a plan is made. It has no clock, I/O or randomness: the same servers
// always give the same set. An Env and its predicates are for one goroutine.
package eligibility
