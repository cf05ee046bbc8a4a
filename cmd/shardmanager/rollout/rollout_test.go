package rollout

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/operator"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// leader is one that is away for a while once it was asked. Of its three servers one serves, one is silent, and one is not known any more.
type leader struct {
	shardmanagerv1connect.UnimplementedAdminServiceHandler
	t       *testing.T
	address string
	dir     string // in which the command leaves a file for each server

	mu     sync.Mutex
	server *http.Server // nil: it is away
	missed int          // calls while it was
	asked  bool
}

func (l *leader) serve() {
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		l.t.Error(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAdminServiceHandler(l))
	l.address = listener.Addr().String()
	l.server = &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	l.server.Protocols.SetUnencryptedHTTP2(true)
	go func(s *http.Server) { _ = s.Serve(listener) }(l.server)
}

// client is asked for before every call: after some it is back.
func (l *leader) client() *operator.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		if l.missed++; l.missed == 3 {
			l.serve()
		}
	}
	return &operator.Client{Addresses: []string{l.address}}
}

func (l *leader) ListServers(context.Context, *pb.ListServersRequest) (*pb.ListServersResponse, error) {
	answer := &pb.ListServersResponse{}
	for id, state := range map[string]pb.ServerState{"a.kv": pb.ServerState_SERVER_STATE_ATTACHED, "b.kv": pb.ServerState_SERVER_STATE_SUSPECT} {
		answer.Servers = append(answer.Servers, &pb.ServerStatus{Server: &pb.Server{Id: id, App: "kv", Incarnation: 7}, State: state})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.asked {
		answer.Servers = append(answer.Servers, &pb.ServerStatus{Server: &pb.Server{Id: "c.kv", App: "kv", Incarnation: 7}, State: pb.ServerState_SERVER_STATE_ATTACHED})
	}
	return answer, nil
}

func (l *leader) RequestMaintenance(context.Context, *pb.RequestMaintenanceRequest) (*pb.RequestMaintenanceResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = true
	return &pb.RequestMaintenanceResponse{}, nil
}

// ListMaintenance says that all are ready, and done once their command ran. The first time that it is asked after the request, it goes away instead.
func (l *leader) ListMaintenance(ctx context.Context, _ *pb.ListMaintenanceRequest) (*pb.ListMaintenanceResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.asked {
		return &pb.ListMaintenanceResponse{}, nil
	}
	if l.missed == 0 && l.server != nil {
		go func(s *http.Server) { _ = s.Close() }(l.server)
		l.server = nil
		<-ctx.Done()
		return nil, ctx.Err()
	}
	e := &pb.MaintenanceEvent{Request: &pb.MaintenanceRequest{Id: "v2"}}
	for _, id := range []string{"a.kv", "b.kv", "c.kv"} {
		p := &pb.MaintenancePiece{State: pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_READY, Covers: []*pb.MaintenancePiece_Covered{{Server: id, Incarnation: 7}}}
		if _, err := os.Stat(filepath.Join(l.dir, id)); err == nil {
			p.State = pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_DONE
		}
		e.Pieces = append(e.Pieces, p)
	}
	return &pb.ListMaintenanceResponse{Events: []*pb.MaintenanceEvent{e}}, nil
}

func (l *leader) ListMoves(context.Context, *pb.ListMovesRequest) (*pb.ListMovesResponse, error) {
	return &pb.ListMovesResponse{}, nil
}

// A rollout goes on when the leader was away, and restarts whoever has not come back since it was approved, also if it is down for another reason.
func TestRolloutOutlivesTheLeader(t *testing.T) {
	t.Parallel()
	l := &leader{t: t, address: "127.0.0.1:0", dir: t.TempDir()}
	l.serve()
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.server != nil {
			_ = l.server.Close()
		}
	})
	c := Command(shell.Shell{
		Client: l.client, Flags: func(*cobra.Command, ...string) {}, Refuse: func(err error) error { return err },
		Exactly: func(names ...string) cobra.PositionalArgs { return cobra.ExactArgs(len(names)) },
	})
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs([]string{"v2", "--server", "a.kv,b.kv,c.kv", "--command", "touch " + l.dir + "/{{.Server}}"})
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if l.missed < 3 || !strings.Contains(out.String(), "3 of 3 done") {
		t.Errorf("missed %d times:\n%s", l.missed, &out)
	}
}

// Who comes back before its command could run is told at the end; of what was done before this run looked, an earlier run knows.
func TestBackBeforeTheCommand(t *testing.T) {
	t.Parallel()
	r := &rollout{pieces: map[string]progress{}}
	look := func(id string, state pb.MaintenancePieceState) {
		r.take(t.Context(), &pb.MaintenanceEvent{}, &pb.MaintenancePiece{State: state, Covers: []*pb.MaintenancePiece_Covered{{Server: id, Incarnation: 7}}})
	}
	look("a.kv", pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_DONE)
	look("b.kv", pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_WAITING)
	look("c.kv", pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_APPROVED)
	for range 2 {
		look("b.kv", pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_DONE)
	}
	look("c.kv", pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_EXPIRED)
	if !slices.Equal(r.missed, []string{"b.kv"}) {
		t.Errorf("back before their command: %q", r.missed)
	}
}
