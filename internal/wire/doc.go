// Package wire turns the vocabulary of internal/shard into the messages of proto/shardmanager/v1 and back, and defines the form of
// stored values and of typed errors.
//
// Everything read from outside is checked here, once: a FromProto function that returns an error names the field that is wrong, and what
// passes keeps the invariants of the vocabulary. A stored value is one format byte, the zstd frame of the message, and a CRC32C over both;
// Decode never allocates more than MaxDecoded for it, whatever the bytes say.
//
// It is called by the shells, adapters and handlers (L2 and L3), never by the cores, and it knows nothing of connections or of who may
// say what.
package wire
