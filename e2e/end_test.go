package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is what a program printed so far.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// eventually waits for a condition of other processes; there is nothing to wait on but their output and /proc.
func eventually(t *testing.T, within time.Duration, what string, met func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if met() {
			return true
		}
	}
	t.Errorf("waited %v for %s", within, what)
	return false
}

// start runs the demo in the background.
func start(t *testing.T) (*exec.Cmd, *screen, chan error) {
	t.Helper()
	out := new(screen)
	cmd := exec.Command(linked(t), "dev", "--data-dir", t.TempDir(), "--rate", "100")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out, ended
}

func TestCtrlCEndsTheDemoCleanly(t *testing.T) {
	cmd, out, ended := start(t)
	if !eventually(t, patience, "the load to run", func() bool { return strings.Contains(out.String(), "drain node-") }) {
		t.Fatal(out.String())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("status: %v\n%s", err, out)
		}
	case <-time.After(patience):
		t.Fatalf("it still runs %s after Ctrl-C\n%s", patience, out)
	}
	if left := running(t, cmd.Path); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if text := out.String(); !strings.Contains(text, "two owners of a shard at once: 0 ms") || strings.Contains(text, "\x1b") {
		t.Errorf("output without a conclusion, or with colours where there is no terminal:\n%s", text)
	}
}

func TestAKilledSupervisorLeavesNothingRunning(t *testing.T) {
	cmd, out, ended := start(t)
	if !eventually(t, patience, "processes to run", func() bool { return len(running(t, cmd.Path)) > 5 }) {
		t.Fatal(out.String())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	eventually(t, time.Minute, "the kernel to end every child", func() bool { return len(running(t, cmd.Path)) == 0 })
}
