package agent_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// TestDuplicateServer: a second agent of the same name is told who holds the key, and takes over once that one is gone (R26).
func TestDuplicateServer(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	one, two := config(t, l), config(t, l)
	first := run(t, one, store)
	run(t, two, store)
	held := application0(t, one.Socket).registered(t)
	late := application0(t, two.Socket)
	listening(t, two.Socket)
	_, err := late.register(context.Background())
	if err == nil || !strings.Contains(err.Error(), "held by agent a at 127.0.0.1:") || !strings.Contains(err.Error(), fmt.Sprintf("%016x", held)) {
		t.Fatalf("a duplicate: %v", err)
	}
	if _, record, _ := keyOf(t, store, "a.kv"); record.GetServer().GetIncarnation() != held {
		t.Fatal("the duplicate took the key")
	}
	first.Hurry()
	first.cancel()
	if err := first.wait(); err != nil {
		t.Fatal(err)
	}
	if next := late.registered(t); next == held {
		t.Error("the same incarnation at another agent")
	}
}

// TestOneAgentPerDirectory: the second says so.
func TestOneAgentPerDirectory(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	run(t, cfg, store)
	eventually(t, "the first", func() bool { _, err := os.Stat(strings.TrimPrefix(cfg.Socket, "unix://")); return err == nil })
	other := config(t, l)
	other.StateDir = cfg.StateDir

	if err := run(t, other, store).wait(); err == nil || !strings.Contains(err.Error(), "another agent uses it") {
		t.Errorf("the second: %v", err)
	}
}

// TestCorruptStateFile: moved aside, and a new incarnation begins; the application drops what it holds first.
func TestCorruptStateFile(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	first := run(t, cfg, store)
	app := application0(t, cfg.Socket)
	before := app.registered(t)
	eventually(t, "a lease", func() bool { return app.pull(t).GetRemainingNs() > 0 })
	go func() { _, _, _ = first.Restart(context.Background(), api.Restart{Rest: time.Second}) }()
	first.wait()

	path := filepath.Join(cfg.StateDir, "kv.state")
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	entry, _, _ := keyOf(t, store, "a.kv")
	second := run(t, cfg, store)
	eventually(t, "EndIncarnation", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = app.register(ctx)
		app.mu.Lock()
		defer app.mu.Unlock()
		return len(app.ended) > 0 && app.ended[0] == before // more than once, if an answer came too late
	})
	if aside, _ := filepath.Glob(path + ".corrupt-*"); len(aside) != 1 {
		t.Errorf("moved aside: %v", aside)
	}
	// The old session is not ours to destroy, as far as we can prove; the store ends it in its own time.
	if err := store.DestroySession(context.Background(), entry.Session); err != nil {
		t.Fatal(err)
	}
	if next := app.registered(t); next == before {
		t.Error("the old incarnation again")
	}
	_ = second
}

