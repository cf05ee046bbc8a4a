package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// until is a screen that calls done once it has shown a text so many times.
type until struct {
	mu   sync.Mutex
	seen bytes.Buffer
	text string
	n    int
	done func()
}

func (u *until) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen.Write(p)
	if strings.Count(u.seen.String(), u.text) >= u.n {
		u.done()
	}
	return len(p), nil
}

// A watched command shows what is new, one answer below the other where there is no terminal, until it is told to end; that is no failure.
func TestWatch(t *testing.T) {
	p := &plane{}
	p.left.Store(9)
	ctx, cancel := context.WithCancel(t.Context())
	screen := &until{text: "SERVER", n: 3, done: cancel}
	var errs bytes.Buffer
	if code := run(ctx, []string{"servers", "--watch=100ms", "--admin", serve(t, p)}, screen, &errs); code != exitOK {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	var primaries []string
	for line := range strings.Lines(screen.seen.String()) {
		if cells := strings.Fields(line); len(cells) > 4 && cells[0] == "node-1.kv" {
			primaries = append(primaries, cells[3])
		}
	}
	if got := strings.Join(primaries, " "); got != "8 7 6" {
		t.Errorf("primaries %q, expected 8 7 6:\n%s", got, screen.seen.String())
	}
	if blocks := strings.Split(screen.seen.String(), "\n\n"); len(blocks) != 3 {
		t.Errorf("%d answers, expected 3 with an empty line between them:\n%s", len(blocks), screen.seen.String())
	}
}

// A leader that goes away in between is told in the place of the answer; one that was never there ends the command.
func TestWatchThroughAnElection(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	screen := &until{text: "SERVER", n: 2, done: cancel}
	var errs bytes.Buffer
	if code := run(ctx, []string{"servers", "-w", "--watch=100ms", "--admin", serve(t, &electing{})}, screen, &errs); code != exitOK {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if !strings.Contains(screen.seen.String(), "the disk is full") {
		t.Errorf("the failure between two answers is not shown:\n%s", screen.seen.String())
	}
	if code, _, errs := shell(t, "servers", "--watch", "--admin", "127.0.0.1:1"); code != exitFailure || !strings.Contains(errs, "cannot reach allocator") {
		t.Errorf("nobody there: %d %s", code, errs)
	}
}

// electing fails every second time.
type electing struct {
	plane
	asked int
}

func (e *electing) ListServers(ctx context.Context, r *pb.ListServersRequest) (*pb.ListServersResponse, error) {
	if e.asked++; e.asked%2 == 0 {
		return nil, wire.Error(connect.CodeResourceExhausted, pb.ErrorReason_ERROR_REASON_STORE, "store", "room: the disk is full", "")
	}
	return e.plane.ListServers(ctx, r)
}

func (p *plane) GetStatus(context.Context, *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	if p.leader == "none" {
		return &pb.GetStatusResponse{Allocator: "a2"}, nil
	}
	return &pb.GetStatusResponse{Allocator: "a1", Leader: "a1", LeaderAddress: "10.0.0.1:7440", Leading: true, Epoch: &pb.Epoch{Index: 7}}, nil
}

func TestLeader(t *testing.T) {
	if code, out, errs := shell(t, "leader", "--admin", serve(t, &plane{})); code != exitOK || !strings.Contains(out, "a1      10.0.0.1:7440  0.7") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, out, errs := shell(t, "leader", "-o", "yaml", "--admin", serve(t, &plane{})); code != exitOK || !strings.Contains(out, "leaderAddress: 10.0.0.1:7440\n") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, _, errs := shell(t, "leader", "--admin", serve(t, &plane{leader: "none"})); code != exitFailure || !strings.Contains(errs, "no allocator leads, as far as a2 knows") {
		t.Errorf("%d %s", code, errs)
	}
}
