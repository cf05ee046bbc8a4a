package unseat

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// stage is a real store, a leader and agents on real sockets, and the standby under test with a clock of its own.
type stage struct {
	*testing.T
	store   *embedded.Engine
	keys    storage.Keys
	standby *Standby
	holder  Holder
	now     shard.Instant
	answers atomic.Bool // the leader answers
	onDelay func()      // called in the random delay
	agents  map[string]*agent
}

// agent answers LeaderSeen with what the test says.
type agent struct {
	shardmanagerv1connect.UnimplementedAgentServiceHandler
	name string
	says atomic.Pointer[pb.LeaderSeenResponse]
}

func (a *agent) LeaderSeen(context.Context, *pb.LeaderSeenRequest) (*pb.LeaderSeenResponse, error) {
	return a.says.Load(), nil
}

type leader struct {
	shardmanagerv1connect.UnimplementedAdminServiceHandler
	s *stage
}

func (l *leader) GetStatus(ctx context.Context, _ *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	if !l.s.answers.Load() { // stopped: it took the connection, and says nothing
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &pb.GetStatusResponse{Allocator: "a1"}, nil
}

func newStage(t *testing.T) *stage {
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s := &stage{T: t, store: store, keys: storage.NewKeys("c1", "default"), now: shard.Instant{Boot: 1e12, Raw: 1e12}, agents: map[string]*agent{}}
	path, handler := shardmanagerv1connect.NewAdminServiceHandler(&leader{s: s})
	s.holder = Holder{Allocator: "a1", Life: 11, Admin: s.serve(path, handler)}
	s.lead()
	s.answers.Store(true)
	s.standby = New(testSettings, Deps{
		Name: "a2", Keys: s.keys, Store: store, Log: zerolog.New(zerolog.NewTestWriter(t)), Clock: func() shard.Instant { return s.now }, Dial: transport.Dial,
		Holder: func() Holder { return s.holder },
		Random: func(below time.Duration) time.Duration {
			if below == testSettings.Delay && s.onDelay != nil {
				s.onDelay()
			}
			return 0
		},
	})
	s.standby.ran = s.now
	for name, z := range map[string]string{"x": "z1", "y": "z2", "w": "z2"} {
		s.register(name, z)
	}
	return s
}

// lead gives the lock to the leader.
func (s *stage) lead() {
	s.Helper()
	id := s.session(coord.Release)
	index, err := s.store.Txn(s.Context(), []coord.Op{{Verb: coord.Lock, Key: s.keys.Leader(), Session: id, Value: []byte("a1")}})
	if err != nil {
		s.Fatal(err)
	}
	s.holder.Session, s.holder.Epoch = id, shard.Epoch{Index: uint64(index)}
}

func (s *stage) session(b coord.Behavior) coord.SessionID {
	s.Helper()
	id, err := s.store.CreateSession(s.Context(), coord.SessionSpec{Name: "test", TTL: time.Hour, Behavior: b})
	if err != nil {
		s.Fatal(err)
	}
	return id
}

func (s *stage) register(name, z string) {
	s.Helper()
	a := &agent{name: name}
	s.agents[name] = a
	s.say(name, true, s.holder.Epoch, 0)
	server := shard.Server{
		ID: shard.MakeServerID(name, "kv"), App: "kv", Agent: name, Incarnation: 1, Locality: shard.Locality{Region: "r1", Zone: z},
		DataAddress: "127.0.0.1:1",
	}
	path, handler := shardmanagerv1connect.NewAgentServiceHandler(a)
	server.AgentAddress = s.serve(path, handler)
	value, err := wire.Encode(&pb.ServerRecord{Server: wire.ServerToProto(server), Cluster: "c1"})
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.store.Txn(s.Context(), []coord.Op{
		{Verb: coord.Lock, Key: s.keys.Server(server.ID), Value: value, Session: s.session(coord.DeleteKeys)},
	}); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) say(name string, asking bool, epoch shard.Epoch, silent time.Duration) {
	s.agents[name].says.Store(&pb.LeaderSeenResponse{Agent: name, Asking: asking, Epoch: wire.EpochToProto(epoch), SilentMs: silent.Milliseconds()})
}

// everybody says that the leader has been silent for so long.
func (s *stage) everybody(silent time.Duration) {
	for name := range s.agents {
		s.say(name, true, s.holder.Epoch, silent)
	}
}

// look lets one look pass; the time since the last one is that of the ticker.
func (s *stage) look() {
	s.now = s.now.Add(lookEvery)
	s.standby.look(s.Context())
	s.standby.ran = s.now
}

// seated reports whether the leader still has its session and the lock.
func (s *stage) seated() bool {
	s.Helper()
	entry, _, err := s.store.Get(s.Context(), s.keys.Leader())
	if err != nil {
		s.Fatal(err)
	}
	alive, err := s.store.RenewSession(s.Context(), s.holder.Session)
	if err != nil {
		s.Fatal(err)
	}
	if alive != (entry.Session == s.holder.Session) {
		s.Fatalf("session alive %t, lock held by %q", alive, entry.Session)
	}
	return alive
}

func (s *stage) serve(path string, handler http.Handler) string {
	s.Helper()
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := transport.NewServer(ctx, mux)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with the test
	}()
	s.Cleanup(func() {
		cancel()
		_ = server.Close()
		<-done
	})
	return l.Addr().String()
}

