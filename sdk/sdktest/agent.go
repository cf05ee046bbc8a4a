package sdktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Defaults of an Agent.
const (
	// DefaultLease is what it answers to a pull: long, so that a busy machine ends no lease that the test does not end.
	DefaultLease = 30 * time.Second
	// DefaultInterval between two pulls.
	DefaultInterval = 20 * time.Millisecond
)

// Agent is the agent of one server, as far as its Host can tell.
type Agent struct {
	server string
	path   string

	mu          sync.Mutex
	changed     chan struct{} // closed at every change
	stop        func()        // nil while it is down
	incarnation uint64
	used        uint64 // highest incarnation given out
	known       bool   // registered since the last Start
	lease       time.Duration
	refusal     error
	pulls       int
	registered  []*pb.RegisterRequest
	transfers   []*pb.TransferProgress // as of the last pull
	watchers    map[int]chan pb.AgentHint
	nextWatcher int

	shardmanagerv1connect.UnimplementedAgentServiceHandler
}

// NewAgent starts the agent of server on a socket in a temporary directory. It is stopped when the test ends.
func NewAgent(t testing.TB, server string) *Agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "sdk") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &Agent{
		server: server, path: filepath.Join(dir, "agent.sock"), changed: make(chan struct{}), lease: DefaultLease,
		watchers: map[int]chan pb.AgentHint{},
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Stop)
	return a
}

// Address is what WithAgentAddress takes.
func (a *Agent) Address() string { return "unix://" + a.path }

// Start lets a stopped agent come back. Like a real one it remembers the incarnation and has to be told again what the server holds.
func (a *Agent) Start() error {
	listener, err := transport.Listen(a.Address())
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAgentServiceHandler(a))
	server := transport.NewServer(context.Background(), mux)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	a.update(func() {
		a.known = false
		a.stop = func() {
			_ = transport.Shutdown(server, time.Millisecond) // like a crash: nobody is waited for
			<-served
		}
	})
	return nil
}

// Stop takes the agent away, as a crash would.
func (a *Agent) Stop() {
	a.mu.Lock()
	stop := a.stop
	a.stop = nil
	a.mu.Unlock()
	if stop != nil {
		stop()
	}
}

func (a *Agent) update(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.changed)
	a.changed = make(chan struct{})
}

// wait returns once condition, called under the lock, holds.
func (a *Agent) wait(ctx context.Context, what string, condition func() bool) error {
	for {
		a.mu.Lock()
		holds, changed := condition(), a.changed
		a.mu.Unlock()
		if holds {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("agent of %s: waiting for %s: %w", a.server, what, ctx.Err())
		}
	}
}

// WaitReady returns once the Host has registered and has taken in at least one answer about its lease since.
func (a *Agent) WaitReady(ctx context.Context) error {
	a.mu.Lock()
	from := a.pulls
	a.mu.Unlock()
	return a.wait(ctx, "two pulls", func() bool { return a.known && a.pulls >= from+2 })
}

// WaitRegistered returns once the Host has registered n times in all, with the last request.
func (a *Agent) WaitRegistered(ctx context.Context, n int) (*pb.RegisterRequest, error) {
	err := a.wait(ctx, fmt.Sprintf("registration %d", n), func() bool { return len(a.registered) >= n })
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.registered[len(a.registered)-1], nil
}

// WaitTransfer returns once the Host says that it has received at least so many bytes of the shard's state; a negative number: once it
// says that it receives none, and then nil.
func (a *Agent) WaitTransfer(ctx context.Context, shardID string, bytes int64) (progress *pb.TransferProgress, err error) {
	err = a.wait(ctx, "progress of shard "+shardID, func() bool {
		progress = nil
		for _, p := range a.transfers {
			if p.GetShard() == shardID {
				progress = p
			}
		}
		if bytes < 0 {
			return progress == nil
		}
		return progress != nil && progress.GetReceivedBytes() >= bytes
	})
	return progress, err
}

// Registrations is how often the Host has registered.
func (a *Agent) Registrations() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.registered)
}

// Incarnation is the present one of the server, 0 if none.
func (a *Agent) Incarnation() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.incarnation
}

// SetLease changes what pulls are answered: how long the lease still runs; 0: none. What was granted before stays.
func (a *Agent) SetLease(d time.Duration) { a.update(func() { a.lease = d }) }

// EndIncarnation ends the server's incarnation, as a fence would, and tells the Host by a hint.
func (a *Agent) EndIncarnation() {
	a.update(func() { a.incarnation = 0 })
	a.Hint(pb.AgentHint_AGENT_HINT_ENDED)
}

// Forget makes the agent forget the incarnation, as after the loss of its state directory: the next registration begins a new one.
func (a *Agent) Forget() { a.update(func() { a.incarnation = 0 }) }

// Refuse answers registrations with err from now on; nil: no longer.
func (a *Agent) Refuse(err error) { a.update(func() { a.refusal = err }) }

// Hint sends a hint to the Host, if it watches.
func (a *Agent) Hint(hint pb.AgentHint) {
	a.mu.Lock()
	watchers := maps.Clone(a.watchers)
	a.mu.Unlock()
	for _, w := range watchers {
		w <- hint
	}
}

// Register serves AgentService.
func (a *Agent) Register(_ context.Context, req *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	answer := &pb.RegisterResponse{Server: a.server, IntervalMs: DefaultInterval.Milliseconds()}
	var refusal error
	a.update(func() {
		if refusal = a.refusal; refusal != nil {
			return
		}
		a.registered = append(a.registered, req)
		if req.GetIncarnation() == 0 || req.GetIncarnation() != a.incarnation {
			a.used++
			a.incarnation = a.used
		}
		a.known, answer.Incarnation = true, a.incarnation
	})
	if refusal != nil {
		return nil, refusal
	}
	return answer, nil
}

// PullLease serves AgentService.
func (a *Agent) PullLease(_ context.Context, req *pb.PullLeaseRequest) (*pb.PullLeaseResponse, error) {
	answer := &pb.PullLeaseResponse{}
	known := false
	a.update(func() {
		known = a.known
		answer.Ended = req.GetIncarnation() != a.incarnation
		if !answer.Ended {
			answer.RemainingNs = int64(a.lease)
		}
		a.pulls++
		a.transfers = req.GetTransfers()
	})
	if !known {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("pull lease: nobody has registered"))
	}
	return answer, nil
}

// Watch serves AgentService.
func (a *Agent) Watch(ctx context.Context, _ *pb.AgentServiceWatchRequest, out *connect.ServerStream[pb.AgentServiceWatchResponse]) error {
	hints := make(chan pb.AgentHint, 16)
	var id int
	a.update(func() {
		id, a.nextWatcher = a.nextWatcher, a.nextWatcher+1
		a.watchers[id] = hints
	})
	defer a.update(func() { delete(a.watchers, id) })
	for hint := pb.AgentHint_AGENT_HINT_KEEP_ALIVE; ; {
		if err := out.Send(&pb.AgentServiceWatchResponse{Hint: hint}); err != nil {
			return err
		}
		select {
		case hint = <-hints:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
