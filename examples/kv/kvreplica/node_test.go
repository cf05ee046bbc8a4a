package kvreplica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
)

// patience is how long a test waits for what must happen, on a machine that may be busy.
const patience = 20 * time.Second

// server is a Node behind a real listener, with faults.
type server struct {
	*Node
	address     string
	incarnation atomic.Uint64
	owner       atomic.Bool // what Confirm answers

	mu       sync.Mutex
	fault    func(w http.ResponseWriter, r *http.Request) bool // reports whether it answered; nil: none
	requests int                                               // Replicate that arrived
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.incarnation.Store(1)
	s.owner.Store(true)
	s.Node = New(Config{
		Incarnation: s.incarnation.Load, Log: slog.New(slog.DiscardHandler),
		Confirm: func(context.Context, string, uint64) bool { return s.owner.Load() },
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle(s.Handler())
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fault := s.fault
		if r.URL.Path == kvv1connect.ReplicaServiceReplicateProcedure {
			s.requests++
		}
		s.mu.Unlock()
		if fault == nil || !fault(w, r) {
			mux.ServeHTTP(w, r)
		}
	})}
	var running sync.WaitGroup
	running.Go(func() { _ = web.Serve(listener) })
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = web.Close()
		running.Wait()
	})
	return s
}

func (s *server) setFault(fault func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *server) received() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *server) member(inSync bool) Member {
	return Member{Server: s.address, Address: s.address, Incarnation: s.incarnation.Load(), InSync: inSync}
}

// dead breaks every connection off.
func dead(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// primaryOf makes the first server primary of shard 0 at a term and the others its members.
func primaryOf(t *testing.T, term uint64, servers ...*server) {
	t.Helper()
	if err := servers[0].Activate("0", term, nil); err != nil {
		t.Fatal(err)
	}
	var members []Member
	for _, s := range servers[1:] {
		s.Follow("0")
		members = append(members, s.member(false))
	}
	if err := servers[0].UpdateMembership(within(t, patience), "0", term, members); err != nil {
		t.Fatal(err)
	}
}

// increment is a write that must be acknowledged.
func (s *server) increment(t *testing.T, term uint64, key string, number uint64) int64 {
	t.Helper()
	value, err := s.Increment(within(t, patience), "0", term, key, RequestID{Client: 1, Number: number})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// has is what a replica has of a key, whatever its role.
func (s *server) has(key string) int64 {
	r := s.replica("0")
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.role {
	case primary:
		return r.leader.data.value(key)
	case secondary:
		return r.follower.data.value(key)
	case absent:
	}
	return -1
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, patience)
		}
	}
}

func TestEveryMemberHasWhatIsAcknowledged(t *testing.T) {
	a, b, c := startServer(t), startServer(t), startServer(t)
	primaryOf(t, 1, a, b)
	var writers sync.WaitGroup
	for client := range 8 {
		writers.Go(func() {
			for n := range uint64(100) {
				key := fmt.Sprintf("k%d", client)
				value, err := a.Increment(within(t, patience), "0", 1, key, RequestID{Client: uint64(client), Number: n + 1})
				if err != nil || value != int64(n+1) {
					t.Errorf("increment %d of %s: %d, %v", n+1, key, value, err)
					return
				}
				if got := b.has(key); got < value {
					t.Errorf("%s: %d was acknowledged, the secondary has %d", key, value, got)
				}
			}
		})
	}
	// A newcomer catches up while writes go on; from then on it is waited for.
	c.Follow("0")
	if err := a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(true), c.member(false)}); err != nil {
		t.Fatal(err)
	}
	value := a.increment(t, 1, "late", 1)
	if got := c.has("late"); got != value {
		t.Errorf("the newcomer has %d of an acknowledged %d", got, value)
	}
	writers.Wait()
	for client := range 8 {
		key := fmt.Sprintf("k%d", client)
		if got, err := a.Get("0", 1, key); err != nil || got != 100 {
			t.Errorf("%s: %d, %v at the primary", key, got, err)
		}
		for name, s := range map[string]*server{"b": b, "c": c} {
			if got := s.has(key); got != 100 {
				t.Errorf("%s: %d at %s", key, got, name)
			}
		}
	}
	if sent := b.received(); sent > 700 {
		t.Errorf("%d requests for 801 writes of 8 clients: they are not sent together", sent)
	}
}

