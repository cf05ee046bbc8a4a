package succession

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Times of a trial.
const (
	// prepareTime is how long a program may take to come as far as it can beside the daemon.
	prepareTime = 10 * time.Second
	// backTime is how long a child that has resumed may take to step back.
	backTime = 30 * time.Second
	// abandonTime is how long a child may take to end that is not needed.
	abandonTime = time.Second
)

// Program is a program with its arguments, as this process was started.
type Program struct {
	Path string
	Args []string // the first is its name
	Env  []string
}

// Self is how this process was started. A name that is a symbolic link stays one: where it points to may change.
func Self() (Program, error) {
	p := Program{Args: os.Args, Env: os.Environ()}
	var err error
	if p.Path, err = exec.LookPath(os.Args[0]); err == nil {
		p.Path, err = filepath.Abs(p.Path)
	}
	return p, err
}

// Become executes the program in this process; it returns only if that fails.
func (p Program) Become() error {
	return &os.PathError{Op: "execute", Path: p.Path, Err: syscall.Exec(p.Path, p.Args, p.Env)}
}

// Candidate is a program on trial.
type Candidate struct {
	Version string

	path    string
	cmd     *exec.Cmd
	orders  *os.File
	reports <-chan report
	said    *tail
	ended   chan struct{}
	failure error // how it ended; read after ended
}

// Start puts a program on trial, and waits until it is prepared. What it writes to stderr goes to log.
func Start(ctx context.Context, p Program, log io.Writer) (*Candidate, error) {
	ordersOut, ordersIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	reportsOut, reportsIn, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, ordersOut.Close(), ordersIn.Close())
	}
	c := &Candidate{path: p.Path, orders: ordersIn, said: &tail{}, ended: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: p.Path, Args: p.Args, Env: append(without(p.Env, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"), trialVariable+"=1"), // only the daemon talks to systemd
		Stderr: io.MultiWriter(log, c.said), ExtraFiles: []*os.File{ordersOut, reportsIn}, WaitDelay: abandonTime,
	}
	err = c.cmd.Start()
	_ = errors.Join(ordersOut.Close(), reportsIn.Close()) // the child has its own
	if err != nil {
		return nil, errors.Join(err, ordersIn.Close(), reportsOut.Close())
	}
	c.reports = lines[report](reportsOut)
	go func() {
		c.failure = c.cmd.Wait()
		_ = reportsOut.Close() // what else holds it open is not the child
		close(c.ended)
	}()
	limit, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	first, err := c.next(limit, stepPrepared)
	if err != nil {
		c.kill()
		return nil, err
	}
	c.Version = first.Version
	return c, nil
}

func without(env []string, names ...string) []string {
	var list []string
next:
	for _, v := range env {
		for _, name := range names {
			if strings.HasPrefix(v, name+"=") {
				continue next
			}
		}
		list = append(list, v)
	}
	return list
}

// next waits for the child's next report, which must be of one step.
func (c *Candidate) next(ctx context.Context, want step) (report, error) {
	select {
	case r, ok := <-c.reports:
		switch {
		case !ok:
			return report{}, c.died(ctx)
		case r.Step != want:
			return report{}, fmt.Errorf("%s: it is %s, and not %s", c.path, r.Step, want)
		}
		return r, nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return report{}, fmt.Errorf("%s: not %s in time: %s", c.path, want, c.said)
		}
		return report{}, ctx.Err()
	}
}

// died says how a child ended whose reports ended.
func (c *Candidate) died(ctx context.Context) error {
	select {
	case <-c.ended:
	case <-ctx.Done():
		return fmt.Errorf("%s: not what can take over from this program, and it does not end: %s", c.path, c.said)
	}
	if c.failure == nil {
		return fmt.Errorf("%s: ended early: %s", c.path, c.said)
	}
	return fmt.Errorf("%s: %w: %s", c.path, c.failure, c.said)
}

func (c *Candidate) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
	_ = c.orders.Close()
	for range c.reports { // it is closed once the child is gone
	}
}

// Abandon ends a candidate that has not been told to take over.
func (c *Candidate) Abandon() {
	_ = c.orders.Close()
	select {
	case <-c.ended:
	case <-time.After(abandonTime):
	}
	c.kill()
}

// Stop tells a candidate that has taken over to stop for good; once more: to hurry.
func (c *Candidate) Stop() {
	_ = write(c.orders, order{Stop: true}) // one that is gone needs no telling
}

// ErrStopped says that a candidate stopped for good, as it was told to.
var ErrStopped = errors.New("succession: stopped")

// Take tells the candidate to take this process's place for a trial; Await must follow. One that is gone by then is found out there.
func (c *Candidate) Take(o Order) { _ = write(c.orders, order{Take: &o}) }

// Await waits for the end of a trial: the work must have been resumed within a time. nil says that it was, and that the candidate has stepped back
// since: the program may be executed. ErrStopped: it did what Stop says. Any other error: it failed. The child is gone in any case.
func (c *Candidate) Await(within time.Duration, stopped func() bool) error {
	defer c.kill()
	err := c.reach(stepResumed, within)
	if err == nil {
		err = c.reach(stepRests, backTime)
	}
	if err == nil {
		limit, cancel := context.WithTimeout(context.Background(), backTime)
		defer cancel()
		if err = c.await(limit); err == nil {
			return nil
		}
	}
	if !stopped() {
		return err
	}
	// It drains, as long as it needs: whoever supervises this process sets the limit.
	if err := c.await(context.Background()); err != nil {
		return err
	}
	return ErrStopped
}

func (c *Candidate) reach(s step, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err := c.next(ctx, s)
	return err
}

// await waits until the child has ended well.
func (c *Candidate) await(ctx context.Context) error {
	select {
	case <-c.ended:
		if c.failure != nil {
			return c.died(ctx)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: it rests, and does not end: %s", c.path, c.said)
	}
}
