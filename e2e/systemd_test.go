package e2e

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/ports"
)

// Each daemon tells systemd that it is ready once it can be reached, and that it stops when it is told to.
func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	dir, free := t.TempDir(), ports.New()
	address := func() string {
		a, err := free.Take(0)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	sockets, err := os.MkdirTemp("", "e2e") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	store, data, admin, listen := address(), address(), address(), address()
	agent := filepath.Join(sockets, "agent.sock")
	for _, d := range []struct {
		args    []string
		reached [][2]string // network and address
	}{
		{[]string{"store", "--listen", store, "--data-dir", filepath.Join(dir, "store")}, [][2]string{{"tcp", store}}},
		{
			[]string{"allocator", "--cluster", "e2e", "--name", "a1", "--listen", data, "--admin-listen", admin, "--store-address", store, "--state-dir", filepath.Join(dir, "a1")},
			[][2]string{{"tcp", data}, {"tcp", admin}},
		},
		{
			[]string{"agent", "--cluster", "e2e", "--name", "n1", "--listen", listen, "--socket", "unix://" + agent, "--allocators", data, "--store-address", store, "--state-dir", filepath.Join(dir, "n1")},
			[][2]string{{"tcp", listen}, {"unix", agent}},
		},
	} {
		name := filepath.Join(sockets, d.args[0])
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = manager.Close() })
		told := func(want string) {
			t.Helper()
			text := make([]byte, 100)
			if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if n, err := manager.Read(text); err != nil || string(text[:n]) != want {
				t.Fatalf("%s tells %q, %v; expected %q", d.args[0], text[:n], err, want)
			}
		}
		var log bytes.Buffer
		cmd := exec.Command(binary, d.args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "NOTIFY_SOCKET="+name), &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // the last word, if the test ended early
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%v:\n%s", d.args, log.String())
			}
		})
		told("READY=1")
		for _, at := range d.reached {
			conn, err := net.Dial(at[0], at[1])
			if err != nil {
				t.Fatalf("%s is ready and cannot be reached: %v", d.args[0], err)
			}
			_ = conn.Close()
		}
		t.Cleanup(func() {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			told("STOPPING=1")
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", d.args[0], err)
			}
		})
	}
}