func TestRequestsAreRecognised(t *testing.T) {
	a, b := startServer(t), startServer(t)
	primaryOf(t, 1, a, b)
	for _, step := range []struct {
		client, number uint64
		want           int64
		err            error
	}{{1, 1, 1, nil}, {1, 1, 1, nil}, {2, 1, 2, nil}, {1, 2, 3, nil}, {2, 1, 2, nil}, {1, 1, 0, ErrSuperseded}, {1, 3, 4, nil}} {
		got, err := a.Increment(within(t, patience), "0", 1, "k", RequestID{step.client, step.number})
		if got != step.want || !errors.Is(err, step.err) {
			t.Errorf("request %d of client %d: %d, %v; want %d, %v", step.number, step.client, got, err, step.want, step.err)
		}
	}
	if err := b.Activate("0", 2, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.UpdateMembership(within(t, patience), "0", 2, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Increment(within(t, patience), "0", 2, "k", RequestID{2, 1}); got != 2 || err != nil {
		t.Errorf("repeated at the next primary: %d, %v", got, err)
	}
}

// A member that dies blocks writes, and reads see nothing of them, until a membership leaves it out.
func TestDeadMemberBlocksUntilLeftOut(t *testing.T) {
	a, b, c := startServer(t), startServer(t), startServer(t)
	primaryOf(t, 1, a, b, c)
	a.increment(t, 1, "k", 1)
	c.setFault(dead)
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.Increment(short, "0", 1, "k", RequestID{1, 2}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a write that one of two members did not apply: %v", err)
	}
	await(t, "write at the other member", func() bool { return b.has("k") == 2 })
	if got, err := a.Get("0", 1, "k"); got != 1 || err != nil {
		t.Errorf("a read sees %d, %v, of which 1 is acknowledged", got, err)
	}
	again := make(chan error, 1)
	go func() { // the client tries again, and waits
		value, err := a.Increment(within(t, patience), "0", 1, "k", RequestID{1, 2})
		if value != 2 && err == nil {
			err = fmt.Errorf("repeated: %d", value)
		}
		again <- err
	}()
	if err := a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(true)}); err != nil {
		t.Fatal(err)
	}
	if err := <-again; err != nil {
		t.Error(err)
	}
	if got := a.increment(t, 1, "k", 3); got != 3 {
		t.Errorf("next write: %d", got)
	}
}

