package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// place is a machine in the network: the store, an allocator, a host, or a client.
type place int

// theStore is where the store is.
const theStore place = 0

// network carries messages between machines. What is lost is lost without a word, as on a network.
type network struct {
	w      *World
	region map[place]string
	cut    map[[2]place]bool // from, to
	late   map[place]time.Duration
	lossy  int // messages lost, per mille
	jumpy  int // messages that take long, per mille
}

// Times of the network.
const (
	within  = 600 * time.Microsecond // between machines of a region, each way, on average
	between = 20 * time.Millisecond  // between regions
	onHost  = 50 * time.Microsecond  // between processes of one host
	longest = 1500 * time.Millisecond
)

// delay is how long the next message takes.
func (n *network) delay(from, to place) time.Duration {
	if from == to {
		return onHost + n.w.chance.UpTo(onHost)
	}
	d := within
	if n.region[from] != n.region[to] && from != theStore && to != theStore {
		d = between
	}
	d = d/2 + n.w.chance.UpTo(d) + n.late[from] + n.late[to]
	if n.jumpy > 0 && n.w.chance.PerMille(n.jumpy) {
		d += n.w.chance.UpTo(longest)
	}
	return d
}

// blocked reports that nothing goes from one place to another now.
func (n *network) blocked(from, to place) bool { return from != to && n.cut[[2]place{from, to}] }

// carry takes one message over, or loses it.
func (n *network) carry(from, to place, arrive func()) {
	if n.blocked(from, to) || from != to && n.w.chance.PerMille(n.lossy) {
		return
	}
	n.w.queue.After(n.delay(from, to), func() {
		if !n.blocked(from, to) {
			arrive()
		}
	})
}

// call is a request and its answer. Done is called once, in the caller's process: with the answer, or with false once the time is over. serve
// runs at the other end, if the request arrives; it answers at once, later, or never.
type call[T any] struct {
	from, to place
	timeout  time.Duration
	serve    func(answer func(T))
	done     func(answer T, ok bool)
}

func (c call[T]) make(w *World, caller *virtual.Process) {
	over := false
	finish := func(answer T, ok bool) {
		if !over {
			over = true
			c.done(answer, ok)
		}
	}
	caller.After(c.timeout, func() {
		var none T
		finish(none, false)
	})
	w.net.carry(c.from, c.to, func() {
		c.serve(func(answer T) {
			w.net.carry(c.to, c.from, func() { caller.Do(func() { finish(answer, true) }) })
		})
	})
}

// stream is an Attach stream: in order and without loss, until it breaks. While the network is cut, what was said waits.
type stream struct {
	w      *World
	a, b   place
	broken bool
	ab, ba lane
	// ended tells each end that the stream broke; it is told late, or never if nothing gets through.
	endA, endB func(reset bool)
}

// lane is one direction of a stream.
type lane struct {
	waiting []func()
	last    time.Duration // when the last message arrives
	pumping bool
}

// retransmit is how often a message that does not get through is tried again.
const retransmit = 200 * time.Millisecond

func (s *stream) toB(arrive func()) { s.put(&s.ab, s.a, s.b, arrive) }
func (s *stream) toA(arrive func()) { s.put(&s.ba, s.b, s.a, arrive) }

func (s *stream) put(l *lane, from, to place, arrive func()) {
	if s.broken {
		return
	}
	l.waiting = append(l.waiting, arrive)
	if !l.pumping {
		l.pumping = true
		s.pump(l, from, to)
	}
}

// pump delivers what waits, in order.
func (s *stream) pump(l *lane, from, to place) {
	at := max(l.last, s.w.queue.Now()+s.w.net.delay(from, to))
	l.last = at
	s.w.queue.After(at-s.w.queue.Now(), func() {
		switch {
		case s.broken:
			return
		case s.w.net.blocked(from, to):
			s.w.queue.After(retransmit, func() { s.pump(l, from, to) })
			return
		}
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		if l.pumping = len(l.waiting) > 0; l.pumping {
			s.pump(l, from, to)
		}
		next()
	})
}

// close ends the stream: each end that can be reached learns of it. reset: the connection broke, rather than was closed in order.
func (s *stream) close(reset bool) {
	if s.broken {
		return
	}
	s.broken = true
	s.w.net.carry(s.b, s.a, func() { s.endA(reset) })
	s.w.net.carry(s.a, s.b, func() { s.endB(reset) })
}
