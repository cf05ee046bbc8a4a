package gossip

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// maxPeers is how many members' addresses are kept for the next start.
const maxPeers = 32

// peers is the file of whom this member gossiped with. Serf has a snapshot of its own, but that rejoins by the names of lives, and finds
// a member's own past life at its own address.
type peers struct {
	path    string // empty: nothing is kept
	cluster string

	mu    sync.Mutex
	known []string // never changed in place
}

// openPeers reads the file. It is a hint: a damaged one is moved aside and told of, one of another cluster is not used.
func openPeers(path, cluster string) (*peers, error) {
	p := &peers{path: path, cluster: cluster}
	if path == "" {
		return p, nil
	}
	record := new(pb.GossipPeers)
	_, err := wire.ReadFile(path, record)
	if errors.Is(err, wire.ErrCorrupt) {
		aside, moveErr := wire.MoveAside(path)
		return p, errors.Join(fmt.Errorf("gossip peers: %w: moved to %s", err, aside), moveErr)
	}
	if err != nil {
		return p, fmt.Errorf("gossip peers: %w", err)
	}
	if record.Cluster == cluster {
		p.known = record.Addresses[:min(len(record.Addresses), maxPeers)]
	}
	return p, nil
}

// save keeps the addresses of living members, if they changed. None at all keeps the old ones: whoever is alone wants to know them.
func (p *peers) save(members []Member, own string) error {
	if p.path == "" {
		return nil
	}
	var now []string
	for _, m := range members {
		if m.Status == Alive && m.Address != own {
			now = append(now, m.Address)
		}
	}
	slices.Sort(now)
	now = slices.Compact(now)
	now = spread(now, maxPeers)
	if len(now) == 0 || slices.Equal(now, p.list()) {
		return nil
	}
	if err := wire.WriteFile(p.path, &pb.GossipPeers{Cluster: p.cluster, Addresses: now}); err != nil {
		return fmt.Errorf("gossip peers: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = now
	return nil
}

// spread picks at most n of a list, evenly: neighbours in the order of addresses may fail together.
func spread(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	out := make([]string, n)
	for i := range out {
		out[i] = list[i*len(list)/n]
	}
	return out
}

// list is what was known last.
func (p *peers) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}
