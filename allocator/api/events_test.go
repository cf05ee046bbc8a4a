package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func (s *server) admin() shardmanagerv1connect.AdminServiceClient {
	return shardmanagerv1connect.NewAdminServiceClient(s.endpoint.Client, s.endpoint.URL)
}

func decision(what string, app shard.App) events.Body {
	return events.Decided{Decision: ledger.Decision{What: what, App: app, Shard: "3", Server: "a.kv", Order: shard.Order{Term: 5, Move: 6}, Why: "so"}}
}

// watch reads a stream until it has so many events, or until it ends.
func (s *server) watch(ctx context.Context, req *pb.WatchEventsRequest, most int) (list []*pb.Event, at *pb.EventPosition, err error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := s.admin().WatchEvents(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = stream.Close() }()
	for len(list) < most && stream.Receive() {
		list, at = append(list, stream.Msg().GetEvents()...), stream.Msg().GetPosition()
	}
	return list, at, stream.Err()
}

func names(list []*pb.Event) string {
	var out []string
	for _, e := range list {
		switch b := e.GetBody().(type) {
		case *pb.Event_Decision:
			out = append(out, b.Decision.GetWhat())
		case *pb.Event_Server:
			out = append(out, b.Server.GetServer()+"="+b.Server.GetState().String())
		case *pb.Event_Leader:
			out = append(out, "leader")
		case *pb.Event_Gap:
			out = append(out, "gap")
		}
	}
	return strings.Join(out, " ")
}

// A reader gets what there is, in order and of its app, goes on from where it was, and follows.
func TestEventsAreOrderedAndResumable(t *testing.T) {
	s := newServer(t)
	s.events.Begin(shard.Epoch{Index: 9})
	s.events.Add(time.Now(), events.LeaderChanged{Allocator: "a1", Leads: true}, decision("one", "kv"), decision("two", "other"),
		events.ServerChanged{Status: report.ServerStatus{Server: shard.Server{ID: "a.kv", App: "kv"}, State: report.Suspect}})
	list, at, err := s.watch(t.Context(), &pb.WatchEventsRequest{App: "kv"}, 100)
	if err != nil || names(list) != "leader one a.kv=SERVER_STATE_SUSPECT" {
		t.Fatalf("%s, %v", names(list), err)
	}
	if d := list[1].GetDecision(); d.GetShard() != "3" || d.GetServer() != "a.kv" || d.GetTerm() != 5 || d.GetMove() != 6 || d.GetWhy() != "so" {
		t.Errorf("decision %v", d)
	}
	if at.GetSequence() != 4 || wire.EpochFromProto(at.GetEpoch()).Index != 9 {
		t.Errorf("the position is %v", at)
	}
	for i, e := range list {
		if want := []uint64{1, 2, 4}[i]; e.GetPosition().GetSequence() != want {
			t.Errorf("event %d has position %v", i, e.GetPosition())
		}
	}
	following := make(chan string)
	go func() {
		list, _, err := s.watch(t.Context(), &pb.WatchEventsRequest{After: at, Follow: true}, 2)
		if err != nil {
			t.Error(err)
		}
		following <- names(list)
	}()
	s.events.Add(time.Now(), decision("three", "kv"))
	s.events.Add(time.Now(), decision("four", "kv"))
	if got := <-following; got != "three four" {
		t.Errorf("followed %q", got)
	}
	list, _, err = s.watch(t.Context(), &pb.WatchEventsRequest{After: &pb.EventPosition{Epoch: &pb.Epoch{Index: 8}, Sequence: 3}}, 100)
	if err != nil || !strings.HasPrefix(names(list), "gap leader one") {
		t.Errorf("resumed from another leadership: %s, %v", names(list), err)
	}
}

// The end of a leadership is told, then the stream says where to go.
func TestEventsEndWithTheLeadership(t *testing.T) {
	s := newServer(t)
	s.events.Begin(shard.Epoch{Index: 9})
	result := make(chan error, 1)
	var list []*pb.Event
	go func() {
		var err error
		list, _, err = s.watch(t.Context(), &pb.WatchEventsRequest{Follow: true}, 100)
		result <- err
	}()
	leader := s.node.leader
	s.node.mu.Lock()
	s.node.leader, s.node.status.Leader, s.node.status.LeaderAdmin = leader, "a2", "a2:7440"
	s.node.mu.Unlock()
	s.events.Add(time.Now(), events.LeaderChanged{Allocator: "a1"})
	leader.end()
	err := <-result
	detail, _ := wire.DetailOf(err)
	if names(list) != "leader" || detail.GetReason() != pb.ErrorReason_ERROR_REASON_NOT_LEADER || detail.GetHint() != "a2:7440" {
		t.Errorf("events %q, then %v", names(list), err)
	}
	s.node.mu.Lock()
	s.node.leader = nil
	s.node.mu.Unlock()
	if _, _, err := s.watch(t.Context(), &pb.WatchEventsRequest{}, 1); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a follower answers %v", err)
	}
}

