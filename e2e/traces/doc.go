// Package traces tests that one move is one trace: a cluster of real allocators, agents and applications, on real sockets in one process, sends
// its spans to a receiver of OTLP over HTTP, which the test reads.
package traces
