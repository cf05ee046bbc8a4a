package virtual

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// memory keeps values in memory and hands them over in planned moves, as a whole.
type memory struct {
	fault string

	mu     sync.Mutex
	values map[string]string
}

func (m *memory) Activate(_ context.Context, s sdk.Shard, state []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if state != nil {
		m.values[s.ID] = string(state)
	}
	return nil
}

func (m *memory) AddShard(context.Context, sdk.Shard) error { return nil }

func (m *memory) LastState(_ context.Context, s sdk.Shard) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value := m.values[s.ID]
	if m.fault == "forgets in LastState" {
		delete(m.values, s.ID)
	}
	return []byte(value), nil
}

func (m *memory) DropShard(_ context.Context, s sdk.Shard) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, s.ID)
	return nil
}

func (m *memory) write(at sdk.Shard, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[at.ID] = value
}

func (m *memory) read(at sdk.Shard) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[at.ID]
}

func memoryApp(fault string) func(*ownership.Checker) sdktest.App {
	return func(*ownership.Checker) sdktest.App {
		return sdktest.App{
			New: func(testing.TB, string) sdk.Handler { return &memory{values: map[string]string{}, fault: fault} },
			Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
				h.(*memory).write(s, value)
				return nil
			},
			Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) { return h.(*memory).read(s), nil },
		}
	}
}

// A service that keeps its state in memory loses it in crashes, and in planned moves nothing.
func TestMemory(t *testing.T) {
	moves := func(t *testing.T, c *Cluster) {
		c.Load(1, 100*time.Millisecond)
		for range 5 {
			for _, s := range c.Servers() {
				c.moveSome(s.Name)
				c.WaitServed(time.Minute)
				c.Drain(s.Name)
				c.WaitServed(time.Minute)
				c.Undrain(s.Name)
			}
		}
	}
	Test(t, Config{App: memoryApp("")}, moves)
	Chaos(t, Config{App: memoryApp("")}, 1, 5*time.Minute)

	// The target hears of the hand-over, and cannot say so: the move is called off, and the source goes on with what it has in memory.
	calledOff := func(t *testing.T, c *Cluster) {
		id := c.Shards()[0]
		first := c.Owner(id)
		must(t, c.Write(id, "one"))
		c.Misbehave(func(call ownership.Call) Behaviour {
			if call.Shard == id && call.Server != first && call.Callback == "Activate" {
				return Behaviour{Fail: errors.New("not now")}
			}
			return Behaviour{}
		})
		c.Move(id, other(first))
		c.WaitServed(SettleTime)
		must(t, c.Read(id))
	}
	Test(t, Config{App: memoryApp("")}, calledOff)
	found := Run(t, Config{App: memoryApp("forgets in LastState")}, calledOff)
	wants(t, found, "an acknowledged write was lost")
}

func wants(t *testing.T, found []ownership.Violation, want string) {
	t.Helper()
	for _, v := range found {
		if containsAll(v.String(), want) {
			t.Log(v)
			return
		}
	}
	t.Errorf("violations %v, want one that says %q", found, want)
}

// replicated sends what it acknowledges to its secondaries, by calls in one process.
type replicated struct {
	memory
	name  string
	peers *peers
	fault string

	lock    sync.Mutex
	terms   map[string]uint64
	members map[string][]sdk.Member
}

// peers finds replicas by the servers' ids and incarnations.
type peers struct {
	mu    sync.Mutex
	hosts map[string]*replicated
}

func (p *peers) find(server string) *replicated {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[server]
}

func (r *replicated) Activate(_ context.Context, s sdk.Shard, _ []byte) error {
	return r.raise(s.ID, s.Term)
}

func (r *replicated) raise(id string, term uint64) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	if term < r.terms[id] {
		return fmt.Errorf("term %d is below %d", term, r.terms[id])
	}
	r.terms[id] = term
	return nil
}

func (r *replicated) LastState(context.Context, sdk.Shard) ([]byte, error) {
	return nil, errors.New("replicas have it")
}

func (r *replicated) ChangeRole(context.Context, sdk.Shard, sdk.Role, sdk.Role) error { return nil }

func (r *replicated) UpdateMembership(_ context.Context, s sdk.Shard, members []sdk.Member) error {
	r.lock.Lock()
	r.members[s.ID] = members
	r.lock.Unlock()
	if r.fault == "tells members nothing" {
		return nil
	}
	return r.replicate(s, r.read(s), members)
}

