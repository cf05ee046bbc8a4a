// Package leaders knows which allocator leads: from the store, from hints, or by asking. It keeps the connections to allocators, for all servers of
// an agent.
//
// Called by agent, whose attachers ask it whom to try. It decides nothing.
package leaders

import (
	"slices"
	"sync"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// maxAllocators is the most connections to allocators that are kept; beyond it all are let go of and dialled anew.
const maxAllocators = 64

// Leaders remembers which allocator leads, for all servers of the agent, and shares the connections to allocators among them.
type Leaders struct {
	dial       func(address string) (transport.Endpoint, error)
	allocators []string

	mu     sync.Mutex
	known  string // who welcomed, or was named by a hint, last
	newest *Election
	conns  map[string]transport.Endpoint
}

// New knows the allocators that are set, if any.
func New(allocators []string, dial func(string) (transport.Endpoint, error)) *Leaders {
	return &Leaders{dial: dial, allocators: allocators, conns: map[string]transport.Endpoint{}, newest: &Election{Outdated: make(chan struct{})}}
}

// Candidates lists whom to ask: who leads by the store's word, who was believed to lead last, then every other allocator, from a place that turns.
func (l *Leaders) Candidates(turn int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for _, a := range []string{l.newest.Address, l.known} {
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

// Elect notes who leads by the store's word, unless that is old.
func (l *Leaders) Elect(address string, epoch shard.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch.Compare(l.newest.epoch) <= 0 {
		return
	}
	close(l.newest.Outdated)
	l.newest = &Election{Address: address, epoch: epoch, Outdated: make(chan struct{})}
}

// Election is the newest that is known.
func (l *Leaders) Election() *Election {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// Learn remembers a leader; Forget drops it if it is the one known.
func (l *Leaders) Learn(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = address
}

// Forget drops a leader if it is the one known.
func (l *Leaders) Forget(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == address {
		l.known = ""
	}
}

// Service returns a client of an allocator.
func (l *Leaders) Service(address string) (shardmanagerv1connect.AllocatorServiceClient, error) {
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

// Close closes all connections.
func (l *Leaders) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeAll()
}

func (l *Leaders) closeAll() {
	for address, endpoint := range l.conns {
		endpoint.Close()
		delete(l.conns, address)
	}
}
