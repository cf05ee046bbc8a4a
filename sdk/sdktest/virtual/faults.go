package virtual

import (
	"context"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/sdk/sdktest/internal/plane"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// Command is one command of the leader on its way to a Host.
type Command struct {
	Server string
	Shard  string
	Name   string // of the rpc of ShardHostService: PrepareAddShard, PrepareDropShard, Activate, AddShard, DropShard and so on
}

// Disturbance is what happens to a command; zero: nothing.
type Disturbance struct {
	Lose        bool          // it does not arrive
	LoseAnswer  bool          // it is carried out, and its answer does not arrive
	Delay       time.Duration // of the command
	DelayAnswer time.Duration
	Again       time.Duration // it comes a second time, so long after the first; 0: it does not
}

// Behaviour is what a callback does besides, or instead of, what the application's does; zero: nothing.
type Behaviour struct {
	Slow  time.Duration // it takes so much longer
	Stuck bool          // it does not return before its context has ended, and then fails
	Fail  error         // it fails, and the application is not called
	Panic any           // it panics
}

// faults are what is broken now.
type faults struct {
	mu        sync.Mutex
	commands  func(Command) Disturbance
	callbacks func(ownership.Call) Behaviour
	// Of schedules, by server; they come after what the functions say.
	disturbed map[string]*Disturbance
	misled    map[string]*Behaviour
}

func (f *faults) disturb(server, shardID, command string) plane.Disturbance {
	return plane.Disturbance(f.disturbance(Command{Server: server, Shard: shardID, Name: command}))
}

func (f *faults) disturbance(c Command) Disturbance {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.commands != nil {
		if d := f.commands(c); d != (Disturbance{}) {
			return d
		}
	}
	if d := f.disturbed[c.Server]; d != nil {
		return *d
	}
	return Disturbance{}
}

func (f *faults) behave(c ownership.Call) Behaviour {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.callbacks != nil {
		if b := f.callbacks(c); b != (Behaviour{}) {
			return b
		}
	}
	if b := f.misled[c.Server]; b != nil {
		return *b
	}
	return Behaviour{}
}

// onCommands sets what a schedule does to the commands for a server; nil: nothing.
func (f *faults) onCommands(server string, d *Disturbance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.disturbed == nil {
		f.disturbed = map[string]*Disturbance{}
	}
	f.disturbed[server] = d
}

// onCallbacks sets what a schedule does to the callbacks of a server; nil: nothing.
func (f *faults) onCallbacks(server string, b *Behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.misled == nil {
		f.misled = map[string]*Behaviour{}
	}
	f.misled[server] = b
}

// Disturb asks what happens to every command from now on; nil: nothing. The function is never called twice at once.
func (c *Cluster) Disturb(how func(Command) Disturbance) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.commands = how
}

// Misbehave asks what every callback does from now on; nil: what the application does. The function is never called twice at once.
func (c *Cluster) Misbehave(how func(ownership.Call) Behaviour) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.callbacks = how
}

// around is called around every callback of a process.
func (p *process) around(ctx context.Context, call ownership.Call, next func(context.Context) error) error {
	if err := p.goOn(); err != nil {
		return err
	}
	b := p.server.cluster.faults.behave(call)
	if b.Slow > 0 {
		if err := p.sleep(b.Slow); err != nil {
			return err
		}
	}
	switch {
	case b.Stuck:
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.killed:
			return errKilled
		}
	case b.Panic != nil:
		panic(b.Panic)
	case b.Fail != nil:
		return b.Fail
	}
	if err := next(ctx); err != nil {
		return err
	}
	return p.goOn()
}

func (c *Cluster) fault(line string) { c.checker.NoteAll("fault: " + line) }

// Kill ends a server's process at once; its agent sees that.
func (c *Cluster) Kill(server string) {
	s := c.Server(server)
	p := s.take()
	if p == nil {
		return
	}
	c.fault(server + " is killed")
	p.kill()
	s.agent.died()
}

// Crash ends a server's process and its agent, as the loss of their machine does: nobody tells.
func (c *Cluster) Crash(server string) {
	s := c.Server(server)
	c.fault("the machine of " + server + " is lost")
	s.agent.stop()
	if p := s.take(); p != nil {
		p.kill()
	}
}

