package allocator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// hang makes a callback of an agent never end.
func (a *testAgent) hang(kind pb.CommandKind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent = kind
}

// call makes a call as curl does: JSON over plain HTTP.
func (n *node) call(t *testing.T, method, body string) (code int, answer map[string]any) {
	t.Helper()
	response, err := http.Post("http://"+n.adminAddress+"/shardmanager.v1.AdminService/"+method, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&answer); err != nil {
		t.Fatalf("%s: %s: %v", method, text, err)
	}
	return response.StatusCode, answer
}

// A move whose target never answers is seen at its step, explained, and aborted, all by plain HTTP; then everybody can read what happened.
func TestOperatorAbortsAMove(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	c.createApp(n, "kv", 1)
	x := c.agent("x", "kv", 1, n)
	eventually(t, "x serves", func() bool { return placed(1, x) })
	y := c.agent("y", "kv", 2, n)
	y.hang(pb.CommandKind_COMMAND_KIND_PREPARE_ADD_SHARD)
	if code, answer := n.call(t, "AbortMove", `{"app":"kv","shard":"0"}`); code != http.StatusConflict {
		t.Errorf("a shard at rest: %d %v", code, answer)
	}
	eventually(t, "y is attached", func() bool { return y.granted() > 0 })
	if _, err := n.admin.DrainServer(t.Context(), &pb.DrainServerRequest{Server: "x.kv"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the move waits for its target", func() bool {
		moves, err := n.admin.ListMoves(t.Context(), new(pb.ListMovesRequest))
		if err != nil || len(moves.Open) == 0 {
			return false
		}
		m := moves.Open[0]
		return m.Step == pb.MoveStep_MOVE_STEP_PREPARE_ADD && m.StepAgeMs > 0 && m.DeadlineMs > 0 && m.Detail == "PrepareAddShard at y.kv"
	})
	if code, answer := n.call(t, "SkipStep", `{"app":"kv","shard":"0","force":true}`); code != http.StatusConflict {
		t.Errorf("a target that has not loaded: %d %v", code, answer)
	}
	code, answer := n.call(t, "Explain", `{"app":"kv","shard":"0"}`)
	open, _ := answer["open"].(map[string]any)
	if candidates, _ := answer["candidates"].([]any); code != http.StatusOK || answer["waitsFor"] != "PrepareAddShard at y.kv" || open["step"] != "MOVE_STEP_PREPARE_ADD" ||
		len(candidates) != 2 {
		t.Errorf("explain: %d %v", code, answer)
	}
	if _, err := n.admin.DrainServer(t.Context(), &pb.DrainServerRequest{Server: "x.kv", Undo: true}); err != nil {
		t.Fatal(err)
	}
	code, answer = n.call(t, "AbortMove", `{"app":"kv","shard":"0","reason":"a test"}`)
	if outcome, _ := answer["outcome"].(string); code != http.StatusOK || !strings.Contains(outcome, "y.kv is to stop") {
		t.Errorf("abort: %d %v", code, answer)
	}
	y.hang(0)
	eventually(t, "the move is aborted", func() bool {
		moves, err := n.admin.ListMoves(t.Context(), new(pb.ListMovesRequest))
		return err == nil && len(moves.Open) == 0 && moves.Finished[0].Step == pb.MoveStep_MOVE_STEP_ABORTED
	})
	e, err := n.admin.Explain(t.Context(), &pb.ExplainRequest{App: "kv", Shard: "0"})
	if err != nil || !slices.ContainsFunc(e.Decisions, func(e *pb.Event) bool {
		return e.GetDecision().GetWhat() == "move aborted" && strings.Contains(e.GetDecision().GetWhy(), "a test")
	}) || e.GetPrimary() != "x.kv" || !e.GetServing() || e.GetFinished()[0].GetStep() != pb.MoveStep_MOVE_STEP_ABORTED {
		t.Errorf("explain: %v, %v", e, err)
	}
}

