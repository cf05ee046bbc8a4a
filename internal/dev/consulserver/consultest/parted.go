package consultest

import (
	"testing"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/relay"
)

// partedHost is an address of the loopback interface beside the one where servers listen: what they tell each other, so that each
// connection between two of them passes a relay.
const partedHost = "127.0.0.2"

// Parted is a cluster whose servers can be cut off from each other while their clients still reach all of them. Serf, whose packets pass
// directly, goes on to believe that all are well: what decides in Consul is Raft.
type Parted struct {
	*consulserver.Cluster
	relays map[string]*relay.Relay // by the server that each leads to
}

// StartParted runs servers that can be parted until the test ends.
func StartParted(t testing.TB, servers int) *Parted {
	t.Helper()
	p := &Parted{Cluster: place(t, consulserver.Config{Servers: servers, Advertise: partedHost}), relays: map[string]*relay.Relay{}}
	for _, s := range p.Servers {
		between := relay.New(relay.Config{Processes: p.processes})
		t.Cleanup(between.Close)
		if err := between.Forward(s.Told(), s.RPC); err != nil {
			t.Fatal(err)
		}
		p.relays[s.Name] = between
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Parted) processes() map[string]int {
	of := make(map[string]int, len(p.Servers))
	for _, s := range p.Servers {
		of[s.Name] = s.PID()
	}
	return of
}

// Cut makes all that passes between a server and the others vanish, in both directions.
func (p *Parted) Cut(s *consulserver.Server) { p.set(s, relay.Silent) }

// Heal makes it pass again; what was held back arrives late.
func (p *Parted) Heal(s *consulserver.Server) { p.set(s, relay.Healthy) }

func (p *Parted) set(s *consulserver.Server, cut relay.Cut) {
	for _, other := range p.Servers {
		if other != s {
			p.relays[s.Name].Set(other.Name, cut)
			p.relays[other.Name].Set(s.Name, cut)
		}
	}
}
