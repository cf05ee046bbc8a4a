package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func (p *plane) AbortMove(_ context.Context, r *pb.AbortMoveRequest) (*pb.AbortMoveResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if r.GetMove() != 0 && r.GetMove() != 6 {
		return nil, wire.Error(connect.CodeAborted, pb.ErrorReason_ERROR_REASON_CONFLICT, "move", "6, the present one", "")
	}
	return &pb.AbortMoveResponse{Outcome: "aborting, because " + r.GetReason()}, nil
}

func (p *plane) SkipStep(_ context.Context, r *pb.SkipStepRequest) (*pb.SkipStepResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if !r.GetForce() {
		return nil, wire.Error(connect.CodeAborted, pb.ErrorReason_ERROR_REASON_CONFLICT, "force", "force, to skip step "+r.GetStep().String(), "")
	}
	return &pb.SkipStepResponse{Outcome: "fenced"}, nil
}

func (p *plane) Explain(_ context.Context, r *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if r.GetReplica() != "" && r.GetReplica() != "node-1.kv" {
		return nil, wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "replica", `expected a server with a replica of the shard (node-1.kv), not "`+r.GetReplica()+`"`, "")
	}
	return &pb.ExplainResponse{
		Quarantine: "3 servers died of it", CandidatesOf: "node-1.kv",
		Places: []*pb.ReplicaPlace{{Server: "node-1.kv", Role: pb.Role_ROLE_PRIMARY, Verdict: "stays: the best other place, node-2.kv, costs more: latency +12 ms"}, {Role: pb.Role_ROLE_SECONDARY, Verdict: "is missing"}},
		App:    r.GetApp(), Shard: r.GetShard(), Term: 5, Move: 6, Primary: "node-1.kv", PrimaryTerm: 4, Serving: true, WaitsFor: "PrepareDropShard at node-1.kv",
		Owner: &pb.ServerStatus{State: pb.ServerState_SERVER_STATE_ATTACHED, Draining: true},
		Open: &pb.MoveStatus{From: "node-1.kv", To: "node-2.kv", Reason: pb.MoveReason_MOVE_REASON_DRAIN, Step: pb.MoveStep_MOVE_STEP_PREPARE_DROP,
			StepAgeMs: 1500},
		Decisions: []*pb.Event{{Body: &pb.Event_Decision{Decision: &pb.DecisionEvent{What: "move opened", Server: "node-2.kv", Term: 5, Move: 6, Why: "it is drained"}}}},
		Proposals: []*pb.Proposal{
			{Kind: pb.MoveKind_MOVE_KIND_PROMOTE, From: "node-1.kv", To: "node-2.kv", Reason: pb.MoveReason_MOVE_REASON_PREFERENCE, Why: "it is preferred",
				Costs: []*pb.GoalCost{{Tier: 1, Goal: "region preference", Amount: -1, Unit: "places", Text: "-1 place"}, {Tier: 3, Goal: "latency", Amount: 12000, Unit: "microseconds", Text: "12 ms"}}},
			{Kind: pb.MoveKind_MOVE_KIND_ADD, Reason: pb.MoveReason_MOVE_REASON_REPLICAS, Binds: "spread zone", Why: "3 replicas wanted, 2 zones have servers"},
		},
		Notes: []string{"preferred region mars: no server is in it"},
		Candidates: []*pb.Candidate{
			{Server: "node-2.kv", Rank: 1, UtilisationPercent: 80, Why: "it has room"},
			{Server: "node-1.kv", Binds: "accepts", Why: "it is being drained"},
		},
	}, nil
}

// WatchEvents tells the events after the position, ends the stream once as a leader that steps down does, and then goes on.
func (p *plane) WatchEvents(_ context.Context, r *pb.WatchEventsRequest, stream *connect.ServerStream[pb.WatchEventsResponse]) error {
	if err := p.refuse(); err != nil {
		return err
	}
	all := []*pb.Event{
		{Body: &pb.Event_Leader{Leader: &pb.LeaderEvent{Allocator: "allocator-1", Leads: true}}},
		{Body: &pb.Event_Decision{Decision: &pb.DecisionEvent{What: "move opened", App: "kv", Shard: "07", Server: "node-2.kv", Term: 5, Move: 6, Why: "balance"}}},
		{Body: &pb.Event_Server{Server: &pb.ServerEvent{Server: "node-1.kv", State: pb.ServerState_SERVER_STATE_SUSPECT, Draining: true, Reason: "silent"}}},
		{Body: &pb.Event_Gap{Gap: &pb.GapEvent{Missed: 3, Why: "they are forgotten"}}},
	}
	from := r.GetAfter().GetSequence()
	for i := from; i < uint64(len(all)); i++ {
		if i == 2 && from == 0 && r.GetFollow() {
			return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, "allocator", "the leader", "")
		}
		all[i].TimeMs, all[i].Position = time.Now().UnixMilli(), &pb.EventPosition{Sequence: i + 1}
		if err := stream.Send(&pb.WatchEventsResponse{Events: all[i : i+1], Position: all[i].Position}); err != nil {
			return err
		}
	}
	return nil
}