func TestStandbyUnseatsADeadLeader(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.look()
	s.everybody(time.Minute) // they may say what they like while it answers us
	s.look()
	s.answers.Store(false)
	s.look()
	if !s.seated() {
		t.Fatal("unseated after one missed answer")
	}
	s.look()
	if s.seated() {
		t.Fatal("still seated: it answers nobody")
	}
	entry, _, err := s.store.Get(t.Context(), s.keys.Leader())
	if err != nil || entry.Session != "" || string(entry.Value) != "a1" {
		t.Errorf("lock %+v, %v: expected it free, with the value of the unseated", entry, err)
	}
}

func TestStandbySparesALeader(t *testing.T) {
	for name, prepare := range map[string]func(s *stage){
		"that answers an agent": func(s *stage) { s.say("x", true, s.holder.Epoch, time.Second) },
		"of whom one zone says nothing": func(s *stage) {
			s.say("x", false, s.holder.Epoch, time.Minute)
		},
		"that is this allocator": func(s *stage) { s.holder.Allocator = "a2" },
		"that gave the lock up":  func(s *stage) { s.onDelay = func() { s.holder = Holder{} } },
		"that comes back":        func(s *stage) { s.onDelay = func() { s.answers.Store(true) } },
		"that answers an agent at the last moment": func(s *stage) {
			s.onDelay = func() { s.say("y", true, s.holder.Epoch, 0) }
		},
		"that took over meanwhile, unseen by the watch": func(s *stage) {
			watched := s.holder
			s.onDelay = func() {
				if err := s.store.DestroySession(s.Context(), watched.Session); err != nil {
					s.Error(err)
				}
				s.lead()
				s.holder = watched
			}
		},
		"after this process had stopped": func(s *stage) {
			s.onDelay = func() { s.Error("came as far as the delay") }
			s.now = s.now.Add(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.look()
			s.answers.Store(false)
			s.everybody(time.Minute)
			prepare(s)
			s.look()
			if name == "after this process had stopped" {
				return
			}
			s.look()
			s.answers.Store(true)
			entry, _, err := s.store.Get(t.Context(), s.keys.Leader())
			if err != nil || entry.Session == "" {
				t.Errorf("lock %+v, %v: unseated", entry, err)
			}
		})
	}
}

// One leader in 3·LV; and never again once a process that was unseated has the lock back.
func TestStandbyIsNotHasty(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	die := func() {
		s.answers.Store(false)
		s.everybody(time.Minute)
		s.look()
		s.look()
		s.look()
	}
	die()
	if s.seated() {
		t.Fatal("still seated")
	}
	successor := func(life uint64) {
		s.lead()
		s.holder.Life = life
		s.answers.Store(true)
		s.look()
	}
	successor(12)
	die()
	if !s.seated() {
		t.Fatal("unseated two leaders at once")
	}
	s.now = s.now.Add(3 * testSettings.LeaderValidity)
	s.standby.ran = s.now
	die()
	if s.seated() {
		t.Fatal("still seated: long after the first")
	}
	successor(12) // the same process again: it had lived
	s.now = s.now.Add(time.Hour)
	s.standby.ran = s.now
	die()
	if !s.seated() {
		t.Error("unseated again by whoever erred")
	}
}

// A leader that has just fallen silent is looked at more often, but not for ever.
func TestLooksAreSoonWhileTheVerdictIsNear(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.look()
	s.answers.Store(false)
	heard := s.now
	for _, c := range []struct{ silent, want time.Duration }{
		{0, lookEvery}, {900 * time.Millisecond, lookEvery}, {time.Second, lookSoon}, {5 * time.Second, lookSoon}, {6 * time.Second, lookEvery},
	} {
		s.now = heard.Add(c.silent)
		if got := s.standby.next(); got != c.want {
			t.Errorf("silent for %v: the next look is in %v, expected in %v", c.silent, got, c.want)
		}
	}
	s.now = heard.Add(2 * time.Second)
	s.standby.holder.Allocator = "a2"
	if got := s.standby.next(); got != lookEvery {
		t.Errorf("it leads itself: the next look is in %v", got)
	}
}