// TestFileOfAnotherBoot: it may be another machine's, where the application lives on: nothing is reported as proven, and its session is not
// destroyed (R26).
func TestFileOfAnotherBoot(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	other, err := store.CreateSession(context.Background(), coord.SessionSpec{TTL: time.Minute, Behavior: coord.DeleteKeys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	err = wire.WriteFile(filepath.Join(cfg.StateDir, "kv.state"), &pb.AgentState{
		Cluster: "c", Server: "a.kv", Incarnation: 5, Session: string(other), BootId: "another", Pid: 1, ExitProves: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, cfg, store)
	if i := application0(t, cfg.Socket).registered(t); i == 5 {
		t.Error("an incarnation of another boot goes on")
	}
	if lives, err := store.RenewSession(context.Background(), other); err != nil || !lives {
		t.Errorf("the session of another boot lives: %v, %v", lives, err)
	}
	eventually(t, "the attachment", func() bool { return l.attachedNow() == 1 })
	l.set(func() {
		for _, m := range l.heard {
			if m.GetEnded() != nil {
				t.Errorf("reported %v", m)
			}
		}
	})
}

// TestARefusingLeader: one that welcomes a server and then does not take what it says is asked ever less often, and soon again once it works.
func TestARefusingLeader(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	l.set(func() { l.refuses = true })
	cfg := config(t, l)
	r := run(t, cfg, store)
	app := application0(t, cfg.Socket)
	app.registered(t)
	eventually(t, "a lease", func() bool { return app.pull(t).GetRemainingNs() > 0 }) // through the store
	const asked = 8
	eventually(t, "attempts", func() bool {
		app.pull(t)
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.helloAt) >= asked
	})
	l.set(func() {
		l.refuses = false
		if first, last := l.helloAt[1].Sub(l.helloAt[0]), l.helloAt[asked-1].Sub(l.helloAt[asked-2]); last < 500*time.Millisecond {
			t.Errorf("asked again after %v, and at last after %v", first, last)
		}
	})
	eventually(t, "the word of a leader that works", func() bool {
		app.pull(t)
		status, err := r.Status(context.Background())
		return err == nil && status.Servers[0].VouchedBy == roster.ByLeader && l.attachedNow() == 1
	})
}

// listening waits until somebody listens at a socket; its file is there a moment earlier.
func listening(t *testing.T, socket string) {
	t.Helper()
	eventually(t, "somebody listens at the socket", func() bool {
		conn, err := net.Dial("unix", strings.TrimPrefix(socket, "unix://"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// lossy is a store whose transactions lose their answers.
type lossy struct {
	coord.Store
	mode atomic.Int32 // of the next transaction: 0 normal, 1 committed but unanswered, 2 unanswered and not committed
}

func (s *lossy) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	switch s.mode.Swap(0) {
	case 1:
		if _, err := s.Store.Txn(ctx, ops); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("connection lost: %w", coord.ErrUnknown)
	case 2:
		return 0, fmt.Errorf("connection lost: %w", coord.ErrUnknown)
	}
	return s.Store.Txn(ctx, ops)
}

// TestUnknownOutcome: the key is read again, and says whether we hold it (R12).
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for mode, want := range map[int32]string{1: "", 2: "outcome unknown"} {
		store, l := &lossy{Store: memory(t)}, newLeader(t, 7)
		cfg := config(t, l)
		run(t, cfg, store)
		app := application0(t, cfg.Socket)
		listening(t, cfg.Socket)
		store.mode.Store(mode)
		incarnation, err := app.register(context.Background())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("mode %d: %v, expected %q", mode, err, want)
		}
		if again := app.registered(t); incarnation != 0 && again != incarnation {
			t.Errorf("mode %d: incarnations %x and %x", mode, incarnation, again)
		}
		if entry, record, _ := keyOf(t, store, "a.kv"); entry.Session == "" || record.GetServer().GetIncarnation() != app.request().GetIncarnation() {
			t.Errorf("mode %d: key %v", mode, record)
		}
	}
}

// TestForeignAndUnallowed: an app that the agent does not serve, and a name that cannot be one.
func TestForeignAndUnallowed(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	cfg.Apps = []string{"other"}
	run(t, cfg, store)
	app := application0(t, cfg.Socket)
	eventually(t, "a refusal", func() bool {
		_, err := app.register(context.Background())
		return err != nil && strings.Contains(err.Error(), "serves [other] only")
	})
	for field, change := range map[string]func(){
		"app": func() {}, "pid": func() {}, "host_address": func() {}, "data_address": func() {},
	} {
		request := app.request()
		change()
		switch field {
		case "app":
			request.App = "../x"
		case "pid":
			request.Pid = 0
		case "host_address":
			request.HostAddress = ""
		case "data_address":
			request.DataAddress = "http://h:1"
		}
		if _, err := app.agent.Register(context.Background(), request); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestConfig: what is wrong is named, field by field.
func TestConfig(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*agent.Config){
		"cluster":              func(c *agent.Config) { c.Cluster = "A_b" },
		"name":                 func(c *agent.Config) { c.Name = "a.b" },
		"listen":               func(c *agent.Config) { c.Listen = "7420" },
		"advertise":            func(c *agent.Config) { c.Listen = ":7420" },
		"socket":               func(c *agent.Config) { c.Socket = "/run/agent.sock" },
		"store":                func(c *agent.Config) { c.Store = "etcd" },
		"allocators[0]":        func(c *agent.Config) { c.Allocators = []string{"x"} },
		"apps[1]":              func(c *agent.Config) { c.Apps = []string{"kv", "k v"} },
		"capacity.keys":        func(c *agent.Config) { c.Capacity = map[string]int64{"keys": -1} },
		"capacity_measured[1]": func(c *agent.Config) { c.CapacityMeasured = []string{"all", "cpu"} },
		"profile":              func(c *agent.Config) { c.Profile = "slow" },
		"lease_interval":       func(c *agent.Config) { c.LeaseInterval = time.Millisecond },
		"lease_validity":       func(c *agent.Config) { c.LeaseValidity = time.Second },
		"drain_timeout":        func(c *agent.Config) { c.DrainTimeout = -1 },
	} {
		cfg := agent.Config{Cluster: "c", Allocators: []string{"h:7410"}}
		cfg = cfg.WithDefaults()
		change(&cfg)
		_, err := agent.New(cfg, agent.Deps{Store: memory(t), Log: zerolog.Nop()})
		if err == nil || !strings.Contains(err.Error(), field+": ") || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%s: %v", field, err)
		}
	}
	fast := agent.Config{Cluster: "c", Name: "a", Profile: "fast", Allocators: []string{"h:7410"}}.WithDefaults()
	if err := fast.Validate(); err != nil || fast.LeaseInterval != 500*time.Millisecond || fast.LeaseValidity != 2500*time.Millisecond {
		t.Errorf("profile fast: %+v, %v", fast, err)
	}
}
