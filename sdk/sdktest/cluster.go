package sdktest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk"
)

// callTimeout bounds each command of the kit.
const callTimeout = time.Minute

// Cluster is a set of servers of one app and the kit's place of the leader: it knows who owns which shard at which term.
type Cluster struct {
	t   testing.TB
	app string

	mu   sync.Mutex
	rows map[string]row
}

type row struct {
	order   Order
	owner   *Server
	members []Member
}

// NewCluster makes an empty one; its servers stop when the test ends.
func NewCluster(t testing.TB, app string) *Cluster {
	return &Cluster{t: t, app: app, rows: map[string]row{}}
}

// Server is one Host, registered and with a lease, on a loopback address.
type Server struct {
	Host    *sdk.Host
	Agent   *Agent
	Name    string
	Address string

	app    string
	client shardmanagerv1connect.ShardHostServiceClient
	stop   func() error
}

// Order is the order of a command: the term and the number of the decision behind it.
type Order struct{ Term, Move uint64 }

// Start runs a Host with the handler. mount, if not nil, adds the application's own handlers to the mux of its data address.
func (c *Cluster) Start(name string, handler sdk.Handler, mount func(*sdk.Host, *http.ServeMux), opts ...sdk.HostOption) *Server {
	c.t.Helper()
	return c.start(name, DefaultLease, handler, mount, opts)
}

// StartWithoutLease is Start; the agent answers pulls with no lease until Agent.SetLease says otherwise.
func (c *Cluster) StartWithoutLease(
	name string, handler sdk.Handler, mount func(*sdk.Host, *http.ServeMux), opts ...sdk.HostOption,
) *Server {
	c.t.Helper()
	return c.start(name, 0, handler, mount, opts)
}

func (c *Cluster) start(
	name string, lease time.Duration, handler sdk.Handler, mount func(*sdk.Host, *http.ServeMux), opts []sdk.HostOption,
) *Server {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	s := &Server{Name: name + "." + c.app, Address: listener.Addr().String(), app: c.app}
	s.Agent = NewAgent(c.t, s.Name)
	s.Agent.SetLease(lease)
	opts = append([]sdk.HostOption{sdk.WithAgentAddress(s.Agent.Address()), sdk.WithDataAddress(s.Address)}, opts...)
	if s.Host, err = sdk.NewHost(c.app, handler, opts...); err != nil {
		c.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(s.Host.Handler())
	if mount != nil {
		mount(s.Host, mux)
	}
	server := transport.NewServer(context.Background(), mux)
	go func() { _ = server.Serve(listener) }()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Host.Run(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ran
		return errors.Join(err, server.Close())
	})
	c.t.Cleanup(func() { _ = s.stop() })
	s.client = shardmanagerv1connect.NewShardHostServiceClient(http.DefaultClient, "http://"+s.Address)
	ready, done := context.WithTimeout(context.Background(), callTimeout)
	defer done()
	if err := s.Agent.WaitReady(ready); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// Stop ends the Host's Run and its server, and returns Run's error.
func (s *Server) Stop() error { return s.stop() }

func (s *Server) command(shardID string, o Order) *pb.ShardCommand {
	return &pb.ShardCommand{App: s.app, Shard: shardID, Term: o.Term, Move: o.Move, Incarnation: s.Agent.Incarnation()}
}

func (s *Server) peer() *pb.Peer {
	return &pb.Peer{Server: s.Name, Incarnation: s.Agent.Incarnation(), DataAddress: s.Address}
}

// AddShard gives that command: to be primary, with these secondaries.
func (s *Server) AddShard(ctx context.Context, shardID string, o Order, members ...Member) error {
	_, err := s.client.AddShard(ctx, &pb.AddShardRequest{
		Command: s.command(shardID, o), Role: pb.Role_ROLE_PRIMARY, Members: membersToProto(members),
	})
	return err
}

// DropShard gives that command.
func (s *Server) DropShard(ctx context.Context, shardID string, o Order) error {
	_, err := s.client.DropShard(ctx, &pb.DropShardRequest{Command: s.command(shardID, o)})
	return err
}

// PrepareAddShard gives that command. The members are those that it will have as primary.
func (s *Server) PrepareAddShard(ctx context.Context, shardID string, o Order, from *Server, members ...Member) error {
	_, err := s.client.PrepareAddShard(ctx, &pb.PrepareAddShardRequest{
		Command: s.command(shardID, o), From: from.peer(), Members: membersToProto(members),
	})
	return err
}

// PrepareDropShard gives that command. Busy: operations still ran at the deadline, the shard is served on.
func (s *Server) PrepareDropShard(ctx context.Context, shardID string, o Order, to *Server, deadline time.Duration) (busy bool, err error) {
	answer, err := s.client.PrepareDropShard(ctx, &pb.PrepareDropShardRequest{
		Command: s.command(shardID, o), To: to.peer(), DeadlineMs: deadline.Milliseconds(),
	})
	return answer.GetBusy(), err
}

// CancelMove gives that command. Begun false: the server will never begin the move.
func (s *Server) CancelMove(ctx context.Context, shardID string, o Order) (begun bool, err error) {
	answer, err := s.client.CancelMove(ctx, &pb.CancelMoveRequest{Command: s.command(shardID, o)})
	return answer.GetBegun(), err
}

// Activate gives that command.
func (s *Server) Activate(ctx context.Context, shardID string, o Order, state []byte, members ...Member) error {
	_, err := s.client.Activate(ctx, &pb.ActivateRequest{Command: s.command(shardID, o), State: state, Members: membersToProto(members)})
	return err
}

// EndIncarnation gives that command for the present incarnation.
func (s *Server) EndIncarnation(ctx context.Context) error {
	_, err := s.client.EndIncarnation(ctx, &pb.EndIncarnationRequest{Incarnation: s.Agent.Incarnation(), Reason: "sdktest"})
	return err
}

// CollectLoad asks for the loads of the shards held.
func (s *Server) CollectLoad(ctx context.Context) (map[string]map[string]int64, error) {
	answer, err := s.client.CollectLoad(ctx, &pb.CollectLoadRequest{})
	if err != nil {
		return nil, err
	}
	loads := map[string]map[string]int64{}
	for _, load := range answer.GetLoads() {
		loads[load.GetShard()] = load.GetLoad()
	}
	return loads, nil
}

// Ping asks the ShardHostService at an address (unix:///path or http://host:port) for its server id.
func Ping(ctx context.Context, address string) (server string, err error) {
	endpoint, err := transport.Dial(address)
	if err != nil {
		return "", err
	}
	defer endpoint.Close()
	answer, err := shardmanagerv1connect.NewShardHostServiceClient(endpoint.Client, endpoint.URL).Ping(ctx, &pb.PingRequest{})
	return answer.GetServer(), err
}

// IsStale reports whether a command was refused as older than what the server knows.
func IsStale(err error) bool {
	detail, ok := wire.DetailOf(err)
	return ok && detail.GetReason() == pb.ErrorReason_ERROR_REASON_STALE && connect.IsWireError(err)
}

// next raises term and move of a shard.
func (c *Cluster) next(shardID string) (Order, *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rows[shardID]
	r.order.Term++
	r.order.Move++
	c.rows[shardID] = r
	return r.order, r.owner
}

func (c *Cluster) own(shardID string, owner *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rows[shardID]
	r.owner = owner
	c.rows[shardID] = r
}

func membersToProto(members []Member) []*pb.Member {
	var list []*pb.Member
	for _, m := range members {
		list = append(list, &pb.Member{Peer: m.Server.peer(), InSync: m.InSync})
	}
	return list
}

// Owner is who the shard was granted to last.
func (c *Cluster) Owner(shardID string) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows[shardID].owner
}

