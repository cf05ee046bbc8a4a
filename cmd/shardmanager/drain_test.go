package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// drainer is an agent that answers drains as it is told, one after the other.
type drainer struct {
	shardmanagerv1connect.UnimplementedAgentServiceHandler
	answers [][]uint32 // shards left, of each drain; one that does not come to 0 ends as an agent does that is replaced
	asked   []*pb.DrainRequest
}

func (d *drainer) Drain(_ context.Context, r *pb.DrainRequest, stream *connect.ServerStream[pb.DrainResponse]) error {
	d.asked = append(d.asked, r)
	answer := d.answers[min(len(d.asked), len(d.answers))-1]
	for _, left := range answer {
		if err := stream.Send(&pb.DrainResponse{Remaining: left}); err != nil {
			return err
		}
	}
	if len(answer) == 0 || answer[len(answer)-1] > 0 {
		return connect.NewError(connect.CodeUnavailable, errors.New("the agent is ending"))
	}
	return nil
}

// An agent that is replaced in the middle of a drain: its successor, which knows nothing of it, is asked again. One that never began is not waited for.
func TestDrainOutlivesTheAgent(t *testing.T) {
	tests := map[string]struct {
		answers [][]uint32
		asked   int
		code    int
		out     string
	}{
		"in one go":              {[][]uint32{{2, 1, 0}}, 1, exitOK, "2 shards left\n1 shard left\n0 shards left\n"},
		"replaced":               {[][]uint32{{3}, {}, {2, 0}}, 3, exitOK, "3 shards left\n2 shards left\n0 shards left\n"},
		"it ends before it does": {[][]uint32{{}}, 1, exitFailure, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := &drainer{answers: test.answers}
			socket := filepath.Join(t.TempDir(), "a.sock")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			_, handler := shardmanagerv1connect.NewAgentServiceHandler(d)
			server := transport.NewServer(t.Context(), handler)
			go func() { _ = server.Serve(l) }()
			t.Cleanup(func() { _ = server.Close() })
			code, out, errs := shell(t, "agent", "drain", "--app", "kv", "--socket", "unix://"+socket)
			if code != test.code || out != test.out || len(d.asked) != test.asked {
				t.Errorf("%d %q, asked %d times; expected %d %q, %d: %s", code, out, len(d.asked), test.code, test.out, test.asked, errs)
			}
			for _, r := range d.asked {
				if r.GetApp() != "kv" || r.GetUndo() {
					t.Errorf("asked for %v", r)
				}
			}
			if told := strings.Contains(errs, "waiting for one that replaces it"); told != (test.asked > 1) {
				t.Errorf("told of a successor: %t: %s", told, errs)
			}
		})
	}
}
