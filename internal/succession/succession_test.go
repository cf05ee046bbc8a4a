package succession

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleVariable makes the test's own binary a program on trial.
const roleVariable = "SUCCESSION_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
	}
	goleak.VerifyTestMain(m)
}

// play is a program on trial, which may fail at any point.
func play(role string) {
	t, err := Inherited()
	if err != nil || t == nil {
		os.Exit(9)
	}
	if again, err := Inherited(); again != nil || err != nil || os.Getenv("NOTIFY_SOCKET") != "" {
		os.Exit(8)
	}
	end := func(when string) {
		if role == when+" dies" {
			_, _ = os.Stderr.WriteString("last words\n")
			os.Exit(3)
		}
		if role == when+" hangs" {
			select {}
		}
	}
	end("first")
	o, err := t.Prepared("v2")
	if errors.Is(err, ErrNotNeeded) {
		_ = os.WriteFile(os.Getenv("NOTE"), []byte("not needed"), 0o600)
		os.Exit(0)
	}
	if err != nil || o.Live != 2 || o.Attached != 1 {
		os.Exit(7)
	}
	end("prepared")
	if role == "stops" {
		<-t.Stops()
		<-t.Stops()
		os.Exit(0)
	}
	if role == "orphan" {
		for range t.Stops() {
		}
		_ = os.WriteFile(os.Getenv("NOTE"), []byte("orphan"), 0o600)
		os.Exit(0)
	}
	_ = t.Resumed()
	end("resumed")
	_ = t.Rests()
	end("rested")
	os.Exit(0)
}

func program(t *testing.T, role string) Program {
	t.Helper()
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	self.Args = self.Args[:1]
	self.Env = append(self.Env, roleVariable+"="+role, "NOTIFY_SOCKET=/nowhere", "NOTE="+filepath.Join(t.TempDir(), "note"))
	return self
}

func note(p Program) string {
	text, _ := os.ReadFile(strings.TrimPrefix(p.Env[len(p.Env)-1], "NOTE="))
	return string(text)
}

func never() bool { return false }

// Whatever a program does wrong, and when, the daemon hears of it and may come back: the child is gone.
func TestTrial(t *testing.T) {
	for _, c := range []struct{ role, start, await string }{
		{"good", "", ""},
		{"first dies", "exit status 3: it said: last words", ""},
		{"prepared dies", "", "exit status 3: it said: last words"},
		{"prepared hangs", "", "not resumed in time"},
		{"resumed dies", "", "exit status 3"},
		{"rested dies", "", "exit status 3"},
	} {
		t.Run(c.role, func(t *testing.T) {
			t.Parallel()
			candidate, err := Start(t.Context(), program(t, c.role), io.Discard)
			if says(t, "start", err, c.start); err != nil {
				return
			}
			if candidate.Version != "v2" {
				t.Errorf("version %q", candidate.Version)
			}
			candidate.Take(Order{Live: 2, Attached: 1})
			within := time.Minute
			if strings.Contains(c.await, "in time") {
				within = 300 * time.Millisecond
			}
			says(t, "await", candidate.Await(within, never), c.await)
			if candidate.cmd.ProcessState == nil {
				t.Error("the child is not gone")
			}
		})
	}
}

func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v; expected %q", what, err, want)
	}
}

// What is no child of ours, or is not ready while somebody waits for it, is refused.
func TestStartRefuses(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho nonsense >&4\nexec sleep 60 4>&-\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for want, path := range map[string]string{"no such file": script + "2", "does not end": script, "permission denied": t.TempDir()} {
		_, err := Start(short, Program{Path: path, Args: []string{path}, Env: os.Environ()}, io.Discard)
		says(t, path, err, want)
	}
	_, err := Start(short, program(t, "first hangs"), io.Discard)
	says(t, "hangs", err, "not prepared in time")
}

// A candidate that is not needed ends by itself; one that has taken over stops when told to, as often as told; both without a trace of failure.
func TestEnds(t *testing.T) {
	p := program(t, "good")
	candidate, err := Start(t.Context(), p, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	candidate.Abandon()
	if got := note(p); got != "not needed" {
		t.Errorf("it notes %q", got)
	}

	candidate, err = Start(t.Context(), program(t, "stops"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	candidate.Take(Order{Live: 2, Attached: 1})
	candidate.Stop()
	candidate.Stop()
	if err := candidate.Await(time.Minute, func() bool { return true }); !errors.Is(err, ErrStopped) {
		t.Errorf("await: %v", err)
	}

	p = program(t, "orphan")
	candidate, err = Start(t.Context(), p, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	candidate.Take(Order{Live: 2, Attached: 1})
	if err := candidate.orders.Close(); err != nil { // as the death of the daemon does
		t.Fatal(err)
	}
	<-candidate.ended
	if got := note(p); got != "orphan" || candidate.failure != nil {
		t.Errorf("it notes %q, %v", got, candidate.failure)
	}
}

// A process becomes the program, or goes on if it cannot.
func TestBecome(t *testing.T) {
	says(t, "become", Program{Path: "/no/such/program", Args: []string{"x"}}.Become(), "execute /no/such/program: no such file")
}
