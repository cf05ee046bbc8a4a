package dev

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell makes a unit of a shell script, and a channel that tells when it ended by itself.
func shell(t *testing.T, script string) (*unit, chan error) {
	t.Helper()
	s := newStarter()
	died := make(chan error, 1)
	u := &unit{
		name: "script", binary: "/bin/sh", args: []string{"-c", script}, log: filepath.Join(t.TempDir(), "log"), starter: s,
		died: func(_ *unit, err error) { died <- err },
	}
	t.Cleanup(func() {
		if u.running() {
			if _, err := u.kill(t.Context()); err != nil && u.running() {
				t.Error(err)
			}
		}
		s.close()
	})
	return u, died
}

// waitFor waits until the script has written a word to its log.
func waitFor(t *testing.T, u *unit, word string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if strings.Contains(u.tail(), word) {
			return
		}
		time.Sleep(5 * time.Millisecond) // a real process: there is nothing else to wait on
	}
	t.Fatalf("the script never said %q: %s", word, u.tail())
}

func TestStopIsInOrderAndThenByForce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		forced       bool
	}{
		{"obeys", `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done`, false},
		{"ignores", `trap '' TERM; echo up; while :; do sleep 0.02; done`, true},
	} {
		u, died := shell(t, c.script)
		if err := u.start(); err != nil {
			t.Fatal(err)
		}
		if err := u.start(); err == nil {
			t.Error("started twice")
		}
		waitFor(t, u, "up")
		if err := u.stop(500 * time.Millisecond); (err != nil) != c.forced {
			t.Errorf("%s: stop says %v", c.name, err)
		}
		if u.running() {
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
	if err := u.start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, u, "up")
	if _, err := u.signal(syscall.SIGSTOP, false); err != nil {
		t.Fatal(err)
	}
	if err := u.stop(5 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestAnEndByItselfIsReported(t *testing.T) {
	t.Parallel()
	u, died := shell(t, `echo "no disk" >&2; exit 3`)
	if err := u.start(); err != nil {
		t.Fatal(err)
	}
	err := <-died
	if !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("report %v: expected the status and the end of the log", err)
	}
	if err := u.start(); err != nil {
		t.Errorf("it cannot be started again: %v", err)
	}
	<-died
}

func TestChildrenSeeNoSettingsOfTheirParent(t *testing.T) {
	t.Setenv("SHARDMANAGER_CLUSTER", "other")
	u, died := shell(t, `echo "cluster=$SHARDMANAGER_CLUSTER."; exit 1`)
	if err := u.start(); err != nil {
		t.Fatal(err)
	}
	<-died
	content, err := os.ReadFile(u.log)
	if err != nil || strings.TrimSpace(string(content)) != "cluster=." {
		t.Errorf("the child said %q (%v)", content, err)
	}
}
