// Package process runs the programs of a cluster on one machine: it starts, signals and ends them, and tells when one ended by itself.
//
// Invariants: every process ends with this one (the kernel sees to that, too), is signalled by its own handle only, and reads none of this
// process's settings. It knows nothing of what the programs do. Called by internal/dev.
package process

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

// Starter starts processes, all on one operating-system thread that lives until Close: the kernel sends a child its death signal when the
// thread that started it ends, not the process.
type Starter struct{ jobs chan func() }

// NewStarter makes a Starter; it must be closed.
func NewStarter() *Starter {
	s := &Starter{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// Close ends the thread, and with it whatever was started and still runs.
func (s *Starter) Close() { close(s.jobs) }

func (s *Starter) start(cmd *exec.Cmd) error {
	result := make(chan error)
	s.jobs <- func() { result <- cmd.Start() }
	return <-result
}

// Unit is one of the cluster's programs: it can be started, ended and started again. Its methods may be called from one goroutine at a time.
type Unit struct {
	Name    string
	Binary  string
	Args    []string
	Log     string    // file for what it prints
	Out     io.Writer // where its standard output goes; nil: the log
	Starter *Starter
	Hangs   bool                     // it may wait for itself for ever when it is told to end: that it has to be killed then is no failure
	Died    func(u *Unit, err error) // called when it ends although nobody ended it

	mu      sync.Mutex
	process *os.Process
	done    chan struct{} // closed once the process has been waited for; nil: never started
	wanted  bool          // nobody has ended the process
}

// Start starts the program in a process group of its own, so that Ctrl-C at a terminal reaches only its supervisor.
func (u *Unit) Start() error {
	if u.Running() {
		return fmt.Errorf("start %s: it is running already", u.Name)
	}
	log, err := os.OpenFile(u.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", u.Name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own handle
	cmd := exec.Command(u.Binary, u.Args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, environment()
	if u.Out != nil {
		cmd.Stdout = u.Out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := u.Starter.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", u.Name, err)
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

func (u *Unit) wait(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	u.mu.Lock()
	wanted := u.wanted
	u.wanted = false
	u.mu.Unlock()
	close(done)
	if wanted && u.Died != nil {
		u.Died(u, fmt.Errorf("%s (pid %d) ended by itself: %w; %s", u.Name, cmd.Process.Pid, causeOf(err), u.Tail()))
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

// Tail is the end of the log, for people.
func (u *Unit) Tail() string {
	content, err := os.ReadFile(u.Log)
	if err != nil {
		return err.Error()
	}
	if len(content) > tailBytes {
		content = content[len(content)-tailBytes:]
	}
	return fmt.Sprintf("%s ends: %s", filepath.Base(u.Log), strings.TrimSpace(string(content)))
}

// Running reports whether it was started and has not ended.
func (u *Unit) Running() bool {
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

// PID of the process that runs or ran last.
func (u *Unit) PID() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process == nil {
		return 0
	}
	return u.process.Pid
}

// Signal sends a signal and returns the instant just before. expected says that the process may end by it.
func (u *Unit) Signal(sig os.Signal, expected bool) (at int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process == nil {
		return 0, fmt.Errorf("signal %s: it was never started", u.Name)
	}
	u.wanted = u.wanted && !expected
	at = clock.Now().Raw
	if err := u.process.Signal(sig); err != nil {
		return 0, fmt.Errorf("signal %s: %w", u.Name, err)
	}
	return at, nil
}

// Ended waits until the process has ended.
func (u *Unit) Ended(ctx context.Context, within time.Duration) error {
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
		return fmt.Errorf("%s (pid %d) still runs %v after it was told to end; %s", u.Name, u.PID(), within, u.Tail())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// endPatience is how long a killed process may take to end.
const endPatience = 30 * time.Second

// Kill ends the process at once (SIGKILL), waits for that, and returns the instant just before the signal.
func (u *Unit) Kill(ctx context.Context) (at int64, err error) {
	if at, err = u.Signal(syscall.SIGKILL, true); err != nil {
		return 0, err
	}
	return at, u.Ended(ctx, endPatience)
}

// Stop ends the process in order: SIGTERM, and after the patience SIGKILL. It reports a process that had to be killed, unless such a one
// is known to hang.
func (u *Unit) Stop(patience time.Duration) error {
	if !u.Running() {
		return nil
	}
	// A stopped process takes no SIGTERM; one that runs does not mind SIGCONT. Whoever ended meanwhile is what is wanted.
	_, _ = u.Signal(syscall.SIGCONT, true)
	_, _ = u.Signal(syscall.SIGTERM, true)
	err := u.Ended(context.Background(), patience)
	if err == nil {
		return nil
	}
	if _, killErr := u.Kill(context.Background()); killErr != nil && u.Running() {
		return errors.Join(err, killErr)
	}
	if u.Hangs {
		return nil
	}
	return err
}

// StopTogether stops programs of one kind, all at once.
func StopTogether(units []*Unit, patience time.Duration) error {
	failed := make([]error, len(units))
	var group sync.WaitGroup
	for i, u := range units {
		group.Go(func() { failed[i] = u.Stop(patience) })
	}
	group.Wait()
	return errors.Join(failed...)
}
