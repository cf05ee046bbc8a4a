package virtual

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// Fault is a kind of trouble that a schedule makes.
type Fault uint8

// Faults of schedules; each but the planned ones ends after a while.
const (
	Killed Fault = iota + 1
	Crashed
	Paused
	HostCut
	AgentCut
	ServersCut
	LeaseWithheld
	AgentRestarted
	LeaderChanged
	CommandsLost
	AnswersLost
	CommandsLate
	CommandsRepeated
	CallbacksSlow
	CallbacksStuck
	CallbacksFail
	CallbacksPanic
	Drained // planned
	Moved   // planned
)

var faultNames = [...]string{
	Killed: "killed", Crashed: "crashed", Paused: "paused", HostCut: "cut off from its agent", AgentCut: "agent cut off from the allocator",
	ServersCut: "cut off from the next server", LeaseWithheld: "lease withheld", AgentRestarted: "agent restarted", LeaderChanged: "leader changed",
	CommandsLost: "commands lost", AnswersLost: "answers lost", CommandsLate: "commands late", CommandsRepeated: "commands repeated",
	CallbacksSlow: "callbacks slow", CallbacksStuck: "callbacks stuck", CallbacksFail: "callbacks fail", CallbacksPanic: "callbacks panic",
	Drained: "drained", Moved: "shards moved to it",
}

// String names the fault.
func (f Fault) String() string {
	if int(f) < len(faultNames) && f > 0 {
		return faultNames[f]
	}
	return "none"
}

// Step is one fault of a schedule.
type Step struct {
	At     time.Duration // from the beginning of Play
	For    time.Duration
	Fault  Fault
	Server string
}

// String is a line for people.
func (s Step) String() string {
	return fmt.Sprintf("at %s for %s: %s: %s", s.At, s.For, s.Server, s.Fault)
}

// Bounds of what a schedule draws.
const (
	shortestGap = time.Second
	longestGap  = 10 * time.Second
	longestStep = 15 * time.Second
)

// Schedule draws faults from a seed, for servers of a Cluster with so many, over a time: the same for the same arguments. No server has two at once.
func Schedule(seed uint64, servers int, length time.Duration) []Step {
	random := rand.New(rand.NewPCG(seed, 0))
	draw := func(low, high time.Duration) time.Duration {
		return (low + time.Duration(random.Int64N(int64(high-low)))).Round(time.Millisecond)
	}
	free := make([]time.Duration, servers) // from when on a server has no fault
	var steps []Step
	for at := draw(shortestGap, longestGap); at < length; at += draw(shortestGap, longestGap) {
		server := random.IntN(servers)
		s := Step{At: at, For: draw(shortestGap, longestStep), Fault: Killed + Fault(random.IntN(int(Moved))), Server: string(rune('a' + server))}
		if at >= free[server] {
			free[server] = s.At + s.For + shortestGap
			steps = append(steps, s)
		}
	}
	return steps
}

// Play makes the faults of a schedule and ends each in its time. It returns when the last has ended.
func (c *Cluster) Play(steps []Step) {
	began := time.Now()
	var playing sync.WaitGroup
	for _, s := range steps {
		time.Sleep(time.Until(began.Add(s.At)))
		playing.Go(func() { c.play(s) })
	}
	playing.Wait()
}

// errPlanted is what callbacks fail with that a schedule lets fail.
var errPlanted = errors.New("a planned failure")

func (c *Cluster) play(s Step) {
	during := func(begin, end func(string)) {
		begin(s.Server)
		time.Sleep(s.For)
		end(s.Server)
	}
	disturb := func(d Disturbance) {
		during(func(server string) {
			c.fault(s.String())
			c.faults.onCommands(server, &d)
		}, func(server string) { c.faults.onCommands(server, nil) })
	}
	misbehave := func(b Behaviour) {
		during(func(server string) {
			c.fault(s.String())
			c.faults.onCallbacks(server, &b)
		}, func(server string) { c.faults.onCallbacks(server, nil) })
	}
	switch s.Fault {
	case Killed:
		during(c.Kill, c.Restart)
	case Crashed:
		during(c.Crash, c.Restart)
	case Paused:
		during(c.Pause, c.Resume)
	case HostCut:
		during(c.CutHost, c.MendHost)
	case AgentCut:
		during(c.CutAgent, c.MendAgent)
	case ServersCut:
		next := c.servers[(int(s.Server[0]-'a')+1)%len(c.servers)].Name
		during(func(server string) { c.CutServers(server, next) }, func(server string) { c.MendServers(server, next) })
	case LeaseWithheld:
		during(c.WithholdLease, c.RenewLease)
	case AgentRestarted:
		c.RestartAgent(s.Server, s.For/5)
	case LeaderChanged:
		c.ChangeLeader(s.For / 5)
	case CommandsLost:
		disturb(Disturbance{Lose: true})
	case AnswersLost:
		disturb(Disturbance{LoseAnswer: true})
	case CommandsLate:
		disturb(Disturbance{Delay: s.For / 8, DelayAnswer: s.For / 8})
	case CommandsRepeated:
		disturb(Disturbance{Again: s.For / 2})
	case CallbacksSlow:
		misbehave(Behaviour{Slow: s.For / 5})
	case CallbacksStuck:
		misbehave(Behaviour{Stuck: true})
	case CallbacksFail:
		misbehave(Behaviour{Fail: errPlanted})
	case CallbacksPanic:
		misbehave(Behaviour{Panic: errPlanted.Error()})
	case Drained:
		during(c.Drain, c.Undrain)
	case Moved:
		c.moveSome(s.Server)
	}
}

// moveSome asks for every other shard to move to a server.
func (c *Cluster) moveSome(server string) {
	for i, id := range c.Shards() {
		if i%2 == 0 {
			c.Move(id, server)
		}
	}
}

// Chaos plays the schedule of a seed under load, and fails the test for every violation. The message names the seed, which draws the same schedule
// again; how goroutines interleave is not repeated.
func Chaos(t *testing.T, cfg Config, seed uint64, length time.Duration) {
	t.Helper()
	for _, violation := range RunChaos(t, cfg, seed, length) {
		t.Errorf("seed %d: %s", seed, violation)
	}
}

// RunChaos is Chaos for tests that expect violations: it returns them.
func RunChaos(t *testing.T, cfg Config, seed uint64, length time.Duration) []ownership.Violation {
	t.Helper()
	return Run(t, cfg, func(t *testing.T, c *Cluster) {
		if c.app.Write != nil && c.app.Read != nil {
			c.Load(seed, loadEvery)
		}
		c.Play(Schedule(seed, len(c.servers), length))
	})
}

// loadEvery is how often each client of Chaos has an operation.
const loadEvery = 400 * time.Millisecond
