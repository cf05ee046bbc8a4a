package agent_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// The test binary plays other processes when this variable says which.
const roleVariable = "AGENT_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "application":
		playApplication()
	case "agent":
		playAgent()
	default:
		goleak.VerifyTestMain(m)
	}
}

// playApplication registers, says under what, and keeps on until it is killed.
func playApplication() {
	a, err := startApplication(os.Getenv("DIR"), os.Getenv("SOCKET"), os.Getenv("SINGLE") == "yes")
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for {
		incarnation, err := a.register(context.Background())
		if err == nil {
			fmt.Printf("registered %x\n", incarnation)
			break
		}
		fmt.Println("refused", err)
		time.Sleep(50 * time.Millisecond)
	}
	select {}
}

// playAgent is an agent at a store in another process.
func playAgent() {
	store, err := embedded.NewClient(os.Getenv("STORE"))
	if err != nil {
		panic(err)
	}
	times := func(d time.Duration) time.Duration {
		if os.Getenv("TIMES") == "default" {
			return 0
		}
		return d
	}
	a, err := agent.New(agent.Config{
		Cluster: "c", Name: "a", Listen: "127.0.0.1:0", Socket: os.Getenv("SOCKET"), StateDir: os.Getenv("DIR"), StoreAddress: os.Getenv("STORE"),
		LeaseInterval: times(interval), LeaseValidity: times(validity), Allocators: strings.Split(os.Getenv("LEADER"), ","),
	}, agent.Deps{Store: store, Log: zerolog.New(os.Stdout)})
	if err != nil {
		panic(err)
	}
	fmt.Println("ended", a.Run(context.Background()))
}

// child is a process of the test binary.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string
}

func spawn(t testing.TB, role string, environment ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), environment...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, lines: make(chan string, 1000)}
	go func() {
		defer close(c.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			c.lines <- scanner.Text()
		}
	}()
	t.Cleanup(c.kill)
	return c
}

// says waits for a line with a prefix and returns the rest.
func (c *child) says(prefix string) string {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("the process ended before it said %q", prefix)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return strings.TrimSpace(rest)
			}
		case <-deadline:
			c.t.Fatalf("waited in vain for %q", prefix)
		}
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// TestDeathOfAnApplication: its exit is seen by the pidfd and reported; it is a proof only if the process does all its work itself.
func TestDeathOfAnApplication(t *testing.T) {
	t.Parallel()
	for _, single := range []string{"yes", "no"} {
		t.Run("single process "+single, func(t *testing.T) {
			t.Parallel()
			store, l := memory(t), newLeader(t, 7)
			cfg := config(t, l)
			run(t, cfg, store)
			app := spawn(t, "application", "DIR="+short(t), "SOCKET="+cfg.Socket, "SINGLE="+single)
			incarnation := app.says("registered")
			eventually(t, "the attachment", func() bool { return l.attachedNow() == 1 })

			// A second living process is refused, and told who is there.
			other := application0(t, cfg.Socket)
			_, err := other.register(context.Background())
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", app.cmd.Process.Pid)) {
				t.Errorf("a second process: %v", err)
			}
			app.kill()
			ended := l.find("the report", func(m *pb.AttachRequest) bool { return m.GetEnded() != nil }).GetEnded()
			if fmt.Sprintf("%x", ended.GetIncarnation()) != incarnation || ended.GetProvenDead() != (single == "yes") {
				t.Errorf("reported %v, expected %s, proven: %s", ended, incarnation, single)
			}
			// Its successor gets an incarnation of its own.
			if next := other.registered(t); fmt.Sprintf("%x", next) == incarnation {
				t.Errorf("incarnation %x again", next)
			}
		})
	}
}

// TestKilledAgent: killed and started again by a supervisor, it goes on where the application is; the file, the key and the session fit.
// If the application died meanwhile, the file proves it.
func TestKilledAgent(t *testing.T) {
	t.Parallel()
	engine, l := memory(t), newLeader(t, 7)
	listener, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(embedded.NewHandler(engine))
	server := transport.NewServer(context.Background(), mux)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	dir := short(t)
	socket := "unix://" + dir + "/agent.sock"
	environment := []string{"STORE=" + listener.Addr().String(), "SOCKET=" + socket, "DIR=" + dir + "/state", "LEADER=" + l.address}
	first := spawn(t, "agent", environment...)
	app := spawn(t, "application", "DIR="+short(t), "SOCKET="+socket, "SINGLE=yes")
	incarnation := app.says("registered")
	eventually(t, "the attachment", func() bool { return l.attachedNow() == 1 })
	before, _, _ := keyOf(t, engine, "a.kv")

	first.kill()
	eventually(t, "the reset", func() bool { return l.attachedNow() == 0 })
	second := spawn(t, "agent", environment...)
	second.says(`{"level":"info","server":"a.kv","incarnation":"` + fmt.Sprintf("%016s", incarnation) + `","why":"its process`)
	if after, _, found := keyOf(t, engine, "a.kv"); !found || after.Create != before.Create {
		t.Errorf("key %+v, expected %+v", after, before)
	}

	second.kill()
	app.kill()
	spawn(t, "agent", environment...)
	ended := l.find("the report", func(m *pb.AttachRequest) bool { return m.GetEnded() != nil }).GetEnded()
	if fmt.Sprintf("%x", ended.GetIncarnation()) != incarnation || !ended.GetProvenDead() {
		t.Errorf("reported %v, expected %s proven dead", ended, incarnation)
	}
	eventually(t, "the key to go", func() bool { _, _, found := keyOf(t, engine, "a.kv"); return !found })
}

// TestPausedApplicationIsNotDead: a stopped process is no exit; the incarnation lives.
func TestPausedApplicationIsNotDead(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	r := run(t, cfg, store)
	app := spawn(t, "application", "DIR="+short(t), "SOCKET="+cfg.Socket, "SINGLE=yes")
	app.says("registered")
	if err := app.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	renewed := l.helloOf
	eventually(t, "the attachment", func() bool { return renewed() != nil })
	eventually(t, "the lease", func() bool {
		status, err := r.Status(context.Background())
		return err == nil && status.Servers[0].Remaining > 0
	})
	if _, _, found := keyOf(t, store, "a.kv"); !found {
		t.Error("a paused process was taken for a dead one")
	}
}
