// Package daemon is what the long-running commands of the binary share: settings from flags, environment and file, the log, signals, what systemd is
// told, the client of the coordination store and the membership of gossip.
//
// It is called by cmd/shardmanager only, which adds each daemon's own settings and runs its shell. It decides nothing about shards.
package daemon
