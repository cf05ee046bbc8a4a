package gossip

import "sync"

const (
	// serfEvents is the channel's capacity; the drain empties it at once.
	serfEvents = 256
	// maxEvents wait for the reader; beyond, the oldest is lost and Missed is delivered in its place.
	maxEvents = 4096
)

// feed takes serf's events at any pace and delivers them at the reader's.
type feed struct {
	deliver func(Event)

	mu     sync.Mutex
	queue  []Event
	missed bool
	wake   chan struct{} // capacity 1
}

func newFeed(deliver func(Event)) *feed { return &feed{deliver: deliver, wake: make(chan struct{}, 1)} }

// put never waits.
func (f *feed) put(events []Event) {
	if f.deliver == nil {
		return
	}
	f.mu.Lock()
	f.queue = append(f.queue, events...)
	if over := len(f.queue) - maxEvents; over > 0 {
		f.queue, f.missed = f.queue[over:], true
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) take() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := f.queue
	f.queue = nil
	if f.missed {
		f.missed = false
		events = append([]Event{{Kind: Missed}}, events...)
	}
	return events
}

// run delivers until it ended; what came before is delivered first.
func (f *feed) run(ended <-chan struct{}) {
	for {
		for _, e := range f.take() {
			f.deliver(e)
		}
		select {
		case <-f.wake:
		case <-ended:
			return
		}
	}
}
