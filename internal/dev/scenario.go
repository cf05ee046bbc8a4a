package dev

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/judge"
)

// scenario is something that happens to a cluster under load, and what must hold then.
type scenario struct {
	name    string
	planned bool // an operator's or deployer's doing: not one request may fail
	// failover bounds the time from the loss of an owner to the first acknowledged request at the new one, by profile; empty: nobody is
	// lost, nothing is measured.
	failover map[string]time.Duration
	play     play
}

// expected is what the judge holds a scenario to.
func (s scenario) expected(cfg Config) judge.Expected {
	return judge.Expected{Scenario: s.name, Store: cfg.Store, Planned: s.planned, Failover: s.failover[cfg.Profile]}
}

// Times from DESIGN §13.
var (
	hostLost = map[string]time.Duration{profileDefault: 9 * time.Second, profileFast: 5 * time.Second}
	appLost  = map[string]time.Duration{profileDefault: time.Second, profileFast: time.Second}
)

// Trials of each scenario.
const (
	crashTrials     = 20
	demoTrials      = 3
	hostCrashTrials = 4
	pauseTrials     = 2
	drainTrials     = 2
	agentTrials     = 3 // of each kind of restart
	pauseLength     = 15 * time.Second
	restartPause    = time.Second // between restarts of agents: each of them renews leases in its own time
)

// scenarios lists what can be played, in the order of `all`.
func scenarios() []scenario {
	return []scenario{
		{name: "drain", planned: true, play: drain},
		{name: "rolling-restart", planned: true, play: rollingRestart},
		{name: "crash", failover: appLost, play: crash(crashTrials)},
		{name: "host-crash", failover: hostLost, play: hostCrash},
		{name: "pause", failover: hostLost, play: pause},
		{name: "agent-restart", planned: true, play: agentRestart},
		{name: "allocator-loss", planned: true, play: allocatorLoss},
	}
}

// Scenarios lists the names of what can be played.
func Scenarios() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// named finds scenarios by name, all of them for All.
func named(name string) []scenario {
	var list []scenario
	for _, s := range scenarios() {
		if name == All || name == s.name {
			list = append(list, s)
		}
	}
	return list
}