// A slow member slows writes of its own shards down, not those of others.
func TestSlowMember(t *testing.T) {
	a, b, c := startServer(t), startServer(t), startServer(t)
	primaryOf(t, 1, a, b)
	if err := a.Activate("1", 1, nil); err != nil {
		t.Fatal(err)
	}
	c.Follow("1")
	if err := a.UpdateMembership(within(t, patience), "1", 1, []Member{c.member(false)}); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	b.setFault(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	slow := make(chan error, 1)
	go func() {
		_, err := a.Increment(within(t, patience), "0", 1, "k", RequestID{1, 1})
		slow <- err
	}()
	for n := range uint64(20) {
		if _, err := a.Increment(within(t, patience), "1", 1, "k", RequestID{1, n + 1}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-slow:
		t.Fatalf("acknowledged before the member had it: %v", err)
	default:
	}
	b.setFault(nil)
	close(release)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

// Once a secondary is primary at a higher term, the old primary acknowledges nothing more and is told.
func TestLowerTermIsRefused(t *testing.T) {
	a, b := startServer(t), startServer(t)
	primaryOf(t, 1, a, b)
	a.increment(t, 1, "k", 1)
	if err := b.Activate("0", 2, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Increment(within(t, patience), "0", 1, "k", RequestID{1, 2}); !errors.Is(err, ErrDeposed) {
		t.Errorf("a write of the old primary: %v", err)
	}
	if _, err := a.Get("0", 1, "k"); !errors.Is(err, ErrNotPrimary) {
		t.Errorf("a read at the old primary: %v", err)
	}
	if err := a.Activate("0", 1, nil); !errors.Is(err, ErrStaleTerm) {
		t.Errorf("activation at the old term: %v", err)
	}
	if _, err := b.Get("0", 2, "k"); !errors.Is(err, ErrNotPrimary) {
		t.Errorf("a read before the first membership: %v", err)
	}
	a.Follow("0")
	if err := b.UpdateMembership(within(t, patience), "0", 2, []Member{a.member(false)}); err != nil {
		t.Fatal(err)
	}
	if got := b.increment(t, 2, "k", 3); got != 2 {
		t.Errorf("the new primary goes on at %d: what the old one did not get acknowledged must not count", got)
	}
	if got := a.has("k"); got != 2 {
		t.Errorf("the old primary, now a secondary, has %d", got)
	}
}

// A snapshot that breaks off changes nothing, and is sent again.
func TestInterruptedSnapshot(t *testing.T) {
	a, b := startServer(t), startServer(t)
	primaryOf(t, 1, a)
	for n := range uint64(3 * partKeys) {
		a.increment(t, 1, fmt.Sprint(n), 1)
	}
	var broken atomic.Int64
	b.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == kvv1connect.ReplicaServiceInstallProcedure && broken.Add(1) <= 2 {
			part := make([]byte, 4096)
			_, _ = r.Body.Read(part)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	b.Follow("0")
	if err := a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(false)}); err != nil {
		t.Fatal(err)
	}
	if broken.Load() < 3 {
		t.Errorf("%d snapshots sent", broken.Load())
	}
	for n := range uint64(3 * partKeys) {
		if got := b.has(fmt.Sprint(n)); got != 1 {
			t.Fatalf("key %d: %d", n, got)
		}
	}
}

// A snapshot without its last part is refused whole.
func TestSnapshotWithoutEnd(t *testing.T) {
	b := startServer(t)
	b.Follow("0")
	client := newReplicaClient(http.DefaultClient, b.address)
	stream, err := client.Install(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	data := table{}
	data.apply(write{sequence: 1, key: "k", value: 1})
	if err := stream.Send(&kvv1.InstallRequest{To: 1, Shard: "0", Term: 5, Sequence: 1, Keys: keysToProto(data)}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CloseAndReceive(); err == nil || !strings.Contains(err.Error(), "last part") {
		t.Errorf("%v", err)
	}
	if got := b.has("k"); got != 0 {
		t.Errorf("a part was taken: %d", got)
	}
}

// A newer list ends the call before, which may have waited for a dead newcomer for ever.
func TestNewerMembershipReplaces(t *testing.T) {
	a, b, c := startServer(t), startServer(t), startServer(t)
	primaryOf(t, 1, a, b)
	c.setFault(dead)
	before := make(chan error, 1)
	go func() {
		before <- a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(true), c.member(false)})
	}()
	r := a.replica("0")
	await(t, "list with the newcomer", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.leader.links) == 2
	})
	a.increment(t, 1, "k", 1) // who has not caught up is not waited for
	if err := a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(true)}); err != nil {
		t.Fatal(err)
	}
	if err := <-before; !errors.Is(err, ErrReplaced) {
		t.Errorf("the call before: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		before <- a.UpdateMembership(ctx, "0", 1, []Member{b.member(true), c.member(false)})
	}()
	await(t, "list with the newcomer", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.leader.links) == 2
	})
	cancel()
	if err := <-before; !errors.Is(err, context.Canceled) {
		t.Errorf("the call whose context ended: %v", err)
	}
	c.setFault(nil) // the list is in force all the same, and asking again finds it carried out
	c.Follow("0")
	if err := a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(true), c.member(false)}); err != nil {
		t.Fatal(err)
	}
	if got := c.has("k"); got != 1 {
		t.Errorf("the newcomer has %d", got)
	}
	if err := a.UpdateMembership(within(t, patience), "0", 7, nil); !errors.Is(err, ErrNotPrimary) {
		t.Errorf("at another term: %v", err)
	}
}