// A reader that does not read keeps nobody waiting, and hears how much it missed.
func TestSlowReadersMissEvents(t *testing.T) {
	s := newServer(t)
	s.events.Begin(shard.Epoch{Index: 9})
	s.events.Add(time.Now(), decision("first", "kv"))
	list, at, err := s.watch(t.Context(), &pb.WatchEventsRequest{}, 1)
	if err != nil || names(list) != "first" {
		t.Fatal(names(list), err)
	}
	for range events.KeptMost + 10 {
		s.events.Add(time.Now(), decision("more", "kv"))
	}
	list, _, err = s.watch(t.Context(), &pb.WatchEventsRequest{After: at}, 1)
	if err != nil || list[0].GetGap().GetMissed() != 10 {
		t.Errorf("%v: %v", list[0], err)
	}
}

// The bound on readers is reached, and one that leaves makes room.
func TestWatchersAreBounded(t *testing.T) {
	s := newServer(t)
	s.events.Begin(shard.Epoch{Index: 9})
	s.events.Add(time.Now(), decision("first", "kv"))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for range feed.ReadersMost - 8 { // to open so many streams takes long
		other, err := s.news.Enter()
		if err != nil {
			t.Fatal(err)
		}
		defer other()
	}
	for range 8 {
		stream, err := s.admin().WatchEvents(ctx, &pb.WatchEventsRequest{Follow: true})
		if err != nil || !stream.Receive() {
			t.Fatal(err)
		}
	}
	if _, _, err := s.watch(t.Context(), &pb.WatchEventsRequest{}, 1); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Fatalf("one more: %v", err)
	}
	leave()
	for deadline := time.Now().Add(patience); ; {
		if _, _, err := s.watch(t.Context(), &pb.WatchEventsRequest{}, 1); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestExplainShowsEverything(t *testing.T) {
	s := newServer(t)
	s.events.Begin(shard.Epoch{Index: 9})
	s.events.Add(time.Now(), decision("granted", "kv"), decision("of another app", "other"))
	s.node.leader.known = api.Explained{
		Shard: report.ShardStatus{
			App: "kv", Index: 0, Shard: "3", Term: 7, Move: 8, Primary: "a.kv", Incarnation: 4, PrimaryTerm: 7, Serving: true, Waits: "the linger", Quarantine: "servers died of it",
			Owner:  report.ServerStatus{Server: shard.Server{ID: "a.kv"}, State: report.Attached},
			Moving: true, Open: report.MoveStatus{App: "kv", Shard: "3", Step: report.StepLinger, StepAge: time.Second, Deadline: -1}, Phase: report.PhaseMoved,
		},
		Input: placement.Input{
			App: "kv", Servers: []placement.Server{{ID: "a.kv", Accepts: true}, {ID: "b.kv", Leaving: true}},
			Shards: []placement.Shard{{Index: 0, ID: "3", Load: map[string]int64{placement.MetricShards: 1},
				Replicas: []placement.Replica{{On: 0, To: -1, Role: shard.Primary, Settled: true}}}},
			Policy: placement.Policy{Replicas: 1, Primary: true, TolerancePercent: 10, PreferRegions: []string{"mars"}},
		},
	}
	s.node.leader.view = func(context.Context) (*api.View, error) {
		return &api.View{Moves: report.Moves{Finished: []report.MoveStatus{{App: "kv", Shard: "3", Step: report.StepDone}, {App: "kv", Shard: "4"}}}}, nil
	}
	e, err := s.admin().Explain(t.Context(), &pb.ExplainRequest{App: "kv", Shard: "3"})
	if err != nil {
		t.Fatal(err)
	}
	if e.GetPrimary() != "a.kv" || e.GetTerm() != 7 || !e.GetServing() || e.GetWaitsFor() != "the linger" || e.GetPhase() != pb.MovePhase_MOVE_PHASE_MOVED {
		t.Errorf("the row: %v", e)
	}
	if m := e.GetOpen(); m.GetStep() != pb.MoveStep_MOVE_STEP_LINGER || m.GetStepAgeMs() != 1000 || m.GetDeadlineMs() != -1 {
		t.Errorf("the open move: %v", m)
	}
	if names(e.GetDecisions()) != "granted" || len(e.GetFinished()) != 1 {
		t.Errorf("decisions %q, %d finished moves", names(e.GetDecisions()), len(e.GetFinished()))
	}
	if c := e.GetCandidates(); len(c) != 2 || !c[0].GetHere() || c[0].GetRank() != 1 || c[0].GetHolds() != pb.Role_ROLE_PRIMARY || c[1].GetBinds() == "" || e.GetCandidatesOf() != "a.kv" {
		t.Errorf("candidates %v of %s", c, e.GetCandidatesOf())
	}
	if p := e.GetPlaces(); len(p) != 1 || p[0].GetServer() != "a.kv" || p[0].GetVerdict() != "stays: no other server may have it: of 1 servers, accepts excludes 1" {
		t.Errorf("places %v", p)
	}
	if e.GetQuarantine() != "servers died of it" {
		t.Errorf("quarantine %q", e.GetQuarantine())
	}
	if n := e.GetNotes(); len(n) != 1 || n[0] != "preferred region mars: no server is in it" {
		t.Errorf("notes %v", n)
	}
	_, err = s.admin().Explain(t.Context(), &pb.ExplainRequest{App: "kv", Shard: "3", Replica: "b.kv"})
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), `expected a server with a replica of the shard (a.kv), not "b.kv"`) {
		t.Errorf("a server without a replica: %v", err)
	}
	s.node.leader.known.Refusal = &ledger.RequestError{Kind: ledger.NotFound, Subject: "shard", Expected: "a shard"}
	if _, err := s.admin().Explain(t.Context(), &pb.ExplainRequest{App: "kv", Shard: "x"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a shard that is not there: %v", err)
	}
}

