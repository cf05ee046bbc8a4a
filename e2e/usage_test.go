package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/sdk"
)

// roleVariable makes the test binary play another program.
const roleVariable = "E2E_ROLE"

// What the application uses when it is told to, and what its group allows it.
const (
	burnedBytes = 128 << 20
	limitBytes  = 512 << 20
	limitMilli  = 500
)

// nothing takes shards and does nothing with them.
type nothing struct{}

func (nothing) AddShard(context.Context, sdk.Shard) error  { return nil }
func (nothing) DropShard(context.Context, sdk.Shard) error { return nil }

// burn is an application that registers, and from SIGUSR1 on keeps memory and a core busy.
func burn() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "burn:", err)
		os.Exit(1)
	}
	started := make(chan os.Signal, 1)
	signal.Notify(started, syscall.SIGUSR1)
	listener, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	host, err := sdk.NewHost("burn", nothing{}, sdk.WithDataAddress(listener.Addr().String()))
	if err != nil {
		fail(err)
	}
	mux := http.NewServeMux()
	mux.Handle(host.Handler())
	go func() { fail(transport.NewServer(context.Background(), mux).Serve(listener)) }()
	go func() { fail(host.Run(context.Background())) }()
	<-started
	memory := make([]byte, burnedBytes)
	for source := rand.NewChaCha8([32]byte{}); ; {
		_, _ = source.Read(memory) // never fails
	}
}

// daemon runs a program until the end of the test, which fails if it ends before.
func daemon(t *testing.T, name string, environment []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), environment...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		select {
		case err := <-ended:
			t.Errorf("%v ended: %v", args, err)
		default:
			_ = cmd.Process.Kill()
			<-ended
		}
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s %v:\n%s", filepath.Base(name), args, text)
		}
		_ = log.Close()
	})
	return cmd
}

// enclose puts a process into a control group of its own with limits; false if this machine does not let us. What it made is taken away by
// leave, once the process has ended.
func enclose(t *testing.T, pid int) (limited bool, leave func()) {
	t.Helper()
	settings := map[string]map[string]string{ // of version 1, each hierarchy at its usual place
		"/sys/fs/cgroup/memory":  {"memory.limit_in_bytes": strconv.Itoa(limitBytes)},
		"/sys/fs/cgroup/cpu":     {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": strconv.Itoa(limitMilli * 100)},
		"/sys/fs/cgroup/cpuacct": {},
	}
	var err error
	if _, unified := os.Stat("/sys/fs/cgroup/cgroup.controllers"); unified == nil { // version 2
		err = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory +cpu"), 0)
		settings = map[string]map[string]string{"/sys/fs/cgroup": {"memory.max": strconv.Itoa(limitBytes), "cpu.max": strconv.Itoa(limitMilli*100) + " 100000"}}
	}
	var made []string
	for hierarchy, files := range settings {
		dir := filepath.Join(hierarchy, fmt.Sprintf("shardmanager-e2e-%d", pid))
		if failed := os.Mkdir(dir, 0o755); !errors.Is(failed, os.ErrExist) { // cpu and cpuacct may be one
			err = errors.Join(err, failed)
			made = append(made, dir)
		}
		for file, value := range files {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, file), []byte(value), 0))
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
	}
	if err != nil {
		t.Logf("the application gets no group of its own: %v", err)
	}
	return err == nil, func() {
		for _, dir := range made {
			_ = os.Remove(dir)
		}
	}
}

type resources struct{ Used, Limit map[string]json.Number }

func (r resources) of(metric string) (used, limit int64) {
	used, _ = r.Used[metric].Int64()
	limit, _ = r.Limit[metric].Int64()
	return used, limit
}

// shown is what `servers -o json` shows of the one server.
type shown struct {
	Server struct{ Capacity map[string]json.Number }
	Usage  struct{ Host, Cgroup resources }
}

