package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build builds the program of a source tree as a version of its own.
func build(t *testing.T, tree, version string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "shardmanager")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-C", tree, "-ldflags", "-X main.version="+version, "-o", program, "./cmd/shardmanager").CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", version, err, out)
	}
	return program
}

// script writes a shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// An agent is replaced by another version of itself under load, in the same process: no request fails, nothing moves, its incarnation is what it
// was. A program that cannot take over is refused, or gives way to the one before it.
func TestAgentUpgrade(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "upgrade", "default", size{allocators: 1, agents: 2}, []string{"--store-address", storeOf(t)}, "")
	next := build(t, "..", "v9.9.9")
	f.run("100", "--allocators", strings.Join(f.serve, ","))
	before, first := f.owners(), f.status(0)
	pid, incarnation := f.agents[0].PID(), first.GetServers()[0].GetServer().GetIncarnation()
	restart := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), binary, append([]string{"agent", "restart", "--socket", f.socket(0)}, args...)...).CombinedOutput()
		return string(out), err
	}
	check := func(what, version string) {
		t.Helper()
		f.await(patience, what+": an attached server", func() bool {
			list := f.status(0).GetServers()
			return len(list) == 1 && list[0].GetAttached() && f.attached() == 2
		})
		status := f.status(0)
		if status.GetVersion() != version || f.agents[0].PID() != pid || !f.agents[0].Running() || len(status.GetServers()) != 1 || status.GetServers()[0].GetServer().GetIncarnation() != incarnation {
			t.Errorf("%s: the agent is %v; expected version %s, pid %d, incarnation %x", what, status, version, pid, incarnation)
		}
		if now := f.owners(); !maps.Equal(before, now) {
			t.Errorf("%s: something moved: %v, then %v", what, before, now)
		}
	}

	for _, c := range []struct {
		what, program, says string
		args                []string
		back                bool // it fails only on trial: the agent before it comes back
	}{
		{"missing", filepath.Join(t.TempDir(), "none"), "no such file", nil, false},
		{"crashes at once", script(t, "echo boom >&2; exit 3"), "exit status 3: it said: boom", nil, false},
		{"another program", "/bin/true", "ended early", nil, false},
		{"wrong flags", script(t, "exec "+next+` "$@" --no-such-flag`), "unknown flag", nil, false},
		{"wrong version", next, "version v9.9.9, not v1.0.0", []string{"--version", "v1.0.0"}, false},
		{"cannot listen", script(t, "exec "+next+` "$@" --listen 192.0.2.1:7420`), "192.0.2.1:7420", nil, true},
		{"finds no store", script(t, "exec "+next+` "$@" --store-address 127.0.0.1:1`), "not resumed in time", nil, true},
	} {
		f.install(0, c.program)
		out, err := restart(c.args...)
		if err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v, %s", c.what, err, out)
		}
		check(c.what, first.GetVersion())
		if got := f.status(0); (got.GetRun() != first.GetRun()) != c.back || strings.Contains(got.GetRestartProblem(), c.says) != c.back {
			t.Errorf("%s: it is back: %v, expected %v; problem %q", c.what, got.GetRun() != first.GetRun(), c.back, got.GetRestartProblem())
		}
		first = f.status(0)
	}

	f.install(0, next)
	if out, err := restart("--version", "v9.9.9"); err != nil || !strings.Contains(out, "version v9.9.9 now") {
		t.Errorf("restart: %v, %s", err, out)
	}
	check("new version", "v9.9.9")
	for _, args := range [][]string{{"agent", "status", "--socket", f.socket(0)}, {"servers", "-o", "wide", "--admin", f.admins[0]}} {
		if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "v9.9.9") {
			t.Errorf("%v: %v, %s; expected the new version", args, err, out)
		}
	}
	f.install(0, binary)
	run := f.status(0).GetRun()
	if _, err := f.agents[0].Signal(syscall.SIGUSR2, false); err != nil {
		t.Fatal(err)
	}
	f.restarted(0, run)
	check("version of before", first.GetVersion())

	if list := f.rest(); failed(list) > 0 {
		t.Errorf("%d of %d requests failed", failed(list), len(list))
	}
	f.overlaps()
}

// Whoever is told to stop in the middle of a planned restart drains: no request fails.
func TestStopWhileOnTrial(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "stop", "default", size{allocators: 1, agents: 2}, []string{"--store-address", storeOf(t)}, "")
	f.run("100", "--allocators", strings.Join(f.serve, ","))
	for i, moment := range []string{"planned restart granted", "agent on trial"} {
		log := filepath.Join(f.dir, fmt.Sprintf("n%d.log", 0))
		told := func() bool {
			text, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(text), moment)
		}
		if _, err := f.agents[0].Signal(syscall.SIGUSR2, false); err != nil {
			t.Fatal(err)
		}
		f.await(patience, moment, told)
		if _, err := f.agents[0].Signal(syscall.SIGTERM, true); err != nil {
			t.Fatal(err)
		}
		if err := f.agents[0].Ended(t.Context(), 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		f.await(patience, "the other to own everything", func() bool {
			owners := f.owners()
			for _, at := range owners {
				if at.server != "n1.kv" {
					return false
				}
			}
			return len(owners) == fleetShards
		})
		if text, err := os.ReadFile(log); err != nil || strings.Contains(string(text), "drain not finished") {
			t.Errorf("not drained: %v\n%s", err, text)
		}
		if i == 0 {
			if err := errors.Join(os.Truncate(log, 0)); err != nil {
				t.Fatal(err)
			}
			f.start(f.agents[0])
			f.await(patience, "it to be back", func() bool { return f.attached() == 2 })
		}
	}
	if list := f.rest(); failed(list) > 0 {
		t.Errorf("%d of %d requests failed", failed(list), len(list))
	}
	f.overlaps()
}