func TestSteeringFollowsTheLeader(t *testing.T) {
	leader := &plane{}
	admin := serve(t, &plane{leader: serve(t, leader)})
	for _, test := range []struct {
		line string
		code int
		want string
	}{
		{"moves abort kv 07 --reason slow", exitOK, "kv/07: aborting, because slow"},
		{"moves abort kv 07 --move 5", exitFailure, "move: 6, the present one"},
		{"moves skip kv 07 --step drop", exitFailure, "force, to skip step MOVE_STEP_DROP"},
		{"moves skip kv 07 --force", exitOK, "kv/07: fenced"},
		{"moves skip kv 07 --force -o json", exitOK, `"outcome":"fenced"`},
		{"explain kv 07", exitOK, "node-1.kv at term 4, attached, draining"},
		{"explain kv 07", exitOK, "step prepare-drop for 1.5s"},
		{"explain kv 07", exitOK, "PrepareDropShard at node-1.kv"},
		{"explain kv 07", exitOK, "it is drained"},
		{"explain kv 07", exitOK, "accepts"},
		{"explain kv 07", exitOK, "preferred region mars: no server is in it"},
		{"explain kv 07", exitOK, "promote it node-1.kv → node-2.kv (preference): it is preferred"},
		{"explain kv 07", exitOK, "want to add it (replicas), but for spread zone: 3 replicas wanted"},
		{"explain kv 07 -o json", exitOK, `"waitsFor"`},
		{"explain kv 07 -o yaml", exitOK, "waitsFor: PrepareDropShard at node-1.kv"},
		{"explain kv 07", exitOK, "it is preferred, region preference -1 place, latency +12 ms"},
		{"explain kv 07 -r node-1.kv", exitOK, "stays: the best other place, node-2.kv, costs more: latency +12 ms"},
		{"explain kv 07", exitOK, "BECAUSE, AS A PLACE FOR THE PRIMARY ON node-1.kv"},
		{"explain kv 07", exitOK, "3 servers died of it; it is neither placed nor moved until `shardmanager quarantine release kv 07`"},
		{"explain kv 07 --replica node-9.kv", exitUsage, `--replica: expected a server with a replica of the shard (node-1.kv), not "node-9.kv"`},
		{"explain kv 07 -o wide", exitUsage, "--output: expected table or json or yaml"},
	} {
		code, out, errs := shell(t, append(strings.Fields(test.line), "--admin", admin)...)
		if text := strings.ReplaceAll(out+errs, `": "`, `":"`); code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want exit %d and %q", test.line, code, out, errs, test.code, test.want)
		}
	}
	if leader.calls.Load() == 0 {
		t.Error("the leader was never asked")
	}
}

// What is shown is shown once, in order, although the leader changes in the middle.
func TestEventsGoOnWhereTheyWere(t *testing.T) {
	admin := serve(t, &plane{})
	for _, args := range [][]string{{"events"}, {"events", "--follow"}} {
		code, out, errs := shell(t, append(args, "--admin", admin)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if code != exitOK || len(lines) != 4 {
			t.Fatalf("%v: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
		for i, want := range []string{"leader begins         allocator-1", "move opened           kv/07 5/6  node-2.kv  balance",
			"server suspect, draining  node-1.kv  silent", "gap                   3 events are missing  they are forgotten"} {
			if !strings.HasSuffix(lines[i], want) {
				t.Errorf("%v: line %d is %q, want %q", args, i, lines[i], want)
			}
		}
	}
	code, out, _ := shell(t, "events", "-o", "json", "--admin", serve(t, &plane{leader: admin}))
	if text := strings.ReplaceAll(out, " ", ""); code != exitOK || strings.Count(text, "\n") != 4 || !strings.Contains(text, `"what":"moveopened"`) {
		t.Errorf("exit %d, stdout %q", code, out)
	}
}
