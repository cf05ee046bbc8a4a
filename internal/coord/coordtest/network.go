package coordtest

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// Network is a TCP relay between a client and a store that can lose the store's answers.
type Network struct {
	listener net.Listener
	running  sync.WaitGroup
	relay    func(client io.Writer, store io.Reader, losing func() bool)

	mu     sync.Mutex
	target string
	losing bool
	conns  map[net.Conn]struct{}
}

// NewNetwork leads to target until the test ends. The protocol says what an answer is: HTTP1 or HTTP2.
func NewNetwork(t *testing.T, target string, protocol func(client io.Writer, store io.Reader, losing func() bool)) *Network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &Network{listener: listener, relay: protocol, target: target, conns: map[net.Conn]struct{}{}}
	n.running.Go(n.accept)
	t.Cleanup(func() {
		n.Cut()
		n.running.Wait()
	})
	return n
}

// Address is where the client connects to.
func (n *Network) Address() string { return n.listener.Addr().String() }

// LoseAnswers begins or ends the loss of answers.
func (n *Network) LoseAnswers(lose bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.losing = lose
}

// Lead sends new connections elsewhere.
func (n *Network) Lead(target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.target = target
}

// Cut ends every connection and takes no new one.
func (n *Network) Cut() {
	_ = n.listener.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for conn := range n.conns {
		_ = conn.Close()
	}
}

func (n *Network) accept() {
	for {
		client, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		target := n.target
		n.mu.Unlock()
		store, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		n.mu.Lock()
		n.conns[client], n.conns[store] = struct{}{}, struct{}{}
		n.mu.Unlock()
		both := func() {
			_ = client.Close()
			_ = store.Close()
		}
		n.running.Go(func() {
			defer both()
			_, _ = io.Copy(store, client)
		})
		n.running.Go(func() {
			defer both()
			n.relay(client, store, n.loses)
		})
	}
}

func (n *Network) loses() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.losing
}

// HTTP1 relays answers of HTTP/1.1 and ends the connection instead of relaying anything while answers are lost.
func HTTP1(client io.Writer, store io.Reader, losing func() bool) {
	buffer := make([]byte, 32<<10)
	for {
		size, err := store.Read(buffer)
		if losing() || err != nil {
			return
		}
		if _, err := client.Write(buffer[:size]); err != nil {
			return
		}
	}
}

// HTTP2 relays frames of HTTP/2 and ends the connection instead of relaying an answer's headers while answers are lost.
func HTTP2(client io.Writer, store io.Reader, losing func() bool) {
	const headerBytes, headersFrame = 9, 1
	for {
		frame := make([]byte, headerBytes)
		if _, err := io.ReadFull(store, frame); err != nil {
			return
		}
		if frame[3] == headersFrame && losing() {
			return
		}
		if _, err := client.Write(frame); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(frame[:4]) >> 8
		if _, err := io.CopyN(client, store, int64(length)); err != nil {
			return
		}
	}
}
