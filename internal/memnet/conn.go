package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipe is one direction of a connection: one reader, one writer at a time.
type pipe struct {
	network  *Network
	from, to string
	readable chan struct{} // capacity 1: look again
	writable chan struct{}

	mu            sync.Mutex
	chunks        []chunk
	size          int
	ended         bool  // by the writer: io.EOF after the last chunk
	abandoned     bool  // by the reader: writes fail
	broken        error // both fail at once
	readDeadline  time.Time
	writeDeadline time.Time
}

type chunk struct {
	content []byte
	due     time.Time
}

func newPipe(n *Network, from, to string) *pipe {
	return &pipe{network: n, from: from, to: to, readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will look anyway
	}
}

func (p *pipe) wakeReader() { poke(p.readable) }

// update changes the pipe and wakes both ends.
func (p *pipe) update(change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	poke(p.readable)
	poke(p.writable)
}

func (p *pipe) reset() { p.update(func() { p.broken = syscall.ECONNRESET }) }

func (p *pipe) read(b []byte) (int, error) {
	for {
		n, wait, err := p.tryRead(b)
		if n > 0 || err != nil {
			return n, err
		}
		await(p.readable, wait)
	}
}

// tryRead takes what is due; wait says when to look again, negative: when woken.
func (p *pipe) tryRead(b []byte) (n int, wait time.Duration, err error) {
	p.network.mu.Lock()
	passes := p.network.passes(p.from, p.to)
	p.network.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case p.broken != nil:
		return 0, 0, p.broken
	case p.abandoned:
		return 0, 0, net.ErrClosed
	case expired(p.readDeadline, now):
		return 0, 0, os.ErrDeadlineExceeded
	case passes && len(p.chunks) > 0 && !p.chunks[0].due.After(now):
		return p.take(b), 0, nil
	case passes && len(p.chunks) == 0 && p.ended:
		return 0, 0, io.EOF
	}
	wait = left(p.readDeadline, now)
	if passes && len(p.chunks) > 0 {
		due := p.chunks[0].due.Sub(now)
		if wait < 0 || due < wait {
			wait = due
		}
	}
	return 0, wait, nil
}

// take empties the first chunk into b. The caller holds mu.
func (p *pipe) take(b []byte) int {
	first := &p.chunks[0]
	n := copy(b, first.content)
	first.content = first.content[n:]
	if len(first.content) == 0 {
		p.chunks = p.chunks[1:]
	}
	p.size -= n
	poke(p.writable)
	return n
}

func (p *pipe) write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		n, wait, err := p.tryWrite(b[sent:])
		sent += n
		if err != nil {
			return sent, err
		}
		if n == 0 {
			await(p.writable, wait)
		}
	}
	return sent, nil
}

func (p *pipe) tryWrite(b []byte) (n int, wait time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case p.broken != nil:
		return 0, 0, p.broken
	case p.ended:
		return 0, 0, net.ErrClosed
	case p.abandoned:
		return 0, 0, syscall.EPIPE
	case expired(p.writeDeadline, now):
		return 0, 0, os.ErrDeadlineExceeded
	case p.size >= maxUnderWay:
		return 0, left(p.writeDeadline, now), nil
	}
	n = min(len(b), maxUnderWay-p.size)
	p.chunks = append(p.chunks, chunk{content: append([]byte(nil), b[:n]...), due: now.Add(p.network.delay)})
	p.size += n
	poke(p.readable)
	return n, 0, nil
}

func expired(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

// left is how long a deadline is away; negative: there is none.
func left(deadline, now time.Time) time.Duration {
	if deadline.IsZero() {
		return -1
	}
	return deadline.Sub(now)
}

// await returns when woken, or after wait unless that is negative.
func await(woken <-chan struct{}, wait time.Duration) {
	if wait < 0 {
		<-woken
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	}
}

// conn is one end of a connection.
type conn struct {
	in, out       *pipe
	local, remote addr
}

func (c *conn) Read(b []byte) (int, error)  { return c.wrap("read")(c.in.read(b)) }
func (c *conn) Write(b []byte) (int, error) { return c.wrap("write")(c.out.write(b)) }

// wrap gives errors the form that net's have.
func (c *conn) wrap(op string) func(int, error) (int, error) {
	return func(n int, err error) (int, error) {
		if err != nil && err != io.EOF { //nolint:errorlint // pipes return it bare
			err = &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
		}
		return n, err
	}
}

// Close ends both directions; the other end reads what was written, then io.EOF.
func (c *conn) Close() error {
	c.out.update(func() { c.out.ended = true })
	c.in.update(func() { c.in.abandoned = true })
	c.in.network.forget(c.in)
	c.in.network.forget(c.out)
	return nil
}

// forget lets go of a pipe that both ends have left.
func (n *Network) forget(p *pipe) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended && p.abandoned {
		delete(n.pipes, p)
	}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.update(func() { c.in.readDeadline = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.update(func() { c.out.writeDeadline = t })
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}
