package virtual

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// Every fault does what it says to the owner of a shard for 30 s, and nothing breaks.
func TestFaults(t *testing.T) {
	const kept, lost = true, false
	for _, test := range []struct {
		fault Fault
		keeps bool // its owner
		sign  string
	}{
		{Killed, lost, "is killed"},
		{Crashed, lost, "fenced"},
		{Paused, lost, "fenced"},
		{HostCut, lost, "fenced"},
		{AgentCut, lost, "fenced"},
		{ServersCut, kept, "cut off from each other"},
		{LeaseWithheld, kept, "gets no lease"},
		{AgentRestarted, lost, "fenced"}, // 6 s without an agent
		{LeaderChanged, kept, "a new leader begins"},
		{CommandsLost, kept, "commands lost"},
		{AnswersLost, kept, "answers lost"},
		{CommandsLate, kept, "commands late"},
		{CommandsRepeated, kept, "commands repeated"},
		{CallbacksSlow, kept, "callbacks slow"},
		{CallbacksStuck, kept, "callbacks stuck"},
		{CallbacksFail, kept, "callbacks fail"},
		{CallbacksPanic, kept, "callbacks panic"},
		{Drained, lost, "moves from"},
		{Moved, kept, ""},
	} {
		t.Run(test.fault.String(), func(t *testing.T) {
			Test(t, Config{App: durableApp}, func(t *testing.T, c *Cluster) {
				id := c.Shards()[0]
				owner := c.Owner(id)
				c.Load(1, 500*time.Millisecond)
				c.Play([]Step{{For: 30 * time.Second, Fault: test.fault, Server: owner}})
				c.WaitServed(SettleTime)
				if now := c.Owner(id); (now == owner) != test.keeps {
					t.Errorf("the owner was %s and is %s", owner, now)
				}
				if history := strings.Join(c.Checker().History(id), "\n"); !strings.Contains(history, test.sign) {
					t.Errorf("no sign %q in the history:\n%s", test.sign, history)
				}
			})
		})
	}
}

// What happens to a shard while the target of its move has trouble with one callback or command: the move goes on, or is called off; no write is lost.
func TestMovesInTrouble(t *testing.T) {
	commands := func(name string, d Disturbance) func(*Cluster) {
		return func(c *Cluster) {
			c.Disturb(func(command Command) Disturbance {
				if command.Name == name {
					return d
				}
				return Disturbance{}
			})
		}
	}
	callback := func(name string, b Behaviour) func(*Cluster) {
		return func(c *Cluster) {
			c.Misbehave(func(call ownership.Call) Behaviour {
				if call.Callback == name && call.Count <= 2 {
					return b
				}
				return Behaviour{}
			})
		}
	}
	for name, trouble := range map[string]func(*Cluster){
		"prepare lost":       commands("PrepareAddShard", Disturbance{Lose: true}),
		"hand-over lost":     commands("PrepareDropShard", Disturbance{Lose: true}),
		"hand-over answered": commands("PrepareDropShard", Disturbance{LoseAnswer: true}),
		"add twice":          commands("AddShard", Disturbance{Again: 3 * time.Second}),
		"drop late":          commands("DropShard", Disturbance{Delay: 4 * time.Second}),
		"activate fails":     callback("Activate", Behaviour{Fail: errors.New("not now")}),
		"activate stuck":     callback("Activate", Behaviour{Stuck: true}),
		"activate panics":    callback("Activate", Behaviour{Panic: "oops"}),
		"add slow":           callback("AddShard", Behaviour{Slow: 8 * time.Second}),
		"drop fails":         callback("DropShard", Behaviour{Fail: errors.New("not now")}),
	} {
		t.Run(name, func(t *testing.T) {
			Test(t, Config{App: durableApp, Shards: 4}, func(_ *testing.T, c *Cluster) {
				c.Load(1, 200*time.Millisecond)
				trouble(c)
				for _, s := range c.Servers() {
					c.moveSome(s.Name)
					time.Sleep(20 * time.Second)
				}
			})
		})
	}
}

// hopeless never serves.
type hopeless struct{}

func (hopeless) AddShard(context.Context, sdk.Shard) error  { return errors.New("no") }
func (hopeless) DropShard(context.Context, sdk.Shard) error { return nil }

func TestFindsShardsWithoutOwner(t *testing.T) {
	app := func(*ownership.Checker) sdktest.App {
		return sdktest.App{New: func(testing.TB, string) sdk.Handler { return hopeless{} }}
	}
	wants(t, Run(t, Config{App: app, Shards: 1}, func(*testing.T, *Cluster) {}), "without an owner, or on its way, for 5m0s: shard 0")
}

// Schedules have every fault, repeat by seed, and never give a server two faults at once.
func TestSchedule(t *testing.T) {
	seen := map[Fault]bool{}
	for seed := range uint64(20) {
		steps := Schedule(seed, 3, 5*time.Minute)
		if len(steps) < 10 || !slices.Equal(steps, Schedule(seed, 3, 5*time.Minute)) {
			t.Errorf("seed %d: %d steps, or not the same again", seed, len(steps))
		}
		free := map[string]time.Duration{}
		for _, s := range steps {
			seen[s.Fault] = true
			if s.At < free[s.Server] {
				t.Errorf("seed %d: %s, and the one before has not ended", seed, s)
			}
			free[s.Server] = s.At + s.For
		}
	}
	for f := Killed; f <= Moved; f++ {
		if !seen[f] {
			t.Errorf("no schedule has %s", f)
		}
	}
}
