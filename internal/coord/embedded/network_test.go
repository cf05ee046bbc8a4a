package embedded_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// network is a TCP relay between a client and the store that can lose the store's answers.
type network struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	target string
	losing bool
	conns  map[net.Conn]struct{}
}

func newNetwork(t *testing.T, target string) *network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	n.running.Go(n.accept)
	t.Cleanup(func() {
		n.cut()
		n.running.Wait()
	})
	return n
}

func (n *network) address() string { return n.listener.Addr().String() }

func (n *network) loseAnswers(lose bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.losing = lose
}

// lead sends new connections elsewhere.
func (n *network) lead(target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.target = target
}

// cut ends every connection and takes no new one.
func (n *network) cut() {
	_ = n.listener.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for conn := range n.conns {
		_ = conn.Close()
	}
}

func (n *network) accept() {
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
			n.answers(client, store)
		})
	}
}

// answers relays HTTP/2 frames and ends the connection instead of relaying an answer's headers while answers are lost.
func (n *network) answers(client io.Writer, store io.Reader) {
	const headerBytes, headersFrame = 9, 1
	for {
		frame := make([]byte, headerBytes)
		if _, err := io.ReadFull(store, frame); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(frame[:4]) >> 8
		n.mu.Lock()
		lost := n.losing && frame[3] == headersFrame
		n.mu.Unlock()
		if lost {
			return
		}
		if _, err := client.Write(frame); err != nil {
			return
		}
		if _, err := io.CopyN(client, store, int64(length)); err != nil {
			return
		}
	}
}
