package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// typedAt runs the command at a terminal of its own, types an answer, and tells what the terminal shows.
func typedAt(t *testing.T, answer string, args ...string) (code int, screen string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be had: %v", err)
	}
	defer func() { _ = master.Close() }()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be had: %v", err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], args...)
	child.Env = append(os.Environ(), commandEnv+"=1")
	child.Stdin, child.Stdout, child.Stderr = terminal, terminal, terminal
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close() // the child has its own
	if _, err := io.WriteString(master, answer+"\n"); err != nil {
		t.Fatal(err)
	}
	shown, _ := io.ReadAll(master) // a terminal that nobody has open any more fails
	var exit *exec.ExitError
	if err := child.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return child.ProcessState.ExitCode(), strings.ReplaceAll(string(shown), "\r", "")
}

// At a terminal, what takes something away shows what would happen and asks; without a terminal, and with --yes, it does what it was told.
func TestQuestions(t *testing.T) {
	leader := &plane{}
	leader.left.Store(3)
	admin := serve(t, leader)
	for _, c := range []struct {
		line, answer string
		code         int
		want         []string
	}{
		{"drain node-1.kv", "n", exitFailure, []string{"node-1.kv is primary of", "Go on? [y/N]", "not confirmed: nothing was done"}},
		{"drain node-1.kv", "", exitFailure, []string{"nothing was done"}},
		{"drain node-1.kv", "yes", exitOK, []string{"Go on? [y/N]", "node-1.kv: draining"}},
		{"drain node-1.kv --undo", "n", exitOK, []string{"takes shards again"}},
		{"quarantine release kv 07", "n", exitFailure, []string{"kv/07 is in quarantine: 3 servers died of it."}},
		{"hold release", "n", exitFailure, []string{"Nothing is held"}},
		{"shards delete mail a b", "n", exitFailure, []string{"2 shards of app mail are deleted: a, b."}},
	} {
		code, screen := typedAt(t, c.answer, append(strings.Fields(c.line), "--admin", admin)...)
		if code != c.code {
			t.Errorf("%s, %q: exit %d, want %d: %s", c.line, c.answer, code, c.code, screen)
		}
		for _, want := range c.want {
			if !strings.Contains(screen, want) {
				t.Errorf("%s, %q: %q lacks %q", c.line, c.answer, screen, want)
			}
		}
	}
	if code, screen := typedAt(t, "n", "drain", "node-1.kv", "--yes", "--admin", admin); code != exitOK || strings.Contains(screen, "Go on?") {
		t.Errorf("drain --yes: exit %d, %q", code, screen)
	}
	if code, out, errs := shell(t, "drain", "node-1.kv", "--admin", admin); code != exitOK || !strings.Contains(out, "draining") || errs != "" {
		t.Errorf("drain without a terminal: exit %d, %q, %q", code, out, errs)
	}
}

// Which verbs ask is a decision (ADR 86): a new one that takes something away belongs here.
func TestWhoAsks(t *testing.T) {
	var asks []string
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Flags().Lookup("yes") != nil {
			asks = append(asks, strings.TrimPrefix(c.CommandPath(), "shardmanager "))
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand())
	const want = "agent drain, app delete, app update, drain, gossip keys remove, hold release, maintenance approve, maintenance cancel, moves abort, moves skip, " +
		"quarantine release, rollout, shards delete, snapshot raise-generation, snapshot restore"
	if got := strings.Join(asks, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Who waits at a terminal sees how far it is, and what is over; who does not gets lines.
func TestProgressBar(t *testing.T) {
	if code, screen := typedAt(t, "", "sim", "--seeds", "2", "--servers", "3", "--shards", "4", "--duration", "3m", "--workers", "1"); code != exitOK ||
		!strings.Contains(screen, "] 100 %  2 of 2 seeds, 0 broken") || !strings.Contains(screen, "\x1b[K2 seeds, ") {
		t.Errorf("sim at a terminal: exit %d, %q", code, screen)
	}
	admin := serve(t, &plane{})
	if code, screen := typedAt(t, "", "drain", "node-1.kv", "--wait", "--yes", "-o", "json", "--timeout", "1s", "--admin", admin); strings.Contains(screen, "%") {
		t.Errorf("drain -o json: exit %d, %q", code, screen)
	}
}
