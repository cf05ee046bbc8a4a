// Package probe tries another server for the leader, which suspects it (PROTOCOL R15): one RPC at its agent, one at its application. It judges
// nothing: what was found is the answer. Called by package agent.
package probe

import (
	"context"
	"errors"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// defaultTimeout is for probes that state none.
const defaultTimeout = 500 * time.Millisecond

// Run tries another server's agent and application, each with one RPC on a fresh connection: a stopped process still accepts TCP, and
// an old connection may have died without a word (R15).
func Run(ctx context.Context, p *pb.Probe) *pb.ProbeAnswer {
	timeout := time.Duration(p.GetTimeoutMs()) * time.Millisecond
	if timeout <= 0 || timeout > 5*time.Second {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := &pb.ProbeAnswer{Id: p.GetId(), Server: p.GetServer()}
	var both errgroup.Group
	both.Go(func() error {
		answer.Agent = try(p.GetAgentAddress(), func(e transport.Endpoint) error {
			_, err := shardmanagerv1connect.NewAgentServiceClient(e.Client, e.URL).Ping(ctx, &pb.AgentServicePingRequest{})
			return err
		})
		return nil
	})
	both.Go(func() error {
		answer.Application = try(p.GetDataAddress(), func(e transport.Endpoint) error {
			return pingApplication(ctx, e, shard.ServerID(p.GetServer()), shard.Incarnation(p.GetIncarnation()))
		})
		return nil
	})
	_ = both.Wait() // neither fails: what went wrong is the answer
	return answer
}

func try(address string, ping func(transport.Endpoint) error) pb.ProbeOutcome {
	endpoint, err := transport.Dial(address)
	if err == nil {
		err = ping(endpoint)
		endpoint.Close()
	}
	return outcomeOf(err)
}

// errOther: somebody else answers at that address.
var errOther = errors.New("another server answers there")

// pingApplication counts an answer only from the incarnation asked about: a successor at the same address is no sign of its life.
func pingApplication(ctx context.Context, e transport.Endpoint, server shard.ServerID, incarnation shard.Incarnation) error {
	response, err := shardmanagerv1connect.NewShardHostServiceClient(e.Client, e.URL).Ping(ctx, &pb.PingRequest{})
	if err != nil {
		return err
	}
	if shard.ServerID(response.GetServer()) != server || shard.Incarnation(response.GetIncarnation()) != incarnation {
		return errOther
	}
	return nil
}

// outcomeOf classes what came of a try. Whoever answers an error answers: it is alive.
func outcomeOf(err error) pb.ProbeOutcome {
	switch {
	case err == nil:
		return pb.ProbeOutcome_PROBE_OUTCOME_ANSWERED
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, errOther):
		return pb.ProbeOutcome_PROBE_OUTCOME_REFUSED
	case connect.IsWireError(err):
		return pb.ProbeOutcome_PROBE_OUTCOME_ANSWERED
	}
	return pb.ProbeOutcome_PROBE_OUTCOME_SILENT
}
