package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// patience is how long a test waits for what must happen, on a busy machine too.
const patience = time.Minute

// Times of the tests' agents and leaders.
const (
	interval = 100 * time.Millisecond
	validity = 1500 * time.Millisecond
)

func memory(t *testing.T) *embedded.Engine {
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func config(t *testing.T, leaders ...*leader) agent.Config {
	dir := short(t)
	cfg := agent.Config{
		Cluster: "c", Name: "a", Listen: "127.0.0.1:0", Socket: "unix://" + filepath.Join(dir, "run", "agent.sock") /* its directory is made */, StateDir: filepath.Join(dir, "state"),
		LeaseInterval: interval, LeaseValidity: validity, DrainTimeout: patience / 2,
	}
	for _, l := range leaders {
		cfg.Allocators = append(cfg.Allocators, l.address)
	}
	return cfg
}

// running is an agent that runs.
type running struct {
	*agent.Agent
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	log    *safeLog
}

// safeLog is the agent's log; the loop is the only one to write to it.
type safeLog struct{ t *testing.T }

func (l *safeLog) Write(line []byte) (int, error) {
	if os.Getenv("AGENT_TEST_LOG") != "" {
		_, _ = os.Stderr.Write(line)
	}
	return len(line), nil
}

func run(t *testing.T, cfg agent.Config, store coord.Store) *running {
	t.Helper()
	log := &safeLog{t: t}
	a, err := agent.New(cfg, agent.Deps{Store: store, Log: zerolog.New(log), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Agent: a, t: t, cancel: cancel, done: make(chan error, 1), log: log}
	go func() { r.done <- a.Run(ctx) }()
	t.Cleanup(func() {
		a.Hurry()
		cancel()
		r.wait()
	})
	return r
}

// wait waits for Run to return; it may be called again.
func (r *running) wait() error {
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(patience):
		r.t.Error("Run does not return")
		return nil
	}
}

func keyOf(t *testing.T, store coord.Store, server string) (coord.Entry, *pb.ServerRecord, bool) {
	t.Helper()
	entry, found, err := store.Get(context.Background(), "shardmanager/c/servers/"+server)
	if err != nil {
		t.Fatal(err)
	}
	record := new(pb.ServerRecord)
	if found {
		if err := wire.Decode(entry.Value, record); err != nil {
			t.Fatal(err)
		}
	}
	return entry, record, found
}

// TestLifeOfAServer: registered with a lock, attached, granted, commanded; then a drain and an orderly end, nothing left in the store.
func TestLifeOfAServer(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	r := run(t, cfg, store)
	app := application0(t, cfg.Socket)
	incarnation := app.registered(t)

	entry, record, found := keyOf(t, store, "a.kv")
	if !found || entry.Session == "" || record.GetServer().GetIncarnation() != incarnation || record.GetCluster() != "c" {
		t.Fatalf("key %v %v %v, expected it locked, with incarnation %x", entry, record, found, incarnation)
	}
	eventually(t, "a lease", func() bool { return app.pull(t).GetRemainingNs() > int64(validity/2) })
	if hello := l.helloOf(); hello.GetServer().GetIncarnation() != incarnation || hello.GetCluster() != "c" || hello.GetProtocolVersion() != 1 {
		t.Errorf("hello %v", hello)
	} else if has := hello.GetCapabilities(); !has.GetActivate() || !has.GetMembership() || has.GetChangeRole() {
		t.Errorf("capabilities %v, expected what the application said", has)
	}
	if result := l.command(incarnation, "0", 1, 1, pb.CommandKind_COMMAND_KIND_ADD_SHARD, nil); result.GetStatus() != pb.ResultStatus_RESULT_STATUS_DONE {
		t.Fatalf("AddShard: %v", result)
	}
	if got := strings.Join(app.called(), ", "); got != "activate 0, add 0" {
		t.Errorf("the application was called: %s", got)
	}
	peer := &pb.Peer{Server: "b.kv", Incarnation: 5, DataAddress: "b:1"}
	if result := l.command(incarnation, "0", 2, 2, pb.CommandKind_COMMAND_KIND_PREPARE_DROP_SHARD, peer); result.GetStatus() != pb.ResultStatus_RESULT_STATUS_BUSY {
		t.Errorf("PrepareDropShard: %v", result)
	}
	l.find("the load of shard 0", func(m *pb.AttachRequest) bool {
		loads := m.GetRenew().GetLoads()
		return len(loads) == 1 && loads[0].GetShard() == "0" && loads[0].GetLoad()["keys"] == 3
	})

	l.set(func() { l.left = 1 })
	r.cancel()
	l.find("the drain", func(m *pb.AttachRequest) bool { return m.GetDrain().GetOn() })
	if again, err := app.agent.Register(context.Background(), app.request()); err != nil || again.GetIncarnation() != incarnation {
		t.Errorf("a draining agent does not know its application any more: %v, %v", again, err)
	}
	foreign := app.request()
	foreign.App, foreign.Incarnation = "other", 0
	if _, err := app.agent.Register(context.Background(), foreign); err == nil {
		t.Error("a draining agent takes an application on")
	}
	if _, _, found := keyOf(t, store, "a.kv"); !found {
		t.Error("deregistered while a shard is left")
	}
	l.send(&pb.AttachResponse{Message: &pb.AttachResponse_DrainProgress{DrainProgress: &pb.DrainProgress{}}})
	if err := r.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, _, found := keyOf(t, store, "a.kv"); found {
		t.Error("the key is left")
	}
	ended := l.find("the report", func(m *pb.AttachRequest) bool { return m.GetEnded() != nil }).GetEnded()
	if ended.GetProvenDead() || ended.GetIncarnation() != incarnation || len(app.ended) != 1 {
		t.Errorf("reported %v; the application was told %x", ended, app.ended)
	}
}

// TestFenced: the incarnation ends everywhere, and the next is another one.
func TestFenced(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	run(t, cfg, store)
	app := application0(t, cfg.Socket)
	first := app.registered(t)
	eventually(t, "a lease", func() bool { return app.pull(t).GetRemainingNs() > 0 })
	watch, err := app.agent.Watch(context.Background(), &pb.AgentServiceWatchRequest{App: "kv", Incarnation: first})
	if err != nil {
		t.Fatal(err)
	}
	l.send(&pb.AttachResponse{Message: &pb.AttachResponse_Fenced{Fenced: &pb.Fenced{Incarnation: first, Reason: "test"}}})
	hint := pb.AgentHint_AGENT_HINT_UNSPECIFIED
	for watch.Receive() {
		hint = watch.Msg().GetHint()
	}
	if hint != pb.AgentHint_AGENT_HINT_ENDED {
		t.Errorf("last hint %v", hint)
	}
	eventually(t, "EndIncarnation", func() bool { return len(app.request().GetHeld()) == 0 && app.request().GetIncarnation() == 0 })
	response, err := app.agent.PullLease(context.Background(), &pb.PullLeaseRequest{App: "kv", Incarnation: first})
	if err != nil || !response.GetEnded() || response.GetRemainingNs() != 0 {
		t.Errorf("pull under the fenced incarnation: %v, %v", response, err)
	}
	second := app.registered(t)
	if second == first {
		t.Error("a fenced incarnation came back")
	}
	if _, record, _ := keyOf(t, store, "a.kv"); record.GetServer().GetIncarnation() != second {
		t.Errorf("the key names %x, expected %x", record.GetServer().GetIncarnation(), second)
	} else if ended := record.GetEnded(); len(ended) != 1 || ended[0] != first {
		t.Errorf("the key says that %x ended, expected %x (R11)", ended, first)
	}
}

// TestLeaderChange: hints are followed, a reset attaches anew at once, and meanwhile the store vouches.
func TestLeaderChange(t *testing.T) {
	t.Parallel()
	store, one, two, three := memory(t), newLeader(t, 7), newLeader(t, 8), newLeader(t, 9)
	one.set(func() { one.leads, one.hint = false, two.address })
	three.set(func() { three.leads = false })
	cfg := config(t, one, three) // two is known by the hint only
	r := run(t, cfg, store)
	app := application0(t, cfg.Socket)
	incarnation := app.registered(t)
	eventually(t, "the hinted leader", func() bool { return two.attachedNow() == 1 && app.pull(t).GetRemainingNs() > 0 })

	two.resetAll() // attached anew at once
	eventually(t, "the second stream", func() bool {
		two.mu.Lock()
		defer two.mu.Unlock()
		return len(two.hellos) >= 2
	})
	two.stop()
	one.set(func() { one.hint = "" })
	eventually(t, "the store's vouch", func() bool {
		status, err := r.Status(context.Background())
		return err == nil && !status.Servers[0].Attached && status.Servers[0].VouchedBy.String() == "store" && status.Servers[0].Remaining > validity/2
	})
	three.set(func() { three.leads = true })
	eventually(t, "the third leader", func() bool { return three.attachedNow() == 1 })
	if hello := three.helloOf(); hello.GetServer().GetIncarnation() != incarnation || hello.GetHighestEpoch().GetIndex() != 8 {
		t.Errorf("hello %v", hello)
	}

	// Nobody leads, and the key goes: only then it is over (R2, R31).
	three.stop()
	if err := store.DestroySession(context.Background(), func() coord.SessionID { e, _, _ := keyOf(t, store, "a.kv"); return e.Session }()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", func() bool { return app.pull(t).GetEnded() || app.request().GetIncarnation() == 0 })
}

// TestPlannedRestart: a rest lease, pulled; then Run returns, the key stays, and the next agent goes on with the same incarnation.
func TestPlannedRestart(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	r := run(t, cfg, store)
	app := application0(t, cfg.Socket)
	incarnation := app.registered(t)
	eventually(t, "a lease", func() bool { return app.pull(t).GetRemainingNs() > 0 })
	l.command(incarnation, "0", 1, 1, pb.CommandKind_COMMAND_KIND_ADD_SHARD, nil)

	l.set(func() { l.rest = 0 })
	if _, err := app.agent.Restart(context.Background(), &pb.RestartRequest{}); err == nil || !strings.Contains(err.Error(), "stays") {
		t.Errorf("a refused rest: %v", err)
	}
	l.set(func() { l.rest = 30 * time.Second })
	watch, err := app.agent.Watch(context.Background(), &pb.AgentServiceWatchRequest{App: "kv", Incarnation: incarnation})
	if err != nil {
		t.Fatal(err)
	}
	pulled := make(chan int64, 1)
	go func() {
		for watch.Receive() {
			if watch.Msg().GetHint() == pb.AgentHint_AGENT_HINT_PULL {
				pulled <- app.pull(t).GetRemainingNs()
				return
			}
		}
		pulled <- 0
	}()
	response, err := app.agent.Restart(context.Background(), &pb.RestartRequest{RestMs: 30_000})
	if err != nil || response.GetRestMs() < 10_000 {
		t.Fatalf("restart: %v, %v", response, err)
	}
	if got := <-pulled; got < int64(10*time.Second) {
		t.Errorf("the application pulled %v", time.Duration(got))
	}
	if err := r.wait(); !errors.Is(err, agent.ErrRestart) {
		t.Fatalf("Run: %v", err)
	}
	before, _, found := keyOf(t, store, "a.kv")
	if !found || len(app.ended) != 0 {
		t.Fatalf("the key is there: %v; the application was told to end: %x", found, app.ended)
	}

	run(t, cfg, store)
	if again := app.registered(t); again != incarnation {
		t.Fatalf("incarnation %x, expected %x to go on", again, incarnation)
	}
	eventually(t, "a lease", func() bool { return app.pull(t).GetRemainingNs() > 0 })
	if after, _, _ := keyOf(t, store, "a.kv"); after.Create != before.Create || after.Session != before.Session {
		t.Errorf("key %+v, expected %+v", after, before)
	}
	eventually(t, "hello with the shard", func() bool {
		held := l.helloOf().GetHeld()
		return len(held) == 1 && held[0].GetShard() == "0" && held[0].GetPhase() == pb.ShardPhase_SHARD_PHASE_PRIMARY
	})
	// What the application remembers is asked, not guessed.
	if result := l.command(incarnation, "0", 1, 2, pb.CommandKind_COMMAND_KIND_CANCEL_MOVE, nil); result.GetStatus() != pb.ResultStatus_RESULT_STATUS_NOT_BEGUN {
		t.Errorf("CancelMove: %v", result)
	}
}
