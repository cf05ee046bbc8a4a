package kvload

import (
	"sync"
	"time"
)

// counter is what is known of one key. The example's writes add one each, so the possible values are an interval: at least `low`, at most
// `low + pending`.
//
// Invariants: at most one write is under way at a time; request numbers grow, and the application applies no number after a higher one, so
// an acknowledged write settles all writes before it.
type counter struct {
	mu sync.Mutex
	// low is the highest value that was acknowledged or read.
	low int64
	// pending is how many writes beyond low may have been applied, or may yet be: the one under way and those whose outcome is unknown.
	pending int64
	number  uint64 // of the last write
	writing bool
	written bool  // some write was sent
	highest int64 // most that low + pending ever was before the last acknowledgement
	past    past  // of low
}

// writeAttempt is what was known when a write began.
type writeAttempt struct {
	number       uint64
	low, pending int64 // pending counts this write too
}

// violations counts what no correct service answers.
type violations struct {
	Lost     int64 // acknowledged writes that are missing from a later write's or the last answer
	Repeated int64 // values beyond all writes that were sent: something was applied twice, or after it was refused
	Stale    int64 // reads older than what was known when they began
	Nearest  int64 // reads at secondaries older than they say, or of what was never written
}

func (v *violations) add(o violations) {
	v.Lost += o.Lost
	v.Repeated += o.Repeated
	v.Stale += o.Stale
	v.Nearest += o.Nearest
}

func (v violations) any() bool { return v != violations{} }

// beginWrite reserves the key for a write; false if one is under way.
func (c *counter) beginWrite() (writeAttempt, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return writeAttempt{}, false
	}
	c.writing, c.written = true, true
	c.number++
	c.pending++
	return writeAttempt{number: c.number, low: c.low, pending: c.pending}, true
}

// acknowledged ends a write that was answered with the new value.
func (c *counter) acknowledged(w writeAttempt, value int64) (v violations) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case value <= w.low:
		v.Lost = w.low + 1 - value
	case value > w.low+w.pending:
		v.Repeated = value - w.low - w.pending
	case c.low > value:
		v.Repeated = c.low - value // seen by a read, though this was the last write
	}
	c.highest = max(c.highest, c.low+c.pending)
	c.writing, c.pending = false, 0
	c.learn(value)
	return v
}

// learn makes a value known. The caller holds mu.
func (c *counter) learn(value int64) {
	c.low = value
	c.past.learn(time.Now(), value)
}

// unknown ends a write that may have been applied, or may yet be.
func (c *counter) unknown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
}

// refused ends a write that was certainly not executed.
func (c *counter) refused() (v violations) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	if c.pending == 0 {
		v.Repeated = 1 // all writes sent were seen, this one among them
		return v
	}
	c.pending--
	return v
}

// beginRead returns what a read that begins now must not fall behind.
func (c *counter) beginRead() (low int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.low
}

// read ends a read that began when low was known.
func (c *counter) read(low, value int64) (v violations) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case value < low:
		v.Stale = 1
	case value > c.low+c.pending:
		v.Repeated = value - c.low - c.pending
		c.pending = 0
		c.learn(value)
	case value > c.low:
		c.pending -= value - c.low
		c.learn(value)
	}
	return v
}

// last checks the read-back at the end, when nothing is under way.
func (c *counter) last(value int64) (v violations) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value < c.low {
		v.Lost = c.low - value
	} else if value > c.low+c.pending {
		v.Repeated = value - c.low - c.pending
	}
	return v
}
