package agent

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Gossip is what an agent uses of the gossip that its process takes part in. Neither method waits.
type Gossip interface {
	// Coordinate is where the host is in the space of round trips; false: nothing was measured.
	Coordinate() (latency.Coordinate, bool)
	// Serve says which apps this agent serves.
	Serve(apps []string)
}

// sayEvery is how often the leader is told where the host is: coordinates move by a few percent in that time.
const sayEvery = 5 * time.Second

// said is when a server last told its leader where the host is.
type said struct {
	stream roster.StreamID
	at     shard.Instant
}

// located adds where the host is to a renewal, if the leader has not been told for a while.
func (l *loop) located(s *server, stream roster.StreamID, m *pb.AttachRequest) *pb.AttachRequest {
	renew := m.GetRenew()
	if renew == nil || l.agent.gossip == nil {
		return m
	}
	now := l.agent.now()
	if s.said.stream == stream && s.said.at.PermissionAge(now) < sayEvery {
		return m
	}
	if c, ok := l.agent.gossip.Coordinate(); ok {
		renew.Coordinate, s.said = wire.CoordinateToProto(c), said{stream: stream, at: now}
	}
	return m
}

// tellServed tells other members which apps this agent serves.
func (l *loop) tellServed() {
	if l.agent.gossip == nil {
		return
	}
	var apps []string
	for _, name := range shard.SortedKeys(l.servers) {
		apps = append(apps, string(name))
	}
	l.agent.gossip.Serve(apps)
}
