package virtual

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// What the leader's patience is.
const (
	// commandTimeout bounds one attempt at a command.
	commandTimeout = 5 * time.Second
	// retryPause is between two attempts.
	retryPause = 200 * time.Millisecond
	// maxTries is how often a step is tried before something else is done.
	maxTries = 5
	// moveDeadline is when a move is called off.
	moveDeadline = time.Minute
)

// leader places shards: a goroutine for each looks at its row and takes the next step, one more looks after leases. It keeps nothing that the rows
// do not hold, so that the next one goes on.
type leader struct {
	cluster *Cluster
	epoch   uint64
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// elect begins a leader. The caller makes sure that there is none.
func (c *Cluster) elect() {
	ctx, cancel := context.WithCancel(c.ctx)
	l := &leader{cluster: c, cancel: cancel}
	c.change(func() {
		c.epoch++
		l.epoch, c.leader = c.epoch, l
		for _, life := range c.lives {
			life.seen = time.Now() // what happened before it came proves nothing to it
		}
	})
	l.running.Go(func() { l.watchLeases(ctx) })
	for _, id := range c.Shards() {
		l.running.Go(func() { l.tend(ctx, id) })
	}
}

// stop ends it and returns when it does nothing any more.
func (l *leader) stop() {
	c := l.cluster
	c.change(func() { c.leader = nil })
	l.cancel()
	l.running.Wait()
}

// lossAfter is how long a server may be silent before it is fenced.
func (c *Cluster) lossAfter() time.Duration { return 2*c.cfg.Interval + c.cfg.Interval/2 }

// watchLeases fences who is silent, and waits until what was fenced cannot execute any more (PROTOCOL R8, R11).
func (l *leader) watchLeases(ctx context.Context) {
	c := l.cluster
	tick := time.NewTicker(c.cfg.Interval / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		changes := false
		for h, life := range c.lives {
			switch {
			case life.over:
			case life.fenced.IsZero() && time.Since(life.seen) > c.lossAfter():
				c.fence(h, "it was silent")
				changes = true
			case !life.fenced.IsZero() && time.Since(life.fenced) > shard.CoverDrift(c.cfg.Validity):
				life.over, changes = true, true
			}
		}
		if changes {
			c.wake()
		}
		c.mu.Unlock()
	}
}

// fence gives an incarnation no lease any more. The caller holds mu.
func (c *Cluster) fence(h holder, why string) {
	life := c.lives[h]
	if life == nil || life.lost() {
		return
	}
	life.fenced = time.Now()
	c.checker.NoteAll(fmt.Sprintf("leader: fenced %s: %s", h, why))
}

// tend brings one shard to where it should be, step by step, and keeps it there.
func (l *leader) tend(ctx context.Context, id string) {
	c := l.cluster
	for ctx.Err() == nil {
		c.mu.Lock()
		changed, step := c.changed, l.next(c.rows[id])
		c.mu.Unlock()
		if step == nil {
			again := time.NewTimer(c.cfg.Interval)
			select {
			case <-changed:
			case <-again.C:
			case <-ctx.Done():
			}
			again.Stop()
			continue
		}
		if err := step(ctx); err != nil && ctx.Err() == nil {
			c.change(func() { c.rows[id].tries++ })
			c.checker.Note(id, "leader: "+err.Error())
			pause(ctx, retryPause)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// done changes a row after a step and publishes it.
func (l *leader) done(r *row, change func()) {
	c := l.cluster
	c.change(func() {
		change()
		r.tries = 0
		c.publish()
	})
}

// order gives one command to a holder, through the network and its agent, with the faults that there are.
func (l *leader) order(ctx context.Context, r *row, to holder, kind string, call func(context.Context, shardmanagerv1connect.ShardHostServiceClient) error) error {
	c := l.cluster
	a := c.Server(to.server).agent
	d := c.faults.disturb(Command{Server: to.server, Shard: r.id, Name: kind})
	send := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		pause(ctx, d.Delay)
		if err := c.net.Pass(ctx, allocatorNode, a.node); err != nil {
			return err
		}
		if d.Lose {
			<-ctx.Done()
			return ctx.Err()
		}
		err := a.command(ctx, l.epoch, to.incarnation, call)
		pause(ctx, d.DelayAnswer)
		if passed := c.net.Pass(ctx, a.node, allocatorNode); passed != nil {
			return passed
		}
		if d.LoseAnswer {
			<-ctx.Done()
			return ctx.Err()
		}
		return err
	}
	if d.Again > 0 {
		c.running.Go(func() { // it comes a second time, perhaps when nobody expects it any more
			pause(c.ctx, d.Again)
			_ = send(c.ctx)
		})
	}
	if err := send(ctx); err != nil {
		return fmt.Errorf("%s to %s: %w", kind, to, err)
	}
	return nil
}

// publish makes a map of the rows. The caller holds mu.
func (c *Cluster) publish() {
	c.counter++
	version := shard.Version{Epoch: shard.Epoch{Generation: 1, Index: c.epoch}, Counter: c.counter}
	var servers []shard.Server
	for _, s := range c.servers {
		servers = append(servers, shard.Server{ID: shard.ServerID(s.Name + "." + AppName), App: AppName, Agent: s.Name, Incarnation: c.present(s.Name), DataAddress: s.Address, AgentAddress: s.agent.address()})
	}
	var entries []shard.Entry
	for _, id := range shard.SortedKeys(c.rows) {
		r := c.rows[id]
		entry := shard.Entry{Index: r.index, Term: r.granted.Term}
		if r.served {
			entry.Primary = shard.ServerID(r.primary.server + "." + AppName)
		}
		for _, m := range r.members {
			if m.inSync {
				entry.Secondaries = append(entry.Secondaries, shard.ServerID(m.server+"."+AppName))
			}
		}
		entries = append(entries, entry)
	}
	m, err := shard.NewMap(AppName, version, c.space, servers, entries)
	if err != nil {
		c.t.Errorf("virtual: shard map: %v", err)
		return
	}
	c.hub.Set(m)
}

// present is the incarnation of a server that is not lost; 0: none. The caller holds mu.
func (c *Cluster) present(server string) (incarnation shard.Incarnation) {
	for h, l := range c.lives {
		if h.server == server && !l.lost() {
			incarnation = max(incarnation, shard.Incarnation(h.incarnation))
		}
	}
	return incarnation
}
