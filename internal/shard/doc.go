// Package shard is the vocabulary of Shard Manager: ids, terms, epochs, instants, key spaces and shard maps, as values.
//
// Every other package speaks in these types; they are distinct so that a term can never be passed where a move is meant. Nothing here
// reads a clock, does I/O, locks or logs. A Map is immutable once built and may be shared between goroutines.
package shard
