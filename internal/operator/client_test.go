package operator

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// follower names a leader, until it leads itself.
type follower struct {
	shardmanagerv1connect.UnimplementedAdminServiceHandler
	leader string
	asked  atomic.Int64
	leads  int64 // from this question on; 0: never
}

func (f *follower) ListServers(context.Context, *pb.ListServersRequest) (*pb.ListServersResponse, error) {
	if n := f.asked.Add(1); f.leads > 0 && n >= f.leads {
		return &pb.ListServersResponse{}, nil
	}
	return nil, wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, "allocator", "the leader", f.leader)
}

func serving(t *testing.T, f *follower) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAdminServiceHandler(f))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// A leader that was killed is named for a while yet: whoever asks waits until somebody else leads.
func TestLeaderThatWasKilled(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	f := &follower{leader: dead, leads: 3}
	client := &Client{Addresses: []string{dead, serving(t, f)}}
	if _, err := Leader(t.Context(), client, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{}); err != nil {
		t.Errorf("asked %d times: %v", f.asked.Load(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f = &follower{leader: dead}
	client = &Client{Addresses: []string{serving(t, f)}, Failure: func(_ string, err error) error {
		if f.asked.Load() == 2 {
			cancel()
		}
		return err
	}}
	_, err = Leader(ctx, client, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
	if err == nil || !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody leads: %v", err)
	}
}

// Whoever does not know a request is of an older version, or something else at a wrong address: the error says so, in one line.
func TestWhoeverDoesNotKnowTheRequest(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for address, says := range map[string]string{
		serving(t, new(follower)):      " does not know the request: it is of an older version",
		other.Listener.Addr().String(): " is a listener of another program, which does not speak HTTP/2: name it rightly",
	} {
		client := &Client{Addresses: []string{address}}
		_, err := Leader(t.Context(), client, shardmanagerv1connect.AdminServiceClient.ListRegions, &pb.ListRegionsRequest{})
		if text := Explain(err, "allocator "+address, "name it rightly").Error(); !strings.HasPrefix(text, "allocator "+address+says) || strings.Contains(text, "\n") {
			t.Errorf("%s", text)
		}
	}
}
