// Package sim runs a whole cluster in virtual time, in one goroutine: the real ledger, roster and placement, and around them a simulated
// store, network, clocks, disks, applications, clients, deployers and operators. Faults come by seed: first it draws which kinds of faults
// exist in a run, then when they happen to whom. The same options give the same run, event by event.
//
// All promises are checked throughout by internal/sim/promise. A run that breaks one can be played again by its seed, and made smaller (Shrink).
//
// What is simulated and not the real thing: the shells of allocator and agent (allocator.go, tenure.go, writer.go; agent.go, attach.go,
// registrar.go), and the SDK's host (application.go and on). They do what the real ones do, by docs/architecture.md §3 to §6, in fewer words.
// Called by `shardmanager sim`, by `make sim`, and by the tests of mutations.
package sim
