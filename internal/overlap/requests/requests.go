// Package requests records what a load generator asked and when it was answered, and summarises windows of time: how many requests
// failed, and percentiles of their latency.
//
// A record is made once its request is over, so a log is in the order of ends. Instants are CLOCK_MONOTONIC_RAW of one host, the same
// clock as that of internal/overlap. Unlike the histories there, a log is buffered: its writer is not killed, but closed.
//
// Written by examples/kv, read by internal/dev and e2e.
package requests

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Kind is what was asked for.
type Kind uint8

// Kinds.
const (
	Read Kind = iota + 1
	Write
)

// Outcome is how it ended.
type Outcome uint8

// Outcomes.
const (
	// OK: answered, and the answer was right.
	OK Outcome = iota + 1
	// Failed: an error after the Router's retries.
	Failed
	// Wrong: answered, and the answer broke a promise: a lost, repeated or stale write.
	Wrong
)

// Request is one request. Its latency counts from Start, the instant at which it was due, not the one at which it was sent.
type Request struct {
	Start, End int64
	Shard      uint32 // index of the key's shard
	Kind       Kind
	Outcome    Outcome
}

// The stored form, little endian: start, end, shard, kind, outcome, 2 zero bytes. The file begins with the magic, one record long.
const (
	recordSize = 24
	magic      = "shardmanager requests 01"
	bufferSize = 64 << 10
	// MaxFileBytes is where a log ends: 44 million requests. Later ones are refused, and so is reading a full log.
	MaxFileBytes = 1 << 30
)

// ErrFull says that a log reached MaxFileBytes.
var ErrFull = errors.New("the log of requests is full: run for a shorter time or at a lower rate")

// Log writes requests to a file. Safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	file   *os.File
	buffer *bufio.Writer
	left   int64
}

// Create makes a new log, in place of what is at path.
func Create(path string) (*Log, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create log of requests: %w", err)
	}
	l := &Log{file: file, buffer: bufio.NewWriterSize(file, bufferSize), left: MaxFileBytes - recordSize}
	if _, err := l.buffer.WriteString(magic); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

// Add appends a request.
func (l *Log) Add(r Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left < recordSize {
		return ErrFull
	}
	l.left -= recordSize
	b := l.buffer.AvailableBuffer()
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Start))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.End))
	b = binary.LittleEndian.AppendUint32(b, r.Shard)
	b = append(b, byte(r.Kind), byte(r.Outcome), 0, 0)
	_, err := l.buffer.Write(b)
	return err
}

// Flush writes out what is buffered, so that a reader sees it.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Flush()
}

// Close flushes and closes the file.
func (l *Log) Close() error { return errors.Join(l.Flush(), l.file.Close()) }

// ReadFile reads a log, in the order of ends as written. A torn last record, of a log still being written, is left out.
func ReadFile(path string) ([]Request, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read log of requests: %w", err)
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil || info.Size() > MaxFileBytes-recordSize {
		return nil, fmt.Errorf("read log of requests: %s: %w", path, cmp.Or(err, ErrFull))
	}
	requests, err := read(bufio.NewReaderSize(file, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read log of requests: %s: %w", path, err)
	}
	return requests, nil
}

func read(r io.Reader) ([]Request, error) {
	var requests []Request
	var b [recordSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil || string(b[:]) != magic {
		return nil, errors.Join(errors.New("not a log of requests of this version"), err)
	}
	for {
		switch _, err := io.ReadFull(r, b[:]); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return requests, nil
		case err != nil:
			return nil, err
		}
		q := Request{
			Start: int64(binary.LittleEndian.Uint64(b[0:])), End: int64(binary.LittleEndian.Uint64(b[8:])),
			Shard: binary.LittleEndian.Uint32(b[16:]), Kind: Kind(b[20]), Outcome: Outcome(b[21]),
		}
		if q.Kind < Read || q.Kind > Write || q.Outcome < OK || q.Outcome > Wrong || q.End < q.Start {
			return nil, fmt.Errorf("request %d: impossible record %+v: the file is damaged", len(requests), q)
		}
		requests = append(requests, q)
	}
}
