package dev

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/judge"
)

// scenario is something that happens to a cluster under load, and what must hold then.
type scenario struct {
	name    string
	planned bool // an operator's or deployer's doing: not one request may fail
	// second is how often its events are repeated with secondaries, where these make it another scenario: All plays it in both modes of the
	// example. 0: they do not.
	second int
	// failover bounds the time from the loss of an owner to the first acknowledged request at the new one, by profile; empty: nobody is
	// lost, nothing is measured.
	failover map[string]time.Duration
	play     play
}

// expected is what the judge holds a scenario to.
func (s scenario) expected(cfg Config) judge.Expected {
	return judge.Expected{Scenario: s.name, Store: cfg.Store, Mode: cfg.Mode, Planned: s.planned, Failover: s.failover[cfg.Profile]}
}

// Times from DESIGN §13.
var (
	hostLost = map[string]time.Duration{profileDefault: 9 * time.Second, profileFast: 5 * time.Second}
	// A leader that is lost together with servers must have granted for the last time before anybody is fenced.
	leaderAndHostLost = map[string]time.Duration{profileDefault: 21 * time.Second, profileFast: 11 * time.Second}
	// An application that hangs is lost once its agent has said so and others have found it: an interval later, and up to one more.
	appHung = map[string]time.Duration{profileDefault: 11 * time.Second, profileFast: 6 * time.Second}

	appLost = map[string]time.Duration{profileDefault: time.Second, profileFast: time.Second}
)

// Trials of each scenario.
const (
	crashTrials       = 20
	demoTrials        = 3
	hostCrashTrials   = 2
	pauseTrials       = 1
	appPauseTrials    = 1
	drainTrials       = 2
	agentTrials       = 3 // of each kind of restart
	regionTrials      = 1
	growthTrials      = 1
	shiftTrials       = 2
	partitionTrials   = 2
	poisonTrials      = 1
	leaderPauseTrials = 1
	pauseLength       = 15 * time.Second
	restartPause      = time.Second // between restarts of agents: each of them renews leases in its own time

	addedServers = 2
	// hotShards of one server get hotShare of the load; with six servers none should have more than hotMost of them.
	hotShards         = 6
	hotShare          = 0.6
	hotMost           = 2
	partitionLength   = 15 * time.Second // longer than any lease, shorter than partition_grace
	leaderPauseLength = 20 * time.Second
	reviveAfter       = time.Second      // an application that died is started again
	poisonWatch       = 5 * time.Second  // that a quarantined shard kills nobody
	hangLength        = 15 * time.Second // longer than a step's deadline
)

// scenarios lists what can be played, in the order of `all`.
func scenarios() []scenario {
	return []scenario{
		{name: "drain", planned: true, second: 1, play: drain},
		{name: "rolling-restart", planned: true, second: 1, play: rollingRestart},
		{name: "rolling-upgrade", planned: true, second: 1, play: rollingUpgrade},
		{name: "crash", failover: appLost, second: 3, play: crash(crashTrials)},
		{name: "host-crash", failover: hostLost, second: 1, play: hostCrash},
		{name: "pause", failover: hostLost, play: pause(pauseTrials, "the agent and the application", wholeServer)},
		{name: "agent-restart", planned: true, play: agentRestart},
		{name: "allocator-loss", planned: true, play: allocatorLoss},
		{name: "region-loss", failover: hostLost, second: 1, play: regionLoss(regionTrials, isNotLeader)},
		{name: "region-loss-leader", failover: leaderAndHostLost, play: regionLoss(regionTrials, isLeader)},
		{name: "add-server", planned: true, second: 1, play: addServer},
		{name: "load-shift", planned: true, play: loadShift},
		{name: "partial-partition", planned: true, play: partialPartition},
		{name: "poison-shard", planned: true, second: 1, play: poisonShard},
		{name: "slow-callback", planned: true, play: slowCallback},
		{name: "leader-pause", planned: true, play: leaderPause},
		{name: "app-pause", failover: appHung, play: pause(appPauseTrials, "the application", onlyApplication)},
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

// part is a scenario in a mode of the example.
type part struct {
	scenario
	mode string
}

// parts lists what to play. All plays a scenario in the second mode only if that differs.
func (c Config) parts() []part {
	var list []part
	for _, s := range named(c.Scenario) {
		for i, mode := range c.modes() {
			if i == 0 || c.Scenario != All || s.second > 0 {
				list = append(list, part{scenario: s, mode: mode})
			}
		}
	}
	return list
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
