// Package memnet is a network in memory for tests: nodes listen and dial by name, and everything that networks do to processes can be done to
// them. It uses channels and timers only, so that in a bubble of testing/synctest time is virtual and passes at once when nobody has work.
//
// An address is node:port. A connection carries bytes in order, both ways, with a limit to what is under way; a link that is cut, or a node that
// stands still, holds them back and loses none, as TCP does. Called by sdk/sdktest/virtual.
package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// dialTimeout is how long a dial waits for a link that is cut.
	dialTimeout = 2 * time.Second
	// maxUnderWay is how many bytes one direction of a connection holds; then writers wait.
	maxUnderWay = 1 << 20
	// maxBacklog is how many connections wait to be accepted; then dials are refused.
	maxBacklog = 128
)

// Network connects nodes. It is safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	delay     time.Duration
	cut       map[link]bool
	still     map[string]bool
	listeners map[string]*listener // by address
	pipes     map[*pipe]bool
	changed   chan struct{} // closed when a link or a node changes
}

// link is between two nodes, in the order of their names.
type link struct{ a, b string }

func linkOf(a, b string) link {
	if a > b {
		a, b = b, a
	}
	return link{a, b}
}

// New makes a network whose every byte takes delay.
func New(delay time.Duration) *Network {
	return &Network{
		delay: delay, cut: map[link]bool{}, still: map[string]bool{}, listeners: map[string]*listener{}, pipes: map[*pipe]bool{},
		changed: make(chan struct{}),
	}
}

// passes reports whether bytes go from one node to another now. The caller holds mu.
func (n *Network) passes(from, to string) bool {
	return !n.still[from] && !n.still[to] && !n.cut[linkOf(from, to)]
}

func (n *Network) change(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
	close(n.changed)
	n.changed = make(chan struct{})
	for p := range n.pipes {
		p.wakeReader()
	}
}

// Cut holds back what two nodes send each other.
func (n *Network) Cut(a, b string) { n.change(func() { n.cut[linkOf(a, b)] = true }) }

// Mend takes Cut back.
func (n *Network) Mend(a, b string) { n.change(func() { delete(n.cut, linkOf(a, b)) }) }

// Stop makes a node stand still: nothing leaves it or arrives.
func (n *Network) Stop(node string) { n.change(func() { n.still[node] = true }) }

// Go takes Stop back.
func (n *Network) Go(node string) { n.change(func() { delete(n.still, node) }) }

// Kill breaks every connection of a node and closes its listeners, as the end of a process does.
func (n *Network) Kill(node string) {
	n.change(func() {
		for p := range n.pipes {
			if p.from == node || p.to == node {
				p.reset()
			}
		}
		for address, l := range n.listeners {
			if nodeOf(address) == node {
				l.shut()
				delete(n.listeners, address)
			}
		}
		delete(n.still, node)
	})
}

func nodeOf(address string) string {
	node, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return node
}

// Listen opens an address, which must be free.
func (n *Network) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: addr(address), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, address: address, waiting: make(chan net.Conn, maxBacklog), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// Dialer dials as a node does. The network's name does not matter.
func (n *Network) Dialer(node string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		conn, err := n.dial(ctx, node, address)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addr(address), Err: err}
		}
		return conn, nil
	}
}

func (n *Network) dial(ctx context.Context, node, address string) (net.Conn, error) {
	timeout := time.NewTimer(dialTimeout)
	defer timeout.Stop()
	for {
		n.mu.Lock()
		passes, changed := n.passes(node, nodeOf(address)), n.changed
		if passes {
			defer n.mu.Unlock()
			return n.connect(node, address)
		}
		n.mu.Unlock()
		select {
		case <-changed:
		case <-timeout.C:
			return nil, fmt.Errorf("no way from %s: %w", node, syscall.ETIMEDOUT)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// connect makes both ends. The caller holds mu.
func (n *Network) connect(node, address string) (net.Conn, error) {
	l := n.listeners[address]
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	there, back := newPipe(n, node, nodeOf(address)), newPipe(n, nodeOf(address), node)
	local := addr(node + ":0")
	select {
	case l.waiting <- &conn{in: there, out: back, local: addr(address), remote: local}:
	default:
		return nil, syscall.ECONNREFUSED
	}
	n.pipes[there], n.pipes[back] = true, true
	return &conn{in: back, out: there, local: local, remote: addr(address)}, nil
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

type listener struct {
	network *Network
	address string
	waiting chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) shut() { l.once.Do(func() { close(l.closed) }) }

func (l *listener) Addr() net.Addr { return addr(l.address) }

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close lets go of the address; connections that nobody has accepted end.
func (l *listener) Close() error {
	l.network.mu.Lock()
	if l.network.listeners[l.address] == l {
		delete(l.network.listeners, l.address)
	}
	l.shut()
	l.network.mu.Unlock()
	for {
		select {
		case c := <-l.waiting:
			_ = c.Close()
		default:
			return nil
		}
	}
}