// What operators may say is bounded, and every wish reaches the ledger as it was meant.
func TestSteering(t *testing.T) {
	s := newServer(t)
	var got wish.Wish
	s.node.leader.ask = func(w wish.Wish) (ledger.Reply, error) {
		got = w
		return ledger.Reply{Note: "noted"}, nil
	}
	abort, err := s.admin().AbortMove(t.Context(), &pb.AbortMoveRequest{App: "kv", Shard: "3", Move: 6, Reason: "because"})
	if want := (wish.AbortMove{App: "kv", Shard: "3", Move: 6, Why: "because"}); err != nil || abort.GetOutcome() != "noted" || got != want {
		t.Errorf("%v, %v: %+v", abort, err, got)
	}
	skip, err := s.admin().SkipStep(t.Context(), &pb.SkipStepRequest{App: "kv", Shard: "3", Move: 6, Step: pb.MoveStep_MOVE_STEP_DROP, Force: true, Reason: "because"})
	if want := (wish.SkipStep{App: "kv", Shard: "3", Move: 6, Step: report.StepDrop, Force: true, Why: "because"}); err != nil || skip.GetOutcome() != "noted" || got != want {
		t.Errorf("%v, %v: %+v", skip, err, got)
	}
	long := strings.Repeat("x", 201)
	if _, err := s.admin().AbortMove(t.Context(), &pb.AbortMoveRequest{Reason: long}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a long reason: %v", err)
	}
	if _, err := s.admin().SkipStep(t.Context(), &pb.SkipStepRequest{Reason: long}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a long reason: %v", err)
	}
	if _, err := s.admin().SkipStep(t.Context(), &pb.SkipStepRequest{Step: 99}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("no step: %v", err)
	}
}

// The stream is readable without any library: a JSON message after five bytes, as Connect frames it.
func TestEventsByPlainHTTP(t *testing.T) {
	s := newServer(t)
	s.events.Begin(shard.Epoch{Index: 9})
	s.events.Add(time.Now(), decision("first", "kv"))
	request := "\x00\x00\x00\x00\x02{}"
	answer, err := s.endpoint.Client.Post(s.endpoint.URL+"/shardmanager.v1.AdminService/WatchEvents", "application/connect+json", strings.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), `"what":"first"`) {
		t.Errorf("%s: %q, %v", answer.Status, body, err)
	}
}