// Grant makes s primary at the next term: a first placement, a failover, or the end of an aborted move. Whoever owned the shard before
// must not execute any more.
func (c *Cluster) Grant(ctx context.Context, shardID string, s *Server) error {
	o, _ := c.next(shardID)
	if err := s.Activate(ctx, shardID, o, nil); err != nil {
		return fmt.Errorf("grant %s to %s: Activate: %w", shardID, s.Name, err)
	}
	if err := s.AddShard(ctx, shardID, o); err != nil {
		return fmt.Errorf("grant %s to %s: AddShard: %w", shardID, s.Name, err)
	}
	c.own(shardID, s)
	return nil
}

// Move is a planned move of the shard to another server, every step of it (DESIGN §6).
func (c *Cluster) Move(ctx context.Context, shardID string, to *Server) error {
	o, from := c.next(shardID)
	if from == nil {
		return fmt.Errorf("move %s to %s: nobody owns it", shardID, to.Name)
	}
	if err := to.PrepareAddShard(ctx, shardID, o, from); err != nil {
		return fmt.Errorf("move %s to %s: PrepareAddShard: %w", shardID, to.Name, err)
	}
	busy, err := from.PrepareDropShard(ctx, shardID, o, to, callTimeout)
	if err == nil && busy {
		err = errors.New("busy")
	}
	if err != nil {
		return fmt.Errorf("move %s to %s: PrepareDropShard: %w", shardID, to.Name, err)
	}
	if err := to.AddShard(ctx, shardID, o); err != nil {
		return fmt.Errorf("move %s to %s: AddShard: %w", shardID, to.Name, err)
	}
	c.own(shardID, to)
	if err := from.DropShard(ctx, shardID, o); err != nil {
		return fmt.Errorf("move %s to %s: DropShard: %w", shardID, to.Name, err)
	}
	return nil
}

// Drop takes the shard away from its owner.
func (c *Cluster) Drop(ctx context.Context, shardID string) error {
	o, owner := c.next(shardID)
	if owner == nil {
		return fmt.Errorf("drop %s: nobody owns it", shardID)
	}
	if err := owner.DropShard(ctx, shardID, o); err != nil {
		return fmt.Errorf("drop %s: %w", shardID, err)
	}
	c.own(shardID, nil)
	return nil
}
