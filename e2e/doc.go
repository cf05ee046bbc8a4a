// Package e2e tests the binary as a user runs it: real processes, real sockets, real signals. Each test plays a short scenario of
// `shardmanager dev` and reads the line of JSON that it prints; what the scenarios check is told in internal/dev.
package e2e
