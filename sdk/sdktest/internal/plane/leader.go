package plane

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/shard"
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
	plane   *Plane
	epoch   uint64
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Elect begins a leader. The caller makes sure that there is none.
func (p *Plane) Elect() {
	ctx, cancel := context.WithCancel(p.ctx)
	l := &leader{plane: p, cancel: cancel}
	p.change(func() {
		p.epoch++
		l.epoch, p.leader = p.epoch, l
		for _, life := range p.lives {
			life.seen = time.Now() // what happened before it came proves nothing to it
		}
	})
	l.running.Go(func() { l.watchLeases(ctx) })
	for _, id := range p.Shards() {
		l.running.Go(func() { l.tend(ctx, id) })
	}
}

// Depose ends the leader and returns when it does nothing any more; false: there is none.
func (p *Plane) Depose() bool {
	var l *leader
	p.change(func() { l, p.leader = p.leader, nil })
	if l == nil {
		return false
	}
	l.cancel()
	l.running.Wait()
	return true
}

// lossAfter is how long a server may be silent before it is fenced.
func (p *Plane) lossAfter() time.Duration { return 2*p.cfg.Interval + p.cfg.Interval/2 }

// watchLeases fences who is silent, and waits until what was fenced cannot execute any more (PROTOCOL R8, R11).
func (l *leader) watchLeases(ctx context.Context) {
	p := l.plane
	tick := time.NewTicker(p.cfg.Interval / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		changes := false
		for h, life := range p.lives {
			switch {
			case life.over:
			case life.fenced.IsZero() && time.Since(life.seen) > p.lossAfter():
				p.fence(h, "it was silent")
				changes = true
			case !life.fenced.IsZero() && time.Since(life.fenced) > shard.CoverDrift(p.cfg.Validity):
				life.over, changes = true, true
			}
		}
		if changes {
			p.wake()
		}
		p.mu.Unlock()
	}
}

// fence gives an incarnation no lease any more. The caller holds mu.
func (p *Plane) fence(h Holder, why string) {
	life := p.lives[h]
	if life == nil || life.lost() {
		return
	}
	life.fenced = time.Now()
	p.deps.Checker.NoteAll(fmt.Sprintf("leader: fenced %s: %s", h, why))
}

// tend brings one shard to where it should be, step by step, and keeps it there.
func (l *leader) tend(ctx context.Context, id string) {
	p := l.plane
	for ctx.Err() == nil {
		p.mu.Lock()
		changed, step := p.changed, l.next(p.rows[id])
		p.mu.Unlock()
		if step == nil {
			again := time.NewTimer(p.cfg.Interval)
			select {
			case <-changed:
			case <-again.C:
			case <-ctx.Done():
			}
			again.Stop()
			continue
		}
		if err := step(ctx); err != nil && ctx.Err() == nil {
			p.change(func() { p.rows[id].tries++ })
			p.deps.Checker.Note(id, "leader: "+err.Error())
			clock.Pause(ctx, retryPause)
		}
	}
}

// done changes a row after a step and publishes it.
func (l *leader) done(r *row, change func()) {
	p := l.plane
	p.change(func() {
		change()
		r.tries = 0
		p.publish()
	})
}

// order gives one command to a holder, through the network and its agent, with the faults that there are.
func (l *leader) order(ctx context.Context, r *row, to Holder, kind string, call Call) error {
	p := l.plane
	server := p.servers[to.Server]
	d := p.deps.Disturb(to.Server, r.id, kind)
	send := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		late(ctx, d.Delay)
		if err := p.deps.Net.Pass(ctx, Node, server.Agent); err != nil {
			return err
		}
		if d.Lose {
			<-ctx.Done()
			return ctx.Err()
		}
		err := server.Command(ctx, l.epoch, to.Incarnation, call)
		late(ctx, d.DelayAnswer)
		if passed := p.deps.Net.Pass(ctx, server.Agent, Node); passed != nil {
			return passed
		}
		if d.LoseAnswer {
			<-ctx.Done()
			return ctx.Err()
		}
		return err
	}
	if d.Again > 0 {
		p.running.Go(func() { // it comes a second time, perhaps when nobody expects it any more
			clock.Pause(p.ctx, d.Again)
			_ = send(p.ctx)
		})
	}
	if err := send(ctx); err != nil {
		return fmt.Errorf("%s to %s: %w", kind, to, err)
	}
	return nil
}

// late waits, if there is anything to wait for. A timer that is due at once is run by whoever looks at it, and in a bubble all who do so share one context
// of the race detector (Go 1.26, runtime/time.go), which was seen to fail a check of its own.
func late(ctx context.Context, d time.Duration) {
	if d > 0 {
		clock.Pause(ctx, d)
	}
}

// publish makes a map of the rows. The caller holds mu.
func (p *Plane) publish() {
	p.counter++
	version := shard.Version{Epoch: shard.Epoch{Generation: 1, Index: p.epoch}, Counter: p.counter}
	var servers []shard.Server
	for _, s := range p.deps.Servers {
		servers = append(servers, shard.Server{ID: shard.ServerID(s.Name + "." + App), App: App, Agent: s.Name, Incarnation: p.present(s.Name), DataAddress: s.Address, AgentAddress: s.AgentAddress})
	}
	var entries []shard.Entry
	for _, id := range shard.SortedKeys(p.rows) {
		r := p.rows[id]
		entry := shard.Entry{Index: r.index, Term: r.granted.Term}
		if r.served {
			entry.Primary = shard.ServerID(r.primary.Server + "." + App)
		}
		for _, m := range r.members {
			if m.inSync {
				entry.Secondaries = append(entry.Secondaries, shard.ServerID(m.Server+"."+App))
			}
		}
		entries = append(entries, entry)
	}
	m, err := shard.NewMap(App, version, p.space, servers, entries)
	if err != nil {
		panic("plane: a map of its own rows: " + err.Error())
	}
	p.hub.Set(m)
}

// present is the incarnation of a server that is not lost; 0: none. The caller holds mu.
func (p *Plane) present(server string) (incarnation shard.Incarnation) {
	for h, l := range p.lives {
		if h.Server == server && !l.lost() {
			incarnation = max(incarnation, shard.Incarnation(h.Incarnation))
		}
	}
	return incarnation
}
