package succession

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Trial is the child's side: this process is on trial.
type Trial struct {
	orders  <-chan order
	reports *os.File
	stops   chan struct{}
}

// Inherited returns the trial that this process is on; nil: it is on none. What it starts is on none.
func Inherited() (*Trial, error) {
	if os.Getenv(trialVariable) == "" {
		return nil, nil
	}
	if err := os.Unsetenv(trialVariable); err != nil {
		return nil, err
	}
	syscall.CloseOnExec(ordersFD)
	syscall.CloseOnExec(reportsFD)
	orders, reports := os.NewFile(ordersFD, "orders"), os.NewFile(reportsFD, "reports")
	if orders == nil || reports == nil {
		return nil, errors.New("succession: the variable " + trialVariable + " is for a planned restart's own use")
	}
	return &Trial{orders: lines[order](orders), reports: reports, stops: make(chan struct{})}, nil
}

// ErrNotNeeded says that the daemon goes on without this child, which should end.
var ErrNotNeeded = errors.New("succession: the daemon that is there goes on")

// Prepared says that this process can take over, and waits until it has to.
func (t *Trial) Prepared(version string) (Order, error) {
	if err := write(t.reports, report{Step: stepPrepared, Version: version}); err != nil {
		return Order{}, fmt.Errorf("succession: %w", err)
	}
	first, ok := <-t.orders
	if !ok || first.Take == nil {
		return Order{}, ErrNotNeeded
	}
	go func() {
		defer close(t.stops)
		for range t.orders { // each of them is a stop
			t.stops <- struct{}{}
		}
	}()
	return *first.Take, nil
}

// Stops delivers each order to stop, for good and not for a restart. It is closed when the daemon is gone.
func (t *Trial) Stops() <-chan struct{} { return t.stops }

// Resumed says that this process does the daemon's work.
func (t *Trial) Resumed() error { return write(t.reports, report{Step: stepResumed}) }

// Rests says that this process has stepped back: the next thing that it does is to end.
func (t *Trial) Rests() error { return write(t.reports, report{Step: stepRests}) }
