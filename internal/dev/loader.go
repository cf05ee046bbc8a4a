package dev

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
)

// loadLines takes the standard output of the load generator apart: one JSON object a line. It keeps the last one.
type loadLines struct {
	mu      sync.Mutex
	partial []byte
	last    kvload.Line
	count   int
	bad     string // a line that could not be read
}

// maxLoadLine bounds what is kept of a line without an end.
const maxLoadLine = 64 << 10

// Write implements io.Writer. It never fails: a broken line must not break the generator's pipe.
func (l *loadLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, ok := bytes.Cut(l.partial, []byte{'\n'})
		if !ok {
			break
		}
		l.take(line)
		l.partial = rest
	}
	if len(l.partial) > maxLoadLine {
		l.bad, l.partial = string(l.partial[:80]), nil
	}
	return len(p), nil
}

func (l *loadLines) take(line []byte) {
	var parsed kvload.Line
	if err := json.Unmarshal(line, &parsed); err != nil {
		l.bad = string(line)
		return
	}
	l.last = parsed
	l.count++
}

// now returns the last line and how many there were.
func (l *loadLines) now() (last kvload.Line, count int, bad string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.count, l.bad
}
