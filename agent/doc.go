// Package agent is the sidecar's shell: it runs beside one or several applications, keeps each one's server alive in the cluster, and
// carries the leader's commands out.
//
// One loop owns every roster (agent/roster), takes what happens from a bounded mailbox, steps the core, and performs its effects; it is
// the only place that logs. Around it: the Attach stream of each server, its work on the store, calls to the application, the pidfds of
// the applications' processes, and the shard maps for the routers of the host.
//
// cmd/shardmanager and internal/dev call New and Run. The package never decides what a server may serve: that is the roster's.
package agent