// replicate has all members take a value.
func (r *replicated) replicate(s sdk.Shard, value string, members []sdk.Member) error {
	for _, m := range members {
		peer := r.peers.find(m.Server)
		if peer == nil {
			return fmt.Errorf("member %s: nobody is there", m.Server)
		}
		if err := peer.raise(s.ID, s.Term); err != nil {
			return err
		}
		peer.write(s, value)
	}
	return nil
}

func replicatedApp(fault string) func(*ownership.Checker) sdktest.App {
	return func(*ownership.Checker) sdktest.App {
		all := &peers{hosts: map[string]*replicated{}}
		return sdktest.App{
			New: func(_ testing.TB, server string) sdk.Handler {
				r := &replicated{memory: memory{values: map[string]string{}}, name: server, peers: all, fault: fault, terms: map[string]uint64{}, members: map[string][]sdk.Member{}}
				all.mu.Lock()
				defer all.mu.Unlock()
				all.hosts[server+"."+AppName] = r
				return r
			},
			Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
				r := h.(*replicated)
				r.lock.Lock()
				members := r.members[s.ID]
				stale := s.Term < r.terms[s.ID]
				r.lock.Unlock()
				if stale {
					return errors.New("an old term")
				}
				r.write(s, value)
				return r.replicate(s, value, members)
			},
			Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
				return h.(*replicated).read(s), nil
			},
		}
	}
}

// Secondaries take over what was acknowledged.
func TestSecondaries(t *testing.T) {
	play := func(t *testing.T, c *Cluster) {
		c.Load(1, 200*time.Millisecond)
		for _, s := range c.Servers() {
			c.Kill(s.Name)
			time.Sleep(time.Minute)
			c.Restart(s.Name)
			c.WaitServed(time.Minute)
			c.Drain(s.Name)
			c.WaitServed(time.Minute)
			c.Undrain(s.Name)
			c.WaitServed(time.Minute)
		}
	}
	cfg := Config{App: replicatedApp(""), Servers: 4, Shards: 8, Secondaries: 1}
	Test(t, cfg, play)
	cfg.App = replicatedApp("tells members nothing")
	wants(t, Run(t, cfg, func(t *testing.T, c *Cluster) {
		id := c.Shards()[0]
		must(t, c.Write(id, "one"))
		first := c.Owner(id)
		c.Kill(first)
		c.WaitServed(time.Minute) // a secondary took over, and there is a new one that knows nothing
		second := c.Owner(id)
		c.Restart(first)
		c.Kill(second)
		c.WaitServed(time.Minute)
		must(t, c.Read(id))
	}), "an acknowledged write was lost")
}

// streamed is memory that takes its state along as a stream.
type streamed struct {
	memory
	lock     sync.Mutex
	received map[string]string
}

func (m *streamed) StreamState(_ context.Context, s sdk.Shard, _ sdk.Peer, w io.Writer) error {
	_, err := io.WriteString(w, m.read(s))
	return err
}

func (m *streamed) StateDelta(_ context.Context, s sdk.Shard, _ sdk.Peer) ([]byte, error) {
	return []byte(m.read(s)), nil
}

func (m *streamed) EndState(sdk.Shard, sdk.Peer) {}

func (m *streamed) ReceiveState(_ context.Context, s sdk.Shard, _ sdk.Peer, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	m.received[s.ID] = string(content)
	return nil
}

func (m *streamed) Activate(ctx context.Context, s sdk.Shard, state []byte) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	if received, ok := m.received[s.ID]; ok && state != nil && len(state) == 0 {
		state = []byte(received)
	}
	return m.memory.Activate(ctx, s, state)
}

// Streams of state go through the network in memory too.
func TestStreams(t *testing.T) {
	app := func(*ownership.Checker) sdktest.App {
		return sdktest.App{
			New: func(testing.TB, string) sdk.Handler {
				return &streamed{memory: memory{values: map[string]string{}}, received: map[string]string{}}
			},
			Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
				h.(*streamed).write(s, value)
				return nil
			},
			Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) { return h.(*streamed).read(s), nil },
		}
	}
	Test(t, Config{App: app}, func(t *testing.T, c *Cluster) {
		c.Load(1, 100*time.Millisecond)
		for _, s := range c.Servers() {
			c.moveSome(s.Name)
			c.WaitServed(time.Minute)
		}
		if !containsAll(fmt.Sprint(c.Checker().History(c.Shards()[0])), "StreamState", "ReceiveState", "StateDelta") {
			t.Errorf("nothing was streamed: %v", c.Checker().History(c.Shards()[0]))
		}
	})
}
