package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/dev/relay"
	"github.com/shardmanager/shardmanager/internal/overlap"
)

// target is what a fault hits.
type target uint8

const (
	aServer target = iota + 1
	aKillableServer
	aServerWithADisk
	theLeader
	aKillableLeader
	aLeaderWithADisk
	anotherAllocator
	consulsLeader
)

// kind is a fault. play does it and undoes it, and returns once the victim is as it was before, as far as others can see.
type kind struct {
	name   string
	weight int
	target target
	// lossy faults take an application's memory away, or the right to use it: where replicas keep the data, one at a time is what they bear.
	lossy bool
	play  func(ctx context.Context, f *fault) error
}

// fault is one that happens.
type fault struct {
	*run
	kind   kind
	random *rand.Rand
	server *server       // hit, if it is one
	unit   *process.Unit // the allocator or Consul server that is hit
	place  int           // of the allocator
	event  *event
}

// kinds of faults, with how often one is chosen among the others.
func kinds() []kind {
	return []kind{
		{"kill application", 6, aKillableServer, true, killApp},
		{"kill agent", 4, aKillableServer, true, killAgent},
		{"kill server", 5, aKillableServer, true, killServer},
		{"pause application", 3, aServer, true, pauseApp},
		{"pause agent", 3, aServer, true, pauseAgent},
		{"pause server", 3, aServer, true, pauseServer},
		{"partition from leader", 4, aServer, false, partition},
		{"partition from store", 3, aServer, true, noStore},
		{"isolate agent", 3, aServer, true, isolate},
		{"slow store of agent", 3, aServer, false, slowStore},
		{"full disk of agent", 3, aServerWithADisk, true, fullDisk},
		{"kill leader", 5, aKillableLeader, false, killLeader},
		{"pause leader", 3, theLeader, false, pauseLeader},
		{"leader without store", 2, theLeader, false, leaderWithoutStore},
		{"slow store of leader", 3, theLeader, false, leaderSlowStore},
		{"full disk of leader", 2, aLeaderWithADisk, false, leaderFullDisk},
		{"kill standby", 2, anotherAllocator, false, killStandby},
		{"kill Consul's leader", 4, consulsLeader, false, killConsul},
	}
}

// between draws a length.
func (f *fault) between(least, most time.Duration) time.Duration {
	return least + time.Duration(f.random.Int64N(int64(most-least)))
}

// hit notes that it happens now.
func (f *fault) hit(at int64) { f.event.At = at }

// killed notes that an application was killed.
func (f *fault) killed(pid int, at int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kills = append(f.kills, overlap.Kill{Process: overlap.Process{File: f.places.History(f.server.Server), PID: pid}, At: at})
}

// back waits until the server is attached.
func (f *fault) back(ctx context.Context) error {
	return clock.Await(ctx, settlePatience, f.server.ID()+" to be back", f.attached(f.server))
}

func killApp(ctx context.Context, f *fault) error {
	pid := f.server.app.PID()
	at, err := f.server.app.Kill(ctx)
	if err != nil {
		return err
	}
	f.hit(at)
	f.killed(pid, at)
	clock.Pause(ctx, f.between(100*time.Millisecond, 3*time.Second))
	return errors.Join(f.server.app.Start(), f.back(ctx))
}

func killAgent(ctx context.Context, f *fault) error {
	at, err := f.server.agent.Kill(ctx)
	if err != nil {
		return err
	}
	f.hit(at)
	clock.Pause(ctx, f.between(0, 6*time.Second))
	return errors.Join(f.server.agent.Start(), f.back(ctx))
}

func killServer(ctx context.Context, f *fault) error {
	pid := f.server.app.PID()
	first, err := f.server.agent.Signal(syscall.SIGKILL, true)
	if err != nil {
		return err
	}
	at, err := f.server.app.Kill(ctx)
	if err != nil {
		return err
	}
	f.hit(first)
	f.killed(pid, at)
	if err := f.server.agent.Ended(ctx, stopPatience); err != nil {
		return err
	}
	clock.Pause(ctx, f.between(100*time.Millisecond, 10*time.Second))
	return errors.Join(f.server.agent.Start(), f.server.app.Start(), f.back(ctx))
}

