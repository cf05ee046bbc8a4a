package mapfeed

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func TestNewFollowerRefuses(t *testing.T) {
	for name, addresses := range map[string][]string{"no address": nil, "bad address": {"nowhere"}} {
		if _, err := NewFollower(FollowerConfig{App: testApp, Addresses: addresses}, func(Update) {}, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// The first address that answers is followed; when it goes away the next is, from the version reached.
func TestFollowerRotates(t *testing.T) {
	one, two := NewHub(HubConfig{}), NewHub(HubConfig{})
	addressOne, stopOne := serve(t, one)
	addressTwo, _ := serve(t, two)
	for _, h := range []*Hub{one, two} {
		h.Set(testMap(t, version(1, 1)))
	}
	f, updates, troubles := follow(t, FollowerConfig{Addresses: []string{closedAddress(t), addressOne, addressTwo}})
	if u := next(t, updates, "map"); u.Delta != nil || u.Map.Version != version(1, 1) || f.Following() != addressOne {
		t.Fatalf("map %s from %s, want all of 0.1.1 from %s", u.Map.Version, f.Following(), addressOne)
	}
	d := move(version(1, 1), 1, "b.kv")
	mustApply(t, one, d)
	if u := next(t, updates, "delta"); u.Delta == nil || u.Map.Version != d.Version {
		t.Fatalf("update to %s, want the delta to %s", u.Map.Version, d.Version)
	}
	stopOne()
	if err := next(t, troubles, "trouble"); !strings.Contains(err.Error(), addressOne) {
		t.Errorf("trouble %q does not name %s", err, addressOne)
	}
	mustApply(t, two, d, move(d.Version, 2, "b.kv"))
	u := next(t, updates, "delta")
	if u.Delta == nil || u.Map.Version != version(1, 3) || f.Following() != addressTwo {
		t.Fatalf("update to %s (delta %t) from %s, want the delta to 0.1.3 from %s", u.Map.Version, u.Delta != nil, f.Following(), addressTwo)
	}
	want, _ := two.Map(testApp)
	sameMap(t, u.Map, want)
	sameMap(t, f.Map(), want)
}

// A hub that lags behind changes nothing; a newer epoch's map replaces everything (R23).
func TestFollowerKeepsVersionsGrowing(t *testing.T) {
	course := []*pb.WatchResponse{
		snapshotOf(testMap(t, version(4, 9))), deltaOf(move(version(4, 9), 1, "b.kv")), snapshotOf(testMap(t, version(5, 1))),
		deltaOf(move(version(5, 1), 1, "b.kv")), deltaOf(move(version(5, 2), 1, "a.kv")), snapshotOf(testMap(t, version(6, 1))),
		snapshotOf(testMap(t, version(5, 9))), deltaOf(move(version(6, 1), 2, "b.kv")),
	}
	address, _ := serve(t, newScript(func(_ *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
		for _, m := range course {
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		return nil
	}))
	f, updates, _ := follow(t, FollowerConfig{Addresses: []string{address}, Start: testMap(t, version(5, 2))})
	for _, want := range []struct {
		v     shard.Version
		delta bool
	}{{version(5, 3), true}, {version(6, 1), false}, {version(6, 2), true}} {
		if u := next(t, updates, "update"); u.Map.Version != want.v || (u.Delta != nil) != want.delta {
			t.Fatalf("update to %s (delta %t), want to %s (delta %t)", u.Map.Version, u.Delta != nil, want.v, want.delta)
		}
	}
	if f.Map().Version != version(6, 2) {
		t.Errorf("map %s, want 0.6.2", f.Map().Version)
	}
}

// A change that is missing leads to a whole map, not to a wrong one.
func TestFollowerGap(t *testing.T) {
	m := testMap(t, version(1, 1))
	whole := testMap(t, version(1, 6))
	s := newScript(func(req *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
		if req.Resume != nil {
			return stream.Send(deltaOf(move(version(1, 4), 1, "b.kv"))) // 0.1.2 to 0.1.4 are missing
		}
		return stream.Send(snapshotOf(whole))
	})
	address, _ := serve(t, s)
	_, updates, troubles := follow(t, FollowerConfig{Addresses: []string{address}, Start: m})
	next(t, troubles, "trouble")
	if u := next(t, updates, "map"); u.Map.Version != whole.Version || u.Delta != nil {
		t.Errorf("update to %s, want all of %s", u.Map.Version, whole.Version)
	}
	if first := next(t, s.requests, "request"); wire.VersionFromProto(first.Resume) != m.Version {
		t.Errorf("first asked from %s, want %s", wire.VersionFromProto(first.Resume), m.Version)
	}
	if again := next(t, s.requests, "request"); again.Resume != nil {
		t.Errorf("asked from %s after a gap, want a whole map", wire.VersionFromProto(again.Resume))
	}
}

// What is not a map of this app is refused, and another address is tried.
func TestFollowerRefusesNonsense(t *testing.T) {
	good := NewHub(HubConfig{})
	good.Set(testMap(t, version(1, 1)))
	goodAddress, _ := serve(t, good)
	other, err := shard.NewMap("other", version(9, 9), shard.HashSpace{Shards: 8}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	broken := wire.SnapshotToProto(testMap(t, version(9, 9)))
	broken.Primaries = broken.Primaries[:3]
	for name, message := range map[string]*pb.WatchResponse{
		"another app": snapshotOf(other), "broken": {Message: &pb.WatchResponse_Snapshot{Snapshot: broken}}, "delta first": deltaOf(move(version(9, 8), 1, "a.kv")),
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := serve(t, newScript(func(_ *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
				return stream.Send(message)
			}))
			_, updates, troubles := follow(t, FollowerConfig{Addresses: []string{address, goodAddress}})
			next(t, troubles, "trouble")
			if u := next(t, updates, "map"); u.Map.Version != version(1, 1) {
				t.Errorf("map %s, want the good hub's 0.1.1", u.Map.Version)
			}
		})
	}
}

// A feed that says nothing any more is left, though its connection stands.
func TestFollowerLeavesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mute := newScript(func(_ *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
			return stream.Send(snapshotOf(testMap(t, version(1, 1))))
		})
		h := NewHub(HubConfig{})
		h.Set(testMap(t, version(1, 2)))
		const muteAddress, address = "127.0.0.1:1", "127.0.0.1:2"
		networks := map[string]*pipeListener{muteAddress: newPipeListener(), address: newPipeListener()}
		serveOn(t, networks[muteAddress], mute)
		serveOn(t, networks[address], h)
		dial := func(to string) (transport.Endpoint, error) { return networks[to].endpoint(to) }
		f, updates, troubles := follow(t, FollowerConfig{Addresses: []string{muteAddress, address}, Dial: dial})
		if u := next(t, updates, "map"); u.Map.Version != version(1, 1) {
			t.Fatalf("map %s, want the mute one's 0.1.1", u.Map.Version)
		}
		began := time.Now()
		if err := next(t, troubles, "trouble"); !errors.Is(err, errSilent) || time.Since(began) > Silence {
			t.Errorf("trouble %q after %s, want silence within %s", err, time.Since(began), Silence)
		}
		if u := next(t, updates, "map"); u.Map.Version != version(1, 2) || f.Following() != address {
			t.Errorf("map %s from %s, want 0.1.2 from %s", u.Map.Version, f.Following(), address)
		}
	})
}

