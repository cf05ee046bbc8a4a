package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
)

// starter starts processes, all on one operating-system thread that lives until Close: the kernel sends a child its death signal when the
// thread that started it ends, not the process.
type starter struct{ jobs chan func() }

func newStarter() *starter {
	s := &starter{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

func (s *starter) close() { close(s.jobs) }

func (s *starter) start(cmd *exec.Cmd) error {
	result := make(chan error)
	s.jobs <- func() { result <- cmd.Start() }
	return <-result
}

// unit is one of the cluster's programs: it can be started, ended and started again. Its methods may be called from one goroutine at a time.
type unit struct {
	name    string
	binary  string
	args    []string
	log     string    // file for what it prints
	out     io.Writer // where its standard output goes; nil: the log
	starter *starter
	died    func(u *unit, err error) // called when it ends although nobody ended it

	mu      sync.Mutex
	process *os.Process
	done    chan struct{} // closed once the process has been waited for; nil: never started
	wanted  bool          // nobody has ended the process
}

// start starts the program in a process group of its own, so that Ctrl-C at a terminal reaches only its supervisor.
func (u *unit) start() error {
	if u.running() {
		return fmt.Errorf("start %s: it is running already", u.name)
	}
	log, err := os.OpenFile(u.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", u.name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own handle
	cmd := exec.Command(u.binary, u.args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, environment()
	if u.out != nil {
		cmd.Stdout = u.out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := u.starter.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", u.name, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.process, u.done, u.wanted = cmd.Process, make(chan struct{}), true
	go u.wait(cmd, u.done)
	return nil
}

// environment is this process's own without the settings that are for it.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SHARDMANAGER_") {
			env = append(env, e)
		}
	}
	return env
}

func (u *unit) wait(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	u.mu.Lock()
	wanted := u.wanted
	u.wanted = false
	u.mu.Unlock()
	close(done)
	if wanted && u.died != nil {
		u.died(u, fmt.Errorf("%s (pid %d) ended by itself: %w; %s", u.name, cmd.Process.Pid, causeOf(err), u.tail()))
	}
}

func causeOf(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// tailBytes is how much of a log is shown when its program failed.
const tailBytes = 600

// tail is the end of the log, for people.
func (u *unit) tail() string {
	content, err := os.ReadFile(u.log)
	if err != nil {
		return err.Error()
	}
	if len(content) > tailBytes {
		content = content[len(content)-tailBytes:]
	}
	return fmt.Sprintf("%s ends: %s", filepath.Base(u.log), strings.TrimSpace(string(content)))
}

func (u *unit) running() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done == nil {
		return false
	}
	select {
	case <-u.done:
		return false
	default:
		return true
	}
}

// pid of the process that runs or ran last.
func (u *unit) pid() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process == nil {
		return 0
	}
	return u.process.Pid
}

// signal sends a signal and returns the instant just before. expected says that the process may end by it.
func (u *unit) signal(sig os.Signal, expected bool) (at int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process == nil {
		return 0, fmt.Errorf("signal %s: it was never started", u.name)
	}
	u.wanted = u.wanted && !expected
	at = clock.Now().Raw
	if err := u.process.Signal(sig); err != nil {
		return 0, fmt.Errorf("signal %s: %w", u.name, err)
	}
	return at, nil
}

// ended waits until the process has ended.
func (u *unit) ended(ctx context.Context, within time.Duration) error {
	u.mu.Lock()
	done := u.done
	u.mu.Unlock()
	if done == nil {
		return nil
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s (pid %d) still runs %v after it was told to end; %s", u.name, u.pid(), within, u.tail())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// kill ends the process at once (SIGKILL), waits for that, and returns the instant just before the signal.
func (u *unit) kill(ctx context.Context) (at int64, err error) {
	if at, err = u.signal(syscall.SIGKILL, true); err != nil {
		return 0, err
	}
	return at, u.ended(ctx, startPatience)
}

// stop ends the process in order: SIGTERM, and after the patience SIGKILL. It reports a process that had to be killed.
func (u *unit) stop(patience time.Duration) error {
	if !u.running() {
		return nil
	}
	// A stopped process takes no SIGTERM; one that runs does not mind SIGCONT. Whoever ended meanwhile is what is wanted.
	_, _ = u.signal(syscall.SIGCONT, true)
	_, _ = u.signal(syscall.SIGTERM, true)
	err := u.ended(context.Background(), patience)
	if err == nil {
		return nil
	}
	if _, killErr := u.kill(context.Background()); killErr != nil && u.running() {
		return errors.Join(err, killErr)
	}
	return err
}

// expect says that the process will end by other means than a signal from here.
func (u *unit) expect() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wanted = false
}