// pause stops processes for a while.
func (f *fault) pause(ctx context.Context, length time.Duration, units ...*process.Unit) error {
	for i, u := range units {
		at, err := u.Signal(syscall.SIGSTOP, false)
		if err != nil {
			return err
		}
		if i == 0 {
			f.hit(at)
		}
	}
	clock.Pause(ctx, length)
	var failed []error
	for _, u := range units {
		_, err := u.Signal(syscall.SIGCONT, false)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func pauseApp(ctx context.Context, f *fault) error {
	return errors.Join(f.pause(ctx, f.between(200*time.Millisecond, 15*time.Second), f.server.app), f.back(ctx))
}

func pauseAgent(ctx context.Context, f *fault) error {
	return errors.Join(f.pause(ctx, f.between(200*time.Millisecond, 15*time.Second), f.server.agent), f.back(ctx))
}

func pauseServer(ctx context.Context, f *fault) error {
	return errors.Join(f.pause(ctx, f.between(200*time.Millisecond, 15*time.Second), f.server.agent, f.server.app), f.back(ctx))
}

// cut treats a process's connections in networks for a while.
func (f *fault) cut(ctx context.Context, u *process.Unit, c relay.Cut, length time.Duration, networks ...*relay.Relay) {
	f.hit(clock.Now().Raw)
	for _, n := range networks {
		n.Set(u.Name, c)
	}
	clock.Pause(ctx, length)
	for _, n := range networks {
		n.Set(u.Name, relay.Healthy)
	}
}

// severed draws how a network parts.
func (f *fault) severed() relay.Cut {
	return []relay.Cut{relay.Silent, relay.Refused}[f.random.IntN(2)]
}

func partition(ctx context.Context, f *fault) error {
	f.cut(ctx, f.server.agent, f.severed(), f.between(2*time.Second, 20*time.Second), f.control)
	return f.back(ctx)
}

func noStore(ctx context.Context, f *fault) error {
	f.cut(ctx, f.server.agent, f.severed(), f.between(2*time.Second, 20*time.Second), f.storage)
	return f.back(ctx)
}

func isolate(ctx context.Context, f *fault) error {
	f.cut(ctx, f.server.agent, f.severed(), f.between(2*time.Second, 15*time.Second), f.control, f.storage)
	return f.back(ctx)
}

func slowStore(ctx context.Context, f *fault) error {
	f.cut(ctx, f.server.agent, relay.Slow, f.between(5*time.Second, 20*time.Second), f.storage)
	return f.back(ctx)
}

// without restarts a program while its disk is full, as a supervisor does that never gives up, gives the disk room again, and waits until all is well.
func (f *fault) without(ctx context.Context, d *disk, u *process.Unit, well func(context.Context) error) error {
	if err := d.fill(); err != nil {
		return err
	}
	f.bear(u, true) // that it ends because it cannot write
	defer f.bear(u, false)
	at, err := u.Kill(ctx)
	if err != nil {
		return errors.Join(err, d.free())
	}
	f.hit(at)
	running := func(context.Context) error {
		if u.Running() {
			return nil
		}
		return u.Start()
	}
	for until := time.Now().Add(f.between(2*time.Second, 8*time.Second)); time.Now().Before(until) && clock.Pause(ctx, time.Second); {
		err = errors.Join(err, running(ctx))
	}
	if err := errors.Join(err, d.free()); err != nil {
		return err
	}
	return clock.Await(ctx, settlePatience, u.Name+" to be back", func(ctx context.Context) error {
		if err := running(ctx); err != nil {
			return err
		}
		return well(ctx)
	})
}

func fullDisk(ctx context.Context, f *fault) error {
	return f.without(ctx, f.disks[f.server.Node], f.server.agent, f.attached(f.server))
}

// succeeded waits until another allocator leads, and notes how long that took.
func (f *fault) succeeded(ctx context.Context) error {
	err := clock.Await(ctx, settlePatience, "another leader than "+f.unit.Name, f.another(f.place))
	f.event.took(clock.Now().Raw)
	return err
}

func killLeader(ctx context.Context, f *fault) error {
	at, err := f.unit.Kill(ctx)
	if err != nil {
		return err
	}
	f.hit(at)
	err = f.succeeded(ctx)
	return errors.Join(err, f.unit.Start())
}

// pauseLeader may be shorter than anybody notices, or longer than the lock lasts.
func pauseLeader(ctx context.Context, f *fault) error {
	if err := f.pause(ctx, f.between(200*time.Millisecond, 20*time.Second), f.unit); err != nil {
		return err
	}
	return f.led(ctx)
}

// led waits until some allocator leads, and notes how long that took.
func (f *fault) led(ctx context.Context) error {
	err := clock.Await(ctx, settlePatience, "a leader", f.another(-1))
	f.event.took(clock.Now().Raw)
	return err
}

func leaderWithoutStore(ctx context.Context, f *fault) error {
	f.cut(ctx, f.unit, f.severed(), f.between(2*time.Second, 25*time.Second), f.storage)
	return f.led(ctx)
}

func leaderSlowStore(ctx context.Context, f *fault) error {
	f.cut(ctx, f.unit, relay.Slow, f.between(5*time.Second, 20*time.Second), f.storage)
	return f.led(ctx)
}

func leaderFullDisk(ctx context.Context, f *fault) error {
	return f.without(ctx, f.disks[f.unit.Name], f.unit, f.another(-1))
}

func killStandby(ctx context.Context, f *fault) error {
	at, err := f.unit.Kill(ctx)
	if err != nil {
		return err
	}
	f.hit(at)
	clock.Pause(ctx, f.between(0, 5*time.Second))
	if err := f.unit.Start(); err != nil {
		return err
	}
	return clock.Await(ctx, settlePatience, f.unit.Name+" to answer", func(ctx context.Context) error {
		_, err := f.admins.Leads(ctx, f.place)
		return err
	})
}

func killConsul(ctx context.Context, f *fault) error {
	at, err := f.unit.Kill(ctx)
	if err != nil {
		return err
	}
	f.hit(at)
	if err := f.consul.Ready(ctx); err != nil {
		return err
	}
	f.event.took(clock.Now().Raw)
	clock.Pause(ctx, f.between(0, 5*time.Second))
	return errors.Join(f.unit.Start(), f.consul.Ready(ctx))
}

// aim finds a victim for a kind that no other fault holds, and holds it. false: there is none now. mu is held.
func (r *run) aim(ctx context.Context, k kind, random *rand.Rand) (*fault, bool) {
	f := &fault{run: r, kind: k, random: random}
	switch k.target {
	case aServer, aKillableServer, aServerWithADisk:
		var free []*server
		for i, s := range r.servers {
			spared := k.target == aKillableServer && i == len(r.servers)-1
			if !r.busy[s.Node] && !spared && (k.target != aServerWithADisk || r.disks[s.Node] != nil) {
				free = append(free, s)
			}
		}
		if len(free) == 0 || len(r.servers)-r.free() >= r.mostServers() || k.lossy && !r.bears(ctx) {
			return nil, false
		}
		f.server = free[random.IntN(len(free))]
	case theLeader, aKillableLeader, aLeaderWithADisk, anotherAllocator:
		lead, err := r.admins.Leader(ctx)
		if err != nil || r.busy["an allocator"] {
			return nil, false
		}
		f.place = lead
		if k.target == anotherAllocator {
			f.place = (lead + 1) % len(r.allocators)
		}
		f.unit = r.allocators[f.place]
		// The last one lives as long as the run: what it holds tells of leaks.
		if spared := f.place == len(r.allocators)-1; spared && k.target != theLeader || k.target == aLeaderWithADisk && r.disks[f.unit.Name] == nil {
			return nil, false
		}
	case consulsLeader:
		leader, err := r.consul.Leader(ctx)
		if err != nil || r.busy["Consul"] {
			return nil, false
		}
		f.unit = leader.Unit
	}
	r.busy[f.holds()] = true
	return f, true
}

// holds names what no other fault may hit meanwhile: a server, any allocator, any server of Consul.
func (f *fault) holds() string {
	switch f.kind.target {
	case aServer, aKillableServer, aServerWithADisk:
		return f.server.Node
	case consulsLeader:
		return "Consul"
	case theLeader, aKillableLeader, aLeaderWithADisk, anotherAllocator:
	}
	return "an allocator"
}

// victim names it for people.
func (f *fault) victim() string {
	if f.server != nil {
		return f.server.Node
	}
	return f.unit.Name
}

// free counts the servers that no fault holds.
func (r *run) free() (n int) {
	for _, s := range r.servers {
		if !r.busy[s.Node] {
			n++
		}
	}
	return n
}

// String is the fault in the words of the log.
func (f *fault) String() string { return fmt.Sprintf("%s: %s", f.kind.name, f.victim()) }