// A process that works, and one that takes memory, shows in `servers` within seconds: at its host, and at its group where it has one.
func TestUsageShows(t *testing.T) {
	t.Parallel()
	dir, free := t.TempDir(), ports.New()
	address := func() string {
		a, err := free.Take(0)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	store, data, admin, listen := address(), address(), address(), address()
	sockets, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	socket := "unix://" + filepath.Join(sockets, "agent.sock")

	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	daemon(t, binary, nil, "store", "--listen", store, "--data-dir", filepath.Join(dir, "store"))
	daemon(t, binary, nil, "allocator", "--cluster", "e2e", "--name", "a1", "--listen", data, "--admin-listen", admin, "--store-address", store, "--state-dir", filepath.Join(dir, "a1"))
	limited, leave := false, func() {}
	t.Cleanup(func() { leave() }) // after the application has ended
	app := daemon(t, program, []string{roleVariable + "=burn", sdk.AgentAddressVariable + "=" + socket})
	limited, leave = enclose(t, app.Process.Pid)
	daemon(t, binary, nil, "agent", "--cluster", "e2e", "--name", "n1", "--listen", listen, "--socket", socket, "--allocators", data, "--store-address", store,
		"--state-dir", filepath.Join(dir, "n1"), "--capacity-measured", "all", "--capacity", "disk_bytes=77")

	idle := servers(t, admin, "usage of the server", func(s shown) bool {
		_, cores := s.Usage.Host.of("cpu_milli")
		used, size := s.Usage.Host.of("memory_bytes")
		disk, _ := s.Usage.Host.of("disk_bytes")
		return s.Usage.Host.Used["cpu_milli"] != "" && cores >= 1000 && used > 0 && size > used && disk > 0
	})
	if got := idle.Server.Capacity; got["disk_bytes"] != "77" || got["cpu_milli"] == "" || got["memory_bytes"] == "" {
		t.Errorf("capacity %v, expected it measured but for the disk", got)
	}
	if limited {
		if got := idle.Server.Capacity; got["memory_bytes"] != json.Number(strconv.Itoa(limitBytes)) || got["cpu_milli"] != json.Number(strconv.Itoa(limitMilli)) {
			t.Errorf("capacity %v, expected the limits of the group", got)
		}
		if used, _ := idle.Usage.Cgroup.of("memory_bytes"); used >= burnedBytes {
			t.Fatalf("the group uses %d bytes before anything begins", used)
		}
	}
	began := time.Now()
	if err := app.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	servers(t, admin, "the work to show", func(s shown) bool {
		host, _ := s.Usage.Host.of("cpu_milli")
		if !limited {
			return host >= limitMilli/4
		}
		cpu, cpuLimit := s.Usage.Cgroup.of("cpu_milli")
		memory, memoryLimit := s.Usage.Cgroup.of("memory_bytes")
		return host >= limitMilli/4 && cpu >= limitMilli/2 && cpu <= limitMilli*3/2 && cpuLimit == limitMilli && memory >= burnedBytes/2 && memoryLimit == limitBytes
	})
	t.Logf("in a group of its own: %v; it showed after %s", limited, time.Since(began).Round(100*time.Millisecond))
}

// servers asks for the servers until one is there that is as expected.
func servers(t *testing.T, admin, what string, ok func(shown) bool) shown {
	t.Helper()
	deadline, ticker := time.After(time.Minute), time.NewTicker(200*time.Millisecond)
	defer ticker.Stop()
	var last string
	for {
		out, err := exec.CommandContext(t.Context(), binary, "servers", "--admin", admin, "-o", "json").CombinedOutput()
		last = strings.TrimSpace(string(out))
		var answer struct{ Servers []shown }
		if err == nil && json.Unmarshal(out, &answer) == nil && len(answer.Servers) == 1 && ok(answer.Servers[0]) {
			return answer.Servers[0]
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s; last: %s", what, last)
		}
	}
}
