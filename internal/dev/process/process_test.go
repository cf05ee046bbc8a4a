package process

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell makes a unit of a shell script, and a channel that tells when it ended by itself.
func shell(t *testing.T, script string) (*Unit, chan error) {
	t.Helper()
	s := NewStarter()
	died := make(chan error, 1)
	u := &Unit{
		Name: "script", Binary: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log"), Starter: s,
		Died: func(_ *Unit, err error) { died <- err },
	}
	t.Cleanup(func() {
		if u.Running() {
			if _, err := u.Kill(t.Context()); err != nil && u.Running() {
				t.Error(err)
			}
		}
		s.Close()
	})
	return u, died
}

// waitFor waits until the script has written a word to its log.
func waitFor(t *testing.T, u *Unit, word string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if strings.Contains(u.Tail(), word) {
			return
		}
		time.Sleep(5 * time.Millisecond) // a real process: there is nothing else to wait on
	}
	t.Fatalf("the script never said %q: %s", word, u.Tail())
}

// patience is how long a test waits for what must happen, on a busy machine too.
const patience = time.Minute

func TestStopIsInOrderAndThenByForce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		within       time.Duration
		hangs        bool
		forced       bool
	}{
		{"obeys", `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done`, patience, false, false},
		{"ignores", `trap '' TERM; echo up; while :; do sleep 0.02; done`, 500 * time.Millisecond, false, true},
		{"ignores, as it is known to", `trap '' TERM; echo up; while :; do sleep 0.02; done`, 500 * time.Millisecond, true, false},
	} {
		u, died := shell(t, c.script)
		u.Hangs = c.hangs
		if err := u.Start(); err != nil {
			t.Fatal(err)
		}
		if err := u.Start(); err == nil {
			t.Error("started twice")
		}
		waitFor(t, u, "up")
		if err := u.Stop(c.within); (err != nil) != c.forced {
			t.Errorf("%s: stop says %v", c.name, err)
		}
		if u.Running() {
			t.Errorf("%s: it still runs", c.name)
		}
		if len(died) > 0 {
			t.Errorf("%s: an end that was asked for was reported", c.name)
		}
	}
}

func TestStopWakesAPausedProcess(t *testing.T) {
	t.Parallel()
	u, _ := shell(t, `trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done`)
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, u, "up")
	if _, err := u.Signal(syscall.SIGSTOP, false); err != nil {
		t.Fatal(err)
	}
	if err := u.Stop(patience); err != nil {
		t.Error(err)
	}
}

func TestAnEndByItselfIsReported(t *testing.T) {
	t.Parallel()
	u, died := shell(t, `echo "no disk" >&2; exit 3`)
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	err := <-died
	if !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("report %v: expected the status and the end of the log", err)
	}
	if err := u.Start(); err != nil {
		t.Errorf("it cannot be started again: %v", err)
	}
	<-died
}

func TestChildrenSeeNoSettingsOfTheirParent(t *testing.T) {
	t.Setenv("SHARDMANAGER_CLUSTER", "other")
	u, died := shell(t, `echo "cluster=$SHARDMANAGER_CLUSTER."; exit 1`)
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	<-died
	content, err := os.ReadFile(u.Log)
	if err != nil || strings.TrimSpace(string(content)) != "cluster=." {
		t.Errorf("the child said %q (%v)", content, err)
	}
}
