package embedded_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/coordtest"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
)

const testTTL = 10 * time.Second

func TestMemoryConforms(t *testing.T) {
	coordtest.Run(t, func(t *testing.T) coordtest.Harness {
		clock := newVirtual()
		engine := open(t, embedded.Config{}, clock)
		return coordtest.Harness{Store: engine, TTL: testTTL, Pass: clock.pass}
	})
}

func TestFileConforms(t *testing.T) {
	coordtest.Run(t, func(t *testing.T) coordtest.Harness {
		clock := newVirtual()
		cfg := embedded.Config{Path: filepath.Join(t.TempDir(), "store.db")}
		engine := open(t, cfg, clock)
		return coordtest.Harness{Store: engine, TTL: testTTL, Pass: clock.pass, Restart: func() coord.Store {
			closeEngine(t, engine)
			engine = open(t, cfg, clock)
			return engine
		}}
	})
}

func TestClientConforms(t *testing.T) {
	coordtest.Run(t, func(t *testing.T) coordtest.Harness {
		clock := newVirtual()
		cfg := embedded.Config{Path: filepath.Join(t.TempDir(), "store.db")}
		engine := open(t, cfg, clock)
		server := serve(t, engine)
		wire := coordtest.NewNetwork(t, server.address, coordtest.HTTP2)
		client, err := embedded.NewClient(wire.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return coordtest.Harness{
			Store: client, TTL: testTTL, Pass: clock.pass, LoseAnswers: wire.LoseAnswers, Unreachable: wire.Cut,
			Restart: func() coord.Store {
				server.stop()
				closeEngine(t, engine)
				engine = open(t, cfg, clock)
				server = serve(t, engine)
				wire.Lead(server.address)
				reach(t, client)
				return client
			},
		}
	})
}

func open(t *testing.T, cfg embedded.Config, clock *virtual) *embedded.Engine {
	t.Helper()
	engine, err := embedded.Open(cfg, embedded.Deps{Now: clock.read, After: clock.after})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeEngine(t, engine) })
	return engine
}

func closeEngine(t *testing.T, engine *embedded.Engine) {
	t.Helper()
	if err := engine.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// reach waits until the client has noticed that its old connection is gone.
func reach(t *testing.T, client *embedded.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTTL)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := client.List(ctx, ""); err == nil {
			return
		}
	}
	t.Fatal("the store is not reached after its restart")
}

type running struct {
	address string
	stop    func()
}

// serve runs a real server for the engine on a loopback port.
func serve(t *testing.T, engine *embedded.Engine) running {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(embedded.NewHandler(engine))
	server := transport.NewServer(context.Background(), mux)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(listener) })
	stop := sync.OnceFunc(func() {
		_ = server.Close()
		done.Wait()
	})
	t.Cleanup(stop)
	return running{address: listener.Addr().String(), stop: stop}
}

// virtual is a clock that moves only when told, and fires the timers on its way in order.
type virtual struct {
	mu     sync.Mutex
	armed  *sync.Cond
	now    shard.Instant
	timers map[chan time.Time]shard.Instant
}

func newVirtual() *virtual {
	v := &virtual{now: shard.Instant{Boot: 1e9, Raw: 1e9}, timers: map[chan time.Time]shard.Instant{}}
	v.armed = sync.NewCond(&v.mu)
	return v
}

func (v *virtual) read() shard.Instant {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

func (v *virtual) after(d time.Duration) (<-chan time.Time, func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fires := make(chan time.Time, 1)
	v.timers[fires] = v.now.Add(d)
	v.armed.Broadcast()
	return fires, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.timers, fires)
	}
}

// pass moves the clock by d. It waits for the store to sleep again after each timer, so that what was due has happened.
func (v *virtual) pass(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	end := v.now.Add(d)
	for {
		for len(v.timers) == 0 {
			v.armed.Wait()
		}
		var next chan time.Time
		at := end
		for fires, due := range v.timers {
			if due.Boot <= at.Boot {
				next, at = fires, due
			}
		}
		if next == nil {
			v.now = end
			return
		}
		v.fire(next, at)
	}
}

// jump moves the clock by d at once, as when the whole process was stopped for that long.
func (v *virtual) jump(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.timers) == 0 {
		v.armed.Wait()
	}
	end := v.now.Add(d)
	for fires, due := range v.timers {
		if due.Boot <= end.Boot {
			v.fire(fires, end)
		}
	}
	v.now = end
	for len(v.timers) == 0 {
		v.armed.Wait()
	}
}

func (v *virtual) fire(timer chan time.Time, at shard.Instant) {
	v.now = at
	delete(v.timers, timer)
	timer <- time.Time{}
}