// Driven away from its preferred address, a follower goes back once that answers, and misses nothing on the way.
func TestFollowerReturns(t *testing.T) {
	preferredListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	preferred := preferredListener.Addr().String()
	_ = preferredListener.Close()
	h := NewHub(HubConfig{})
	h.Set(testMap(t, version(1, 1)))
	other, _ := serve(t, h)
	f, updates, troubles := follow(t, FollowerConfig{Addresses: []string{preferred, other}, Preferred: 1, Return: 20 * time.Millisecond, Silence: patience})
	next(t, updates, "map")
	if f.Following() != other {
		t.Fatalf("following %s, want %s", f.Following(), other)
	}
	listener, err := transport.Listen(preferred)
	if err != nil {
		t.Skip("the port was taken meanwhile:", err)
	}
	serveOn(t, listener, h)
	v := version(1, 1)
	for deadline := time.Now().Add(patience); f.Following() != preferred; {
		if time.Now().After(deadline) {
			t.Fatal("did not return to the preferred address")
		}
		d := move(v, 1, "b.kv")
		mustApply(t, h, d)
		v = d.Version
		if u := next(t, updates, "delta"); u.Map.Version != v || u.Delta == nil {
			t.Fatalf("update to %s (delta %t), want the delta to %s", u.Map.Version, u.Delta != nil, v)
		}
	}
	select {
	case err := <-troubles:
		t.Errorf("trouble on the way: %v", err)
	default:
	}
}

