package observe

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
)

// Load takes the standard output of the load generator apart: one JSON object a line. It keeps the last one.
type Load struct {
	mu      sync.Mutex
	partial []byte
	last    kvload.Line
	count   int
	bad     string // a line that could not be read
}

// maxLoadLine bounds what is kept of a line without an end.
const maxLoadLine = 64 << 10

// Write implements io.Writer. It never fails: a broken line must not break the generator's pipe.
func (l *Load) Write(p []byte) (int, error) {
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

func (l *Load) take(line []byte) {
	var parsed kvload.Line
	if err := json.Unmarshal(line, &parsed); err != nil {
		l.bad = string(line)
		return
	}
	l.last = parsed
	l.count++
}

// Now returns the last line and how many there were.
func (l *Load) Now() (last kvload.Line, count int, bad string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.count, l.bad
}
