package api

import (
	"sync"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// MaxOutgoing is how many messages may wait to be sent to one agent: a command for every shard of a large server. The stream of an agent
// that lets more pile up is closed; it attaches again and hears everything that still matters.
const MaxOutgoing = 16 << 10

// outbox is what waits to be sent on one stream. The loop puts, the stream's handler takes; neither waits for the other.
type outbox struct {
	mu      sync.Mutex
	waiting []*pb.AttachResponse
	over    bool  // nothing more is taken
	cause   error // the stream's end, once everything waiting was sent; nil: in order
	wake    chan struct{}
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put queues a message. A queue that is full closes the stream.
func (o *outbox) put(m *pb.AttachResponse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	if len(o.waiting) >= MaxOutgoing {
		o.waiting, o.over, o.cause = nil, true, errSlowReader
		o.signal()
		return
	}
	o.waiting = append(o.waiting, m)
	o.signal()
}

// end closes the stream after what waits was sent.
func (o *outbox) end(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.over {
		o.over, o.cause = true, cause
		o.signal()
	}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns all that waits; over says that nothing follows, and cause why.
func (o *outbox) take() (messages []*pb.AttachResponse, over bool, cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	messages, o.waiting = o.waiting, nil
	return messages, o.over, o.cause
}
