// Package consultest gives tests real Consul servers. It builds Consul when there is none: a test that needs Consul never skips. Tests call
// it; nothing else does.
package consultest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/dev/process"
)

// Binary is the path of a Consul: what CONSUL_BIN names, or the one in .bin, which is built first if need be.
func Binary(t testing.TB) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("consultest: the place of the source is not known")
	}
	root := filepath.Join(filepath.Dir(here), "..", "..", "..", "..")
	bin := filepath.Join(root, ".bin")
	if _, err := os.Stat(filepath.Join(bin, "consul")); err != nil && os.Getenv(consulserver.BinaryVariable) == "" {
		build(t, root, bin)
	}
	path, err := consulserver.Find(os.Getenv, bin)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// build runs make, one at a time on this machine: tests of several packages run at once.
func build(t testing.TB, root, bin string) {
	t.Helper()
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(bin, "consul.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "make", "consul")
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("make consul: %v", err)
	}
}

// Start runs servers until the test ends. settings are laid over Consul's configuration.
func Start(t testing.TB, servers int, settings map[string]any) *consulserver.Cluster {
	t.Helper()
	cluster := place(t, consulserver.Config{Servers: servers, Settings: settings})
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// place makes a cluster that is stopped when the test ends.
func place(t testing.TB, cfg consulserver.Config) *consulserver.Cluster {
	t.Helper()
	starter, free := process.NewStarter(), ports.New()
	cfg.Binary, cfg.Dir, cfg.Ports, cfg.Starter = Binary(t), t.TempDir(), free, starter
	cfg.Died = func(_ *process.Unit, err error) { t.Error(err) }
	cluster, err := consulserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
		starter.Close()
		if err := free.Release(); err != nil {
			t.Error(err)
		}
	})
	return cluster
}