// In a planned move the next owner must have what the old one acknowledged; one that has not refuses.
func TestHandOver(t *testing.T) {
	a, b, c := startServer(t), startServer(t), startServer(t)
	primaryOf(t, 1, a, b)
	a.increment(t, 1, "k", 1)
	state, err := a.LastState("0", 1)
	if err != nil || len(state) > 16 {
		t.Fatalf("%d bytes, %v: the target has everything", len(state), err)
	}
	c.Follow("0")
	if err := c.Activate("0", 2, state); !errors.Is(err, ErrNotInSync) {
		t.Errorf("activation without the state: %v", err)
	}
	if err := b.Activate("0", 2, state); err != nil {
		t.Fatal(err)
	}
	if err := b.Activate("0", 2, state); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := b.Activate("0", 3, []byte{0xff}); err == nil {
		t.Error("a state that is none was taken")
	}
	// The source is a member in sync from the activation on: nobody has told it to step back yet.
	if err := b.UpdateMembership(within(t, patience), "0", 2, []Member{a.member(true)}); err != nil {
		t.Fatal(err)
	}
	if got := b.increment(t, 2, "k", 2); got != 2 || a.has("k") != 2 {
		t.Errorf("%d, %d at the source", got, a.has("k"))
	}
	if a.Follow("0"); a.has("k") != 2 {
		t.Errorf("%d at the source after it stepped back", a.has("k"))
	}
	if n := len(a.peers); n != 0 {
		t.Errorf("the source still sends to %d servers", n)
	}
	// Without secondaries everything goes along.
	if err := b.UpdateMembership(within(t, patience), "0", 2, nil); err != nil {
		t.Fatal(err)
	}
	if state, err = b.LastState("0", 2); err != nil {
		t.Fatal(err)
	}
	c.Drop("0")
	if err := c.Activate("0", 3, state); err != nil {
		t.Fatal(err)
	}
	if got := c.has("k"); got != 2 {
		t.Errorf("%d of 2 went along", got)
	}
	// The move is aborted: the old owner goes on with what it has.
	if err := b.Activate("0", 4, nil); err != nil {
		t.Fatal(err)
	}
	if got := b.has("k"); got != 2 {
		t.Errorf("%d of 2 is left after the abort", got)
	}
}

// What is meant for a life of the server that ended is refused; so is everything by a shard that is not here.
func TestAnotherLife(t *testing.T) {
	a, b := startServer(t), startServer(t)
	primaryOf(t, 1, a, b)
	a.increment(t, 1, "k", 1)
	b.Drop("0")
	b.incarnation.Store(2)
	b.Follow("0")
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := a.Increment(short, "0", 1, "k", RequestID{1, 2}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("acknowledged by another life: %v", err)
	}
	if got := b.has("k"); got != 0 {
		t.Errorf("the next life got %d", got)
	}
	if err := a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(false)}); err != nil {
		t.Fatal(err)
	}
	if got := b.has("k"); got != 2 {
		t.Errorf("the next life, as a member, has %d", got)
	}
	// Dropped and added again behind the primary's back: the next list finds out.
	b.Drop("0")
	b.Follow("0")
	if err := a.UpdateMembership(within(t, patience), "0", 1, []Member{b.member(false)}); err != nil {
		t.Fatal(err)
	}
	if got := b.has("k"); got != 2 {
		t.Errorf("added again, it has %d", got)
	}
}

func TestStaleness(t *testing.T) {
	a, b := startServer(t), startServer(t)
	b.Follow("0")
	if _, _, err := b.GetStale("0", "k"); !errors.Is(err, ErrNotFollowing) {
		t.Errorf("before any word of a primary: %v", err)
	}
	primaryOf(t, 1, a, b)
	a.increment(t, 1, "k", 1)
	acknowledged := time.Now()
	await(t, "confirmation after the write", func() bool {
		before := time.Now()
		value, staleness, err := b.GetStale("0", "k")
		if err == nil && value != 1 && before.Add(-staleness).After(acknowledged) {
			t.Errorf("%d, at most %s behind, though 1 was acknowledged before", value, staleness)
		}
		return err == nil && time.Now().Add(-staleness).After(acknowledged)
	})
	// A primary whose lease ended confirms nothing, though its messages arrive.
	a.owner.Store(false)
	arrived := b.received()
	await(t, "what was under way", func() bool { return b.received() >= arrived+3 })
	_, first, err := b.GetStale("0", "k")
	if err != nil {
		t.Fatal(err)
	}
	looked := time.Now()
	arrived = b.received()
	await(t, "heartbeats", func() bool { return b.received() >= arrived+3 })
	between := time.Since(looked)
	if _, later, err := b.GetStale("0", "k"); err != nil || later < first+between {
		t.Errorf("%s behind, %s later %s, %v: nobody confirmed it", first, between, later, err)
	}
	if _, _, err := a.GetStale("0", "k"); !errors.Is(err, ErrNotFollowing) {
		t.Errorf("at a primary: %v", err)
	}
}
