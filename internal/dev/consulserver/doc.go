// Package consulserver runs real Consul servers on the loopback interface or on hosts of their own, one or a cluster of three, each a child process with its ports, its
// directory and its log. `shardmanager dev --store consul` and the tests (package consultest) use it.
//
// Invariants: every server ends with the process that started it, is signalled by its own handle only, and listens at
// the loopback interface only, or at the address of its host.
// It is set up as production should be where that matters (raft_multiplier 1), and for short tests elsewhere. It knows nothing of what is stored.
package consulserver