// Events are followed over a change of leaders: in order, with the end of the one, a gap, and the begin of the other.
func TestEventsOverAChangeOfLeaders(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2")}
	old := c.leader(nodes...)
	next := nodes[0]
	if next == old {
		next = nodes[1]
	}
	eventually(t, "the follower knows the leader", func() bool { return next.Status().Leader != "" })
	if _, _, err := readEvents(t.Context(), next, nil, nil); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a follower: %v", err)
	}
	c.createApp(old, "kv", 4)
	x := c.agent("x", "kv", 1, nodes...)
	seen := map[string]bool{}
	note := func(e *pb.Event) {
		switch b := e.GetBody().(type) {
		case *pb.Event_Decision:
			seen[b.Decision.GetWhat()] = true
		case *pb.Event_Server:
			seen[b.Server.GetServer()+" "+b.Server.GetState().String()] = true
		case *pb.Event_Leader:
			seen[map[bool]string{true: "begins ", false: "ends "}[b.Leader.GetLeads()]+b.Leader.GetAllocator()] = true
		case *pb.Event_Gap:
			seen["gap"] = true
		}
	}
	var at *pb.EventPosition
	ended := make(chan error, 1)
	go func() {
		var err error
		at, _, err = readEvents(t.Context(), old, nil, note)
		ended <- err
	}()
	eventually(t, "x serves", func() bool { return placed(4, x) })
	old.halt(t)
	if err := <-ended; err == nil {
		t.Error("the stream of a leader that stopped ended in order")
	}
	for _, want := range []string{"begins " + old.cfg.Name, "app created", "server attached", "x.kv SERVER_STATE_ATTACHED", "granted", "ends " + old.cfg.Name} {
		if !seen[want] {
			t.Errorf("%q was not told of: %v", want, seen)
		}
	}
	if seen["gap"] {
		t.Error("a reader that was there missed something")
	}
	c.leader(next)
	clear(seen)
	_, first, err := readEvents(t.Context(), next, at, nil)
	if err != nil || len(first) < 2 || first[0].GetGap() == nil || !first[1].GetLeader().GetLeads() || first[1].GetLeader().GetAllocator() != next.cfg.Name {
		t.Errorf("resumed at the next leader: %v, %v", first, err)
	}
}

// readEvents reads what there is, and checks that it is in order; with note, it follows to the end of the stream.
func readEvents(ctx context.Context, n *node, after *pb.EventPosition, note func(*pb.Event)) (at *pb.EventPosition, list []*pb.Event, err error) {
	stream, err := n.admin.WatchEvents(ctx, &pb.WatchEventsRequest{After: after, Follow: note != nil})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	for stream.Receive() {
		for _, e := range stream.Msg().GetEvents() {
			if len(list) > 0 && e.GetPosition().GetSequence() != list[len(list)-1].GetPosition().GetSequence()+1 {
				return nil, nil, fmt.Errorf("%v follows %v", e.GetPosition(), list[len(list)-1].GetPosition())
			}
			if list = append(list, e); note != nil {
				note(e)
			}
		}
		at = stream.Msg().GetPosition()
	}
	return at, list, stream.Err()
}

// A simulation of what is live says what would be, and nothing comes of it.
func TestSimulationOfWhatIsLive(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	c.createApp(n, "kv", 8)
	x := c.agent("x", "kv", 1, n)
	eventually(t, "x serves", func() bool { return placed(8, x) })
	ask := func(changes *pb.SimulatedChanges) *pb.SimulateResponse {
		t.Helper()
		answer, err := n.admin.Simulate(t.Context(), &pb.SimulateRequest{App: "kv", Changes: changes, WithState: true})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	alone := ask(&pb.SimulatedChanges{Drain: []string{"x.kv"}})
	if !alone.AtRest || alone.Moves != 0 || alone.After.Leaving != 8 || len(alone.Blocked) != 1 || alone.Blocked[0].Binds != "accepts" || len(alone.State.Shards) != 8 {
		t.Errorf("the only server drained: %v", alone)
	}
	more := ask(&pb.SimulatedChanges{AddServers: []*pb.AddedServers{{Count: 3}}, LoseServers: []string{"x.kv"}})
	if !more.AtRest || more.PrimariesLost != 8 || more.ShardsLost != 8 || more.After.Unplaced != 0 || more.After.Servers != 3 || more.ReplicasMoved != 8 {
		t.Errorf("the only server lost, and others instead: %v", more)
	}
	servers, err := n.admin.ListServers(t.Context(), new(pb.ListServersRequest))
	if err != nil || len(servers.Servers) != 1 || servers.Servers[0].Draining || servers.Servers[0].Shards != 8 || servers.Servers[0].Moves != 0 {
		t.Errorf("something came of it: %v, %v", servers, err)
	}
	if code, answer := n.call(t, "Simulate", `{"app":"kv","changes":{"drain":["y.kv"]}}`); code != http.StatusBadRequest {
		t.Errorf("a server that is not there: %d %v", code, answer)
	}
}