// Restart starts what Kill or Crash ended.
func (c *Cluster) Restart(server string) {
	s := c.Server(server)
	s.agent.start()
	s.start()
}

// Pause makes a server's process stand still, like SIGSTOP: nothing leaves it or arrives, callbacks that begin or end wait, and so do operations of
// Operate before and after the application's part. Time goes on. What the application's own goroutines do meanwhile cannot be stopped.
func (c *Cluster) Pause(server string) {
	if p := c.Server(server).current(); p != nil {
		c.fault(server + " stands still")
		p.pause()
	}
}

// Resume takes Pause back.
func (c *Cluster) Resume(server string) {
	if p := c.Server(server).current(); p != nil {
		c.fault(server + " goes on")
		p.resume()
	}
}

// CutHost parts a server from its agent, and CutAgent the agent from the allocator and the store. Heal, MendHost and MendAgent take it back.
func (c *Cluster) CutHost(server string) {
	c.fault(server + " is cut off from its agent")
	c.net.Cut(server, c.Server(server).agent.node)
}

// MendHost takes CutHost back.
func (c *Cluster) MendHost(server string) { c.net.Mend(server, c.Server(server).agent.node) }

// CutAgent parts a server's agent from the allocator.
func (c *Cluster) CutAgent(server string) {
	c.fault("the agent of " + server + " is cut off from the allocator")
	c.net.Cut(c.Server(server).agent.node, plane.Node)
}

// MendAgent takes CutAgent back.
func (c *Cluster) MendAgent(server string) { c.net.Mend(c.Server(server).agent.node, plane.Node) }

// CutServers parts two servers, so that neither forwards to the other or takes state from it.
func (c *Cluster) CutServers(a, b string) {
	c.fault(a + " and " + b + " are cut off from each other")
	c.net.Cut(c.Server(a).Name, c.Server(b).Name)
}

// MendServers takes CutServers back.
func (c *Cluster) MendServers(a, b string) { c.net.Mend(a, b) }

// WithholdLease has the leader renew a server's lease no more, without taking it for lost.
func (c *Cluster) WithholdLease(server string) {
	c.fault(server + " gets no lease")
	c.plane.Withhold(server)
}

// RenewLease takes WithholdLease back.
func (c *Cluster) RenewLease(server string) { c.plane.Renew(server) }

// JumpClock moves the clock of a server's agent: forward, and the lease ends early; backward, and it ends late, as after a virtual machine was resumed
// from a snapshot. The second is beyond what leases can withstand; terms in storage still can.
func (c *Cluster) JumpClock(server string, by time.Duration) {
	c.fault("the clock of the agent of " + server + " jumps by " + by.String())
	a := c.Server(server).agent
	a.mu.Lock()
	defer a.mu.Unlock()
	a.skew += by
}

// RestartAgent stops a server's agent, and starts it again after a while in which the process is alone.
func (c *Cluster) RestartAgent(server string, after time.Duration) {
	c.fault("the agent of " + server + " restarts")
	a := c.Server(server).agent
	a.stop()
	time.Sleep(after)
	a.start()
}

// ChangeLeader ends the leader, and elects another one after a while in which there is none.
func (c *Cluster) ChangeLeader(after time.Duration) {
	if !c.plane.Depose() {
		return
	}
	c.fault("the leader has ended")
	time.Sleep(after)
	c.fault("a new leader begins")
	c.plane.Elect()
}

// Heal ends all faults: links are mended, processes go on or start again, commands and callbacks do what they should, and nothing is drained.
func (c *Cluster) Heal() {
	c.Disturb(nil)
	c.Misbehave(nil)
	for _, s := range c.servers {
		c.faults.onCommands(s.Name, nil)
		c.faults.onCallbacks(s.Name, nil)
	}
	for _, s := range c.servers {
		c.plane.Renew(s.Name)
		c.plane.Undrain(s.Name)
		c.MendHost(s.Name)
		c.MendAgent(s.Name)
		for _, other := range c.servers {
			c.net.Mend(s.Name, other.Name)
		}
		if p := s.current(); p != nil {
			p.resume()
		}
		c.mu.Lock()
		stopping := c.stopping
		c.mu.Unlock()
		if !stopping {
			c.Restart(s.Name)
		}
	}
}
