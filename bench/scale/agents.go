package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// fleet is the simulated agents.
type fleet struct {
	attached atomic.Int64
	held     atomic.Int64 // replicas that were taken on and not dropped
	failed   chan error
}

// Servers stand in regions of zones; their sessions are renewed as seldom as is safe.
const (
	regions, zones = 5, 10
	sessionTTL     = 60 * time.Second
	renewSession   = 40 * time.Second
)

func freeAddresses(n int) ([]string, error) {
	var list []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		list = append(list, l.Addr().String())
	}
	return list, nil
}

// attachAll registers and attaches all servers, some at a time.
func attachAll(ctx context.Context, store *embedded.Client, allocator string, servers int) (*fleet, error) {
	f := &fleet{failed: make(chan error, servers)}
	var starting sync.WaitGroup
	places := make(chan struct{}, 16)
	for i := range servers {
		places <- struct{}{}
		starting.Go(func() {
			defer func() { <-places }()
			if err := f.begin(ctx, store, allocator, i); err != nil {
				f.failed <- err
			}
		})
	}
	starting.Wait()
	return f, f.wait(ctx, "attached servers", &f.attached, int64(servers))
}

// wait returns once a count is reached.
func (f *fleet) wait(ctx context.Context, what string, count *atomic.Int64, want int64) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for count.Load() < want {
		select {
		case <-tick.C:
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%d of %d %s: %w", count.Load(), want, what, ctx.Err())
		}
	}
	return nil
}

// placed waits until so many replicas are held.
func (f *fleet) placed(ctx context.Context, replicas int) error {
	return f.wait(ctx, "replicas", &f.held, int64(replicas))
}

// begin registers a server and attaches it.
func (f *fleet) begin(ctx context.Context, store *embedded.Client, allocator string, i int) error {
	name := fmt.Sprintf("agent-%04d", i)
	s := shard.Server{
		ID: shard.MakeServerID(name, app), App: app, Agent: name, Incarnation: shard.Incarnation(i + 1), DataAddress: "127.0.0.1:1", AgentAddress: "127.0.0.1:2",
		Locality: shard.Locality{Region: fmt.Sprintf("region-%d", i%regions), Zone: fmt.Sprintf("zone-%d", i%zones), Host: name},
	}
	session, err := store.CreateSession(ctx, coord.SessionSpec{Name: name, TTL: sessionTTL, Behavior: coord.DeleteKeys})
	if err != nil {
		return err
	}
	value, err := wire.Encode(&pb.ServerRecord{Server: wire.ServerToProto(s), Cluster: "scale"})
	if err != nil {
		return err
	}
	key := "shardmanager/scale/servers/" + string(s.ID)
	if _, err := store.Txn(ctx, []coord.Op{
		{Verb: coord.CheckNotExists, Key: key}, {Verb: coord.Lock, Key: key, Value: value, Session: session},
	}); err != nil {
		return err
	}
	go f.keep(ctx, store, session)
	go func() {
		if err := f.attach(ctx, allocator, s); ctx.Err() == nil {
			f.failed <- fmt.Errorf("%s: its stream ended: %w", s.ID, err)
		}
	}()
	return nil
}

func (f *fleet) keep(ctx context.Context, store *embedded.Client, session coord.SessionID) {
	tick := time.NewTicker(renewSession)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if ok, err := store.RenewSession(ctx, session); ctx.Err() == nil && (err != nil || !ok) {
			f.failed <- errors.Join(errors.New("a session is lost"), err)
		}
	}
}

// attach is one server's stream to its end.
func (f *fleet) attach(ctx context.Context, allocator string, s shard.Server) error {
	endpoint, err := transport.Dial(allocator)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	stream, err := shardmanagerv1connect.NewAllocatorServiceClient(endpoint.Client, endpoint.URL).Attach(ctx)
	if err != nil {
		return err
	}
	up := make(chan *pb.AttachRequest, 4096)
	up <- &pb.AttachRequest{Message: &pb.AttachRequest_Hello{Hello: &pb.Hello{
		Cluster: "scale", ProtocolVersion: 1, Server: wire.ServerToProto(s), Capabilities: &pb.HostCapabilities{ChangeRole: true, Membership: true},
	}}}
	go send(ctx, stream, up)
	holds := map[string]bool{}
	for {
		m, err := stream.Receive()
		if err != nil {
			return err
		}
		switch m := m.GetMessage().(type) {
		case *pb.AttachResponse_Welcome:
			f.attached.Add(1)
		case *pb.AttachResponse_Command:
			f.obey(holds, m.Command.GetId())
			up <- &pb.AttachRequest{Message: &pb.AttachRequest_Result{Result: &pb.Result{
				Command: m.Command.GetId(), Status: pb.ResultStatus_RESULT_STATUS_DONE,
			}}}
		}
	}
}

// obey counts what the server holds; a primary is counted once its grant is done, a secondary likewise.
func (f *fleet) obey(holds map[string]bool, c *pb.CommandId) {
	switch c.GetKind() {
	case pb.CommandKind_COMMAND_KIND_ADD_SHARD:
		if !holds[c.GetShard()] {
			holds[c.GetShard()] = true
			f.held.Add(1)
		}
	case pb.CommandKind_COMMAND_KIND_DROP_SHARD:
		if holds[c.GetShard()] {
			delete(holds, c.GetShard())
			f.held.Add(-1)
		}
	default:
	}
}

// send passes messages on and renews once a second.
func send(ctx context.Context, stream *connect.BidiStreamForClientSimple[pb.AttachRequest, pb.AttachResponse], up <-chan *pb.AttachRequest) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for sequence := uint64(1); ; {
		var m *pb.AttachRequest
		select {
		case m = <-up:
		case <-tick.C:
			m = &pb.AttachRequest{Message: &pb.AttachRequest_Renew{Renew: &pb.Renew{Sequence: sequence, AskedNs: time.Now().UnixNano()}}}
			sequence++
		case <-ctx.Done():
			return
		}
		if stream.Send(m) != nil {
			return // Receive says why
		}
	}
}
