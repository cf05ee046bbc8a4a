// Package hosts tests a fleet on hosts of its own, as far as one machine can: each host is a network namespace with an address on a bridge, and
// hosts lose each other one direction at a time. Three Consul servers, three allocators and nine servers (agent and example application) in
// three regions; one fault follows the other on the same fleet, and after each the promises are checked.
//
// The test binary runs twice. The outer process makes the namespaces, runs itself again on the host named client, and takes them away,
// whatever became of the inner one. The inner process starts the programs, plays and judges; it, and with it every program, dies with the outer
// one. All that is made lies in namespaces named after the run, `sm-<run>-<host>`: the machine's own network is not touched, runs do not meet,
// and what a killed run left is seen by `ip netns list`.
//
// It takes root and the program ip; without them, the tests are skipped.
package hosts