// A preferred address that does not answer holds nothing up when the feed breaks meanwhile.
func TestFollowerDoesNotWaitForThePreferred(t *testing.T) {
	var refused atomic.Bool
	mute := newScript(func(*pb.WatchRequest, *connect.ServerStream[pb.WatchResponse]) error {
		if !refused.Swap(true) {
			return errors.New("not yet")
		}
		return nil // and says nothing
	})
	preferred, _ := serve(t, mute)
	h := NewHub(HubConfig{})
	h.Set(testMap(t, version(1, 1)))
	one, stopOne := serve(t, h)
	two, _ := serve(t, h)
	const silence = patience
	f, updates, _ := follow(t, FollowerConfig{Addresses: []string{preferred, one, two}, Preferred: 1, Return: 10 * time.Millisecond, Silence: silence})
	next(t, updates, "map")
	next(t, mute.requests, "first request")
	next(t, mute.requests, "request for a return")
	began := time.Now()
	stopOne()
	mustApply(t, h, move(version(1, 1), 1, "b.kv"))
	next(t, updates, "delta")
	if waited := time.Since(began); waited > silence/2 || f.Following() != two {
		t.Errorf("followed %s after %s, want %s at once", f.Following(), waited, two)
	}
}

// An idle hub keeps its followers for an hour, with nothing but keep-alives; once it is cut off, they notice within the silence.
func TestKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipeListener()
		h := NewHub(HubConfig{})
		h.Set(testMap(t, version(1, 1)))
		stop := serveOn(t, pipes, h)
		updates, troubles := make(chan Update, 10), make(chan error, 100)
		f, err := NewFollower(FollowerConfig{App: testApp, Addresses: []string{"127.0.0.1:1"}, Dial: pipes.endpoint},
			func(u Update) { updates <- u }, func(err error) { troubles <- err })
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = f.Run(ctx) })
		<-updates
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(troubles) > 0 || len(updates) > 0 {
			t.Errorf("%d troubles and %d updates in an hour without change: %v", len(troubles), len(updates), <-troubles)
		}
		pipes.freeze()
		began := time.Now()
		<-troubles // the server's own pings go unanswered first
		if noticed := time.Since(began); noticed > Silence {
			t.Errorf("silence noticed after %s, want at most %s", noticed, Silence)
		}
		cancel()
		running.Wait()
		pipes.thaw()
		stop()
		_ = pipes.Close()
	})
}

// pipeListener joins clients and a server by pipes in memory, which can be made to swallow what the server says.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	frozen chan struct{} // not nil: writes of the server wait for it
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return &frozenConn{Conn: c, listener: l}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = make(chan struct{})
}

func (l *pipeListener) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.frozen)
	l.frozen = nil
}

// endpoint dials by pipe, without HTTP/2 pings: the silence itself is to be noticed.
func (l *pipeListener) endpoint(string) (transport.Endpoint, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			return ours, nil
		case <-l.closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return transport.Endpoint{Client: &http.Client{Transport: &http.Transport{Protocols: protocols, DialContext: dial}}, URL: "http://pipe"}, nil
}

type frozenConn struct {
	net.Conn
	listener *pipeListener
}

func (c *frozenConn) Write(p []byte) (int, error) {
	c.listener.mu.Lock()
	frozen := c.listener.frozen
	c.listener.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	return c.Conn.Write(p)
}

var _ shardmanagerv1connect.ShardMapServiceHandler = (*script)(nil)

// lagging is a hub with a map that was up to date a minute ago.
func lagging(t *testing.T) *Hub {
	h := NewHub(HubConfig{Vouched: elsewhere})
	h.Set(testMap(t, version(1, 1)))
	h.Heard(testApp, time.Now().Add(-time.Minute))
	return h
}

// A hub that has not heard of the leader for long is left for one that has, without losing the feed that there is.
func TestFollowerLeavesAHubThatLagsBehind(t *testing.T) {
	good := NewHub(HubConfig{})
	good.Set(testMap(t, version(1, 1)))
	d := move(version(1, 1), 1, "b.kv")
	mustApply(t, good, d)
	behind, _ := serve(t, lagging(t))
	ahead, _ := serve(t, good)
	f, updates, troubles := follow(t, FollowerConfig{Addresses: []string{behind, closedAddress(t), ahead}, Stale: 50 * time.Millisecond})
	if u := next(t, updates, "map"); u.Map.Version != version(1, 1) {
		t.Fatalf("map %s, want 0.1.1 of the hub that lags behind: an old map is better than none", u.Map.Version)
	}
	if u := next(t, updates, "delta"); u.Map.Version != d.Version || f.Following() != ahead {
		t.Errorf("update to %s from %s, want %s from %s", u.Map.Version, f.Following(), d.Version, ahead)
	}
	select {
	case err := <-troubles:
		t.Errorf("trouble: %v", err)
	default:
	}
}

