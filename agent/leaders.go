package agent

import (
	"slices"
	"sync"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// maxAllocators is the most connections to allocators that are kept; beyond it all are let go of and dialled anew.
const maxAllocators = 64

// leaders remembers which allocator leads, for all servers of the agent, and shares the connections to allocators among them.
type leaders struct {
	dial       func(address string) (transport.Endpoint, error)
	allocators []string

	mu     sync.Mutex
	known  string // who welcomed, or was named by a hint, last
	newest *election
	conns  map[string]transport.Endpoint
}

func newLeaders(allocators []string, dial func(string) (transport.Endpoint, error)) *leaders {
	return &leaders{dial: dial, allocators: allocators, conns: map[string]transport.Endpoint{}, newest: &election{outdated: make(chan struct{})}}
}

// candidates lists whom to ask: who leads by the store's word, who was believed to lead last, then every other allocator, from a place that turns.
func (l *leaders) candidates(turn int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for _, a := range []string{l.newest.address, l.known} {
		if a != "" && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	for i := range l.allocators {
		if a := l.allocators[(turn+i)%len(l.allocators)]; !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// elect notes who leads by the store's word, unless that is old.
func (l *leaders) elect(address string, index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index <= l.newest.index {
		return
	}
	close(l.newest.outdated)
	l.newest = &election{address: address, index: index, outdated: make(chan struct{})}
}

// election is the newest that is known.
func (l *leaders) election() *election {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// learn remembers a leader; forget drops it if it is the one known.
func (l *leaders) learn(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = address
}

func (l *leaders) forget(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == address {
		l.known = ""
	}
}

// service returns a client of an allocator.
func (l *leaders) service(address string) (shardmanagerv1connect.AllocatorServiceClient, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	endpoint, ok := l.conns[address]
	if !ok {
		var err error
		if endpoint, err = l.dial(address); err != nil {
			return nil, err
		}
		if len(l.conns) >= maxAllocators {
			l.closeAll()
		}
		l.conns[address] = endpoint
	}
	return shardmanagerv1connect.NewAllocatorServiceClient(endpoint.Client, endpoint.URL, connect.WithAcceptCompression("gzip", nil, nil)), nil
}

func (l *leaders) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeAll()
}

func (l *leaders) closeAll() {
	for address, endpoint := range l.conns {
		endpoint.Close()
		delete(l.conns, address)
	}
}
