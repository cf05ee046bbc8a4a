package virtual

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/sdk"
)

const (
	// patience is how long a client of the load waits for an operation before it goes on with the next.
	patience = 5 * time.Second
	// ownerPause is how long a client waits that found nobody who executes the shard.
	ownerPause = 20 * time.Millisecond
)

// load is the clients of a Cluster: one for each shard.
type load struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Load lets one client for each shard write and read in turn, about every so often, with the App's Write and Read, until the play is over. It checks
// what is read. An operation takes a while between its start and the application's part, and between that and its answer: there its process may be
// paused or killed. seed decides when.
func (c *Cluster) Load(seed uint64, every time.Duration) {
	c.t.Helper()
	if c.app.Write == nil || c.app.Read == nil {
		c.t.Fatal("virtual: load: the App has no Write or no Read")
	}
	ctx, cancel := context.WithCancel(c.ctx)
	l := &load{cancel: cancel}
	c.mu.Lock()
	c.load = l
	c.mu.Unlock()
	for i, id := range c.Shards() {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		l.running.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				moment := 1 + time.Duration(random.Int64N(int64(every)/2+1))
				clock.Pause(ctx, moment)
				moment = 1 + time.Duration(random.Int64N(int64(every)/2+1))
				if random.IntN(3) == 0 {
					_ = c.readOnce(ctx, id, moment) // what it means is noted
				} else {
					_ = c.writeOnce(ctx, id, fmt.Sprintf("%s-%d", id, n), moment)
				}
			}
		})
	}
}

func (c *Cluster) stopLoad() {
	c.mu.Lock()
	l := c.load
	c.load = nil
	c.mu.Unlock()
	if l != nil {
		l.cancel()
		l.running.Wait()
	}
}

// writeOnce writes a value and notes its outcome, whenever that is known.
func (c *Cluster) writeOnce(ctx context.Context, id, value string, moment time.Duration) error {
	attempt := c.checker.Writes(id, value)
	return c.abandon(ctx, func(ctx context.Context) error {
		executed, server, err := c.operate(ctx, id, moment, func(ctx context.Context, h sdk.Handler, s sdk.Shard) error { return c.app.Write(ctx, h, s, value) })
		switch {
		case err == nil:
			attempt.Acknowledged(server)
		case executed:
			attempt.Unknown()
		default:
			attempt.Refused()
		}
		return err
	})
}

func (c *Cluster) readOnce(ctx context.Context, id string, moment time.Duration) error {
	attempt := c.checker.Reads(id)
	return c.abandon(ctx, func(ctx context.Context) error {
		var found string
		_, server, err := c.operate(ctx, id, moment, func(ctx context.Context, h sdk.Handler, s sdk.Shard) (err error) {
			found, err = c.app.Read(ctx, h, s)
			return err
		})
		if err != nil {
			attempt.Refused()
			return err
		}
		attempt.Found(found, server)
		return nil
	})
}

// errLate is what a client knows that waits no longer.
var errLate = fmt.Errorf("no answer within %s", patience)

// abandon waits for an operation no longer than a client does; it goes on without him.
func (c *Cluster) abandon(ctx context.Context, operation func(context.Context) error) error {
	ended := make(chan error, 1)
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		ended <- operation(ctx)
	})
	timer := time.NewTimer(patience + ownerPause)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return errLate
	}
}

var errNobody = errors.New("nobody serves the shard")

// operate tries at the owner of the shard, whoever that is by then, until an operation begins there or ctx ends.
func (c *Cluster) operate(ctx context.Context, id string, moment time.Duration, do func(context.Context, sdk.Handler, sdk.Shard) error) (executed bool, server string, err error) {
	err = errNobody
	for {
		if server = c.Owner(id); server != "" {
			if p := c.Server(server).current(); p != nil {
				executed, err = p.operate(ctx, id, moment, do)
				outcome, refused := sdk.OutcomeOf(err)
				if err == nil || executed || !refused || outcome != sdk.NotExecuted {
					return executed, server, err
				}
			}
		}
		clock.Pause(ctx, ownerPause)
		if ctx.Err() != nil {
			return false, server, err
		}
	}
}

// Operate runs an operation at the owner of a shard, under its guard, as a request that came there would: within 5 s it begins, or it was not executed. The
// error is the application's, or the guard's (sdk.Error).
func (c *Cluster) Operate(shardID string, do func(ctx context.Context, h sdk.Handler, s sdk.Shard) error) error {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	_, _, err := c.operate(ctx, shardID, 0, do)
	return err
}

// Write writes a value to the shard with the App's Write, once; reads check that an acknowledged value is not lost. Every value is written only once. An
// error says that it was not acknowledged within 5 s.
func (c *Cluster) Write(shardID, value string) error { return c.writeOnce(c.ctx, shardID, value, 0) }

// Read reads the shard's value with the App's Read and checks it. An error says that it was not answered within 5 s.
func (c *Cluster) Read(shardID string) error { return c.readOnce(c.ctx, shardID, 0) }

// readBack reads every shard at the end.
func (c *Cluster) readBack() {
	if c.app.Read == nil {
		return
	}
	for _, id := range c.Shards() {
		if err := c.readOnce(c.ctx, id, 0); err != nil {
			c.checker.Violate(id, fmt.Sprintf("its value cannot be read after all faults have ended: %v", err))
		}
	}
}

// Move asks the leader to move a shard to a server. Wait for it with WaitServed.
func (c *Cluster) Move(shardID, server string) {
	c.t.Helper()
	c.Server(server)
	if !c.plane.Move(shardID, server) {
		c.t.Fatalf("virtual: shard %q: there is none of that id", shardID)
	}
}

// Drain has the leader move everything off a server, and give it nothing, until Undrain.
func (c *Cluster) Drain(server string) {
	c.fault(server + " is drained")
	c.plane.Drain(server)
}

// Undrain takes Drain back.
func (c *Cluster) Undrain(server string) { c.plane.Undrain(server) }
