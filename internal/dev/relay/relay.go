// Package relay forwards TCP connections on the loopback interface and cuts those of chosen processes: a network that can be parted on a
// machine without one, and without privileges.
//
// A Relay stands before the address that programs are told. It finds out which process opened a connection (owner.go), so that one
// process is cut off while others still get through, whatever address they learnt from whom. What is cut either falls silent, like packets
// that are dropped: nothing is forwarded, nothing closed, and what was sent meanwhile arrives once it heals; or is reset and refused; or is slow: whatever
// is sent, either way, arrives late.
//
// Invariants: a connection whose process cannot be found out while something is cut is refused, never let through. Healing affects every
// connection that is still open. Called by internal/dev; it knows nothing of what it forwards.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Cut is how connections of a process are treated.
type Cut uint8

// Cuts.
const (
	// Healthy connections are forwarded.
	Healthy Cut = iota
	// Silent ones stay open and carry nothing.
	Silent
	// Refused ones are reset, and so are new ones.
	Refused
	// Slow ones carry everything late, by Config.Delay, one piece after another.
	Slow
)

func (c Cut) String() string {
	switch c {
	case Healthy:
		return "healthy"
	case Silent:
		return "silent"
	case Refused:
		return "refused"
	case Slow:
		return "slow"
	}
	return "unknown"
}

// Config of a Relay.
type Config struct {
	// Processes says which processes are known, by name. It is asked at every connection.
	Processes func() map[string]int
	// Delay is how late what is sent over slow connections arrives.
	Delay time.Duration
}

// Relay forwards between pairs of addresses. Its methods may be called from several goroutines.
type Relay struct {
	cfg    Config
	owners owners

	mu      sync.Mutex
	cuts    map[string]Cut
	changed chan struct{} // closed at the next change of cuts
	closed  bool

	listeners []net.Listener
	work      sync.WaitGroup
	ctx       context.Context
	cancel    context.CancelFunc
}

// dialTimeout bounds reaching a target on this machine.
const dialTimeout = time.Second

// New makes a relay that forwards nothing yet. It must be closed.
func New(cfg Config) *Relay {
	r := &Relay{cfg: cfg, cuts: map[string]Cut{}, changed: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Forward forwards what connects to one address to another, until the relay is closed.
func (r *Relay) Forward(from, to string) error {
	listener, err := net.Listen("tcp4", from)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.Join(errors.New("relay: it is closed"), listener.Close())
	}
	r.listeners = append(r.listeners, listener)
	r.work.Go(func() { r.accept(listener, to) })
	return nil
}

// Close ends all forwarding.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	for _, l := range r.listeners {
		_ = l.Close() // it only listens: nothing can be lost
	}
	r.mu.Unlock()
	r.cancel()
	r.work.Wait()
}

// Set cuts a process off, or heals it.
func (r *Relay) Set(process string, c Cut) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c == Healthy {
		delete(r.cuts, process)
	} else {
		r.cuts[process] = c
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// now is how a process is treated, until changed is closed.
func (r *Relay) now(process string) (c Cut, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cuts[process], r.changed
}

func (r *Relay) cutting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.cuts) > 0
}

func (r *Relay) accept(listener net.Listener, to string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if r.ctx.Err() != nil {
				return
			}
			continue // out of descriptors, for instance: whoever came tries again
		}
		r.work.Go(func() { r.serve(conn, to) })
	}
}

func (r *Relay) serve(conn net.Conn, to string) {
	p := &pair{relay: r, near: conn, ended: make(chan struct{})}
	defer p.end()
	name, ok := r.owners.of(conn, r.cfg.Processes())
	if !ok && r.cutting() {
		p.reset()
		return
	}
	p.process = name
	if !p.pass() {
		return
	}
	far, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(r.ctx, "tcp4", to)
	if err != nil {
		p.reset()
		return
	}
	p.far = far
	p.forward()
}

// pair is a connection and where it is forwarded to.
type pair struct {
	relay     *Relay
	process   string
	near, far net.Conn
	once      sync.Once
	ended     chan struct{}
}

// end closes both sides.
func (p *pair) end() {
	p.once.Do(func() {
		close(p.ended)
		_ = p.near.Close() // whoever is at the other side sees it closed: there is nothing more to tell
		if p.far != nil {
			_ = p.far.Close()
		}
	})
}

// reset ends the pair as a refusal does.
func (p *pair) reset() {
	for _, c := range []net.Conn{p.near, p.far} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	p.end()
}

// pass waits while the process is silenced, or as long as what is slow takes; false if the pair is over.
func (p *pair) pass() bool {
	late := time.NewTimer(p.relay.cfg.Delay)
	defer late.Stop()
	for {
		c, changed := p.relay.now(p.process)
		arrived := (<-chan time.Time)(nil) // never
		switch c {
		case Healthy:
			return true
		case Refused:
			p.reset()
			return false
		case Silent:
		case Slow:
			arrived = late.C
		}
		select {
		case <-arrived:
			return true
		case <-changed:
		case <-p.ended:
			return false
		case <-p.relay.ctx.Done():
			return false
		}
	}
}

// forward copies both ways until one side ends.
func (p *pair) forward() {
	var both sync.WaitGroup
	both.Go(func() { p.copy(p.far, p.near) })
	both.Go(func() { p.copy(p.near, p.far) })
	both.Go(p.watch)
	both.Wait()
}

// watch ends a pair that waits for data when it is refused or the relay closes.
func (p *pair) watch() {
	for {
		c, changed := p.relay.now(p.process)
		if c == Refused {
			p.reset()
		}
		select {
		case <-changed:
		case <-p.ended:
			return
		case <-p.relay.ctx.Done():
			p.end()
			return
		}
	}
}

// copyBuffer is how much is held of one direction while it is silenced; the kernel's buffers hold more.
const copyBuffer = 32 << 10

// copy forwards one direction. Its end, too, passes only while the process is not silenced: packets that close a connection are dropped
// like others.
func (p *pair) copy(to, from net.Conn) {
	defer p.end()
	buffer := make([]byte, copyBuffer)
	for {
		n, err := from.Read(buffer)
		if !p.pass() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
