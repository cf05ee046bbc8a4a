package events

import (
	"slices"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// KeptMost is how many events are kept; the oldest go first.
const KeptMost = 10_000

// Log is safe for concurrent use. Make it with NewLog.
type Log struct {
	mu     sync.Mutex
	epoch  shard.Epoch
	ring   []Event
	count  uint64        // events of this epoch so far: the newest has this sequence
	change chan struct{} // closed when something is added
}

// NewLog makes an empty log.
func NewLog() *Log { return &Log{change: make(chan struct{})} }

// Begin forgets everything and starts the log of another leadership.
func (l *Log) Begin(epoch shard.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.ring, l.count = epoch, nil, 0
}

// Add writes events.
func (l *Log) Add(at time.Time, bodies ...Body) {
	if len(bodies) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range bodies {
		l.count++
		e := Event{Position: Position{l.epoch, l.count}, At: at, Body: b}
		if len(l.ring) < KeptMost {
			l.ring = append(l.ring, e)
		} else {
			l.ring[(l.count-1)%KeptMost] = e
		}
	}
	close(l.change)
	l.change = make(chan struct{})
}

// Newest is the position of the newest event.
func (l *Log) Newest() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Position{l.epoch, l.count}
}

// Read returns the first events after a position, in order, at most so many, a gap before them if some cannot be had; and a channel that is
// closed once there is more. A reader goes on from the position of the last event.
func (l *Log) Read(after Position, most int) (list []Event, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := l.count - uint64(len(l.ring)) + 1
	next := after.Sequence + 1
	switch {
	case after == (Position{}):
		next = oldest
	case after.Epoch != l.epoch:
		list = append(list, l.gap(oldest, Gap{Why: "they belong to another leadership"}))
		next = oldest
	case after.Sequence > l.count:
		list = append(list, l.gap(oldest, Gap{Why: "there are not so many"}))
		next = oldest
	case next < oldest:
		list = append(list, l.gap(oldest, Gap{Missed: oldest - next, Why: "they are forgotten"}))
		next = oldest
	}
	for ; next <= l.count && len(list) < most; next++ {
		list = append(list, l.ring[(next-1)%KeptMost])
	}
	return list, l.change
}

// gap is what a reader is told before the oldest event; to resume from it is to resume there.
func (l *Log) gap(oldest uint64, g Gap) Event {
	return Event{Position: Position{l.epoch, oldest - 1}, At: time.Now(), Body: g}
}

// Of returns the newest events about one shard, at most so many, oldest first.
func (l *Log) Of(app shard.App, id shard.ID, most int) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Event
	for i := range len(l.ring) {
		e := l.ring[(l.count-1-uint64(i))%KeptMost]
		if d, ok := e.Body.(Decided); ok && d.Decision.App == app && d.Decision.Shard == id {
			if list = append(list, e); len(list) >= most {
				break
			}
		}
	}
	slices.Reverse(list)
	return list
}