// saying is a hub that says how old its map may be, then gives it, and neither again.
func saying(t *testing.T, now func() (behind time.Duration, v shard.Version)) *script {
	return newScript(func(_ *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
		behind, v := now()
		alive := &pb.KeepAlive{BehindMs: uint64(behind.Milliseconds())}
		if err := stream.Send(&pb.WatchResponse{Message: &pb.WatchResponse_KeepAlive{KeepAlive: alive}}); err != nil {
			return err
		}
		return stream.Send(snapshotOf(testMap(t, v)))
	})
}

// Where all hubs lag behind the first one is as good as any other, and nobody goes from one to the next.
func TestFollowerStaysWhereAllLagBehind(t *testing.T) {
	old := func() (time.Duration, shard.Version) { return time.Minute, version(1, 1) }
	one, two := saying(t, old), saying(t, old)
	first, _ := serve(t, one)
	second, _ := serve(t, two)
	f, updates, _ := follow(t, FollowerConfig{Addresses: []string{first, second}, Stale: 20 * time.Millisecond, Silence: patience})
	next(t, updates, "map")
	for range 4 {
		next(t, two.requests, "look at the other address")
	}
	if again := len(one.requests) - 1; again != 0 || f.Following() != first {
		t.Errorf("went back to %s %d times and follows %q: the other is no better", first, again, f.Following())
	}
}

// Followers look ever less often while nobody has heard of the leader, and soon again when their hub loses it after it had caught up.
func TestFollowerLooksSoonInTheNextOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caughtUp := make(chan struct{})
		one := newScript(func(_ *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
			for _, alive := range []*pb.KeepAlive{{BehindMs: uint64(time.Hour.Milliseconds())}, {}} {
				if err := stream.Send(&pb.WatchResponse{Message: &pb.WatchResponse_KeepAlive{KeepAlive: alive}}); err != nil {
					return err
				}
				if alive.BehindMs > 0 {
					<-caughtUp
				}
			}
			return nil
		})
		two := saying(t, func() (time.Duration, shard.Version) { return time.Hour, version(1, 1) })
		const first, second = "127.0.0.1:1", "127.0.0.1:2"
		networks := map[string]*pipeListener{first: newPipeListener(), second: newPipeListener()}
		serveOn(t, networks[first], one)
		serveOn(t, networks[second], two)
		dial := func(to string) (transport.Endpoint, error) { return networks[to].endpoint(to) }
		follow(t, FollowerConfig{Addresses: []string{first, second}, Dial: dial, Silence: 24 * time.Hour, Return: time.Hour, Stale: time.Minute})
		looked := time.Now()
		for range 6 { // the last pauses are of a quarter and half an hour
			<-two.requests
			looked = time.Now()
		}
		close(caughtUp)
		<-two.requests
		if after := time.Since(looked); after > 3*time.Minute {
			t.Errorf("looked %v after the hub had caught up and lost the leader again", after)
		}
	})
}

// A preferred address whose hub lags behind is left, and gone back to when it has heard of the leader again, not before.
func TestFollowerReturnsToAPreferredHubThatCaughtUp(t *testing.T) {
	var caughtUp atomic.Bool
	own := saying(t, func() (time.Duration, shard.Version) {
		if caughtUp.Load() {
			return 0, version(1, 3)
		}
		return time.Hour, version(1, 1)
	})
	good := saying(t, func() (time.Duration, shard.Version) { return 0, version(1, 2) })
	preferred, _ := serve(t, own)
	other, _ := serve(t, good)
	cfg := FollowerConfig{Addresses: []string{preferred, other}, Preferred: 1, Stale: time.Second, Return: 20 * time.Millisecond, Silence: patience}
	f, updates, _ := follow(t, cfg)
	for next(t, updates, "update").Map.Version != version(1, 2) {
	}
	next(t, own.requests, "first request")
	for range 4 {
		next(t, own.requests, "look at the preferred address")
	}
	if again := len(good.requests) - 1; again != 0 || f.Following() != other {
		t.Errorf("went back to %s %d times and follows %q: the preferred one lags behind", other, again, f.Following())
	}
	caughtUp.Store(true)
	for next(t, updates, "update").Map.Version != version(1, 3) {
	}
	if f.Following() != preferred {
		t.Errorf("follows %s, although the preferred address has caught up", f.Following())
	}
}
