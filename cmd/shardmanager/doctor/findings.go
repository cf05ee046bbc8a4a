package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Level of a finding.
type Level string

// Levels: what is well, what somebody should see to, and what keeps a promise from being kept now.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is what one look at one thing found.
type Finding struct {
	Level Level  `json:"level"`
	About string `json:"about"`
	Says  string `json:"says"`
	Mend  string `json:"mend,omitempty"`
}

// Allocator is what one allocator answered.
type Allocator struct {
	Address string
	Status  *pb.GetStatusResponse
	Trouble string        // why it did not answer; empty: it did
	Off     time.Duration // its clock, beside ours
}

// Facts is what was gathered. What could not be had says so in its trouble; nil and no trouble: there is none to have.
type Facts struct {
	Allocators   []Allocator
	Servers      []*pb.ServerStatus
	Members      []*pb.GossipMember
	Keys         *pb.ListGossipKeysResponse
	LeaderSays   string // why the leader did not tell of servers
	Agent        *pb.StatusResponse
	AgentTrouble string
}

// mostOff is how far a clock may be off before somebody should set it. Leases do not go by it, but events, windows of planned events and logs do.
const mostOff = 2 * time.Second

// Diagnose says of what was gathered what is well and what is not.
func Diagnose(f *Facts) (list []Finding) {
	note := func(level Level, about, mend, format string, args ...any) {
		list = append(list, Finding{level, about, fmt.Sprintf(format, args...), mend})
	}
	answered := allocators(f, note)
	if len(answered) == 0 {
		return list
	}
	leader := leadership(answered, note)
	clocks(f, note)
	if leader != nil {
		cluster(leader, note)
	}
	servers(f, note)
	versions(f, answered, note)
	gossip(f, note)
	local(f, note)
	return list
}

type noter func(level Level, about, mend, format string, args ...any)

func allocators(f *Facts, note noter) (answered []Allocator) {
	for _, a := range f.Allocators {
		switch {
		case a.Trouble != "":
			note(Fail, "allocator", "", "%s", a.Trouble)
			continue
		case a.Status.GetStoreError() != "":
			note(Fail, "store", "see that the store is up, and the allocator's address, token and certificate for it", "%s cannot use it: %s", a.Status.GetAllocator(), a.Status.GetStoreError())
		}
		answered = append(answered, a)
	}
	if len(answered) == len(f.Allocators) {
		note(OK, "allocators", "", "%d of %d answer", len(answered), len(f.Allocators))
	}
	if n := len(f.Allocators); n == 1 {
		note(OK, "allocators", "", "the others were not looked at: name all by --admin a1:7440,a2:7440,a3:7440")
	}
	return answered
}

// leadership returns the answer of the leader, if it was asked.
func leadership(answered []Allocator, note noter) (leader *pb.GetStatusResponse) {
	said := map[string][]string{}
	clusters := map[string][]string{}
	for _, a := range answered {
		s := a.Status
		said[s.GetLeader()] = append(said[s.GetLeader()], s.GetAllocator())
		clusters[s.GetCluster()] = append(clusters[s.GetCluster()], s.GetAllocator())
		if s.GetLeading() {
			leader = s
		}
	}
	if len(clusters) > 1 {
		note(Fail, "cluster", "give all the same --cluster, or name those of one cluster by --admin", "the allocators are of different clusters: %s", spread(clusters))
	}
	switch none := said[""]; {
	case len(none) == len(answered):
		note(Fail, "leader", "wait some seconds and look again; then see the allocators' logs for why none can lead", "no allocator leads")
	case len(none) > 0:
		note(Warn, "leader", "look again in a moment; if it stays so, their way to the store is slow", "%s do not know who leads", strings.Join(none, ", "))
	case len(said) > 1:
		note(Warn, "leader", "look again in a moment: there may be an election", "they do not agree who leads: %s", spread(said))
	default:
		note(OK, "leader", "", "%s leads", answered[0].Status.GetLeader())
	}
	return leader
}

func spread(of map[string][]string) string {
	var parts []string
	for what, who := range of {
		parts = append(parts, fmt.Sprintf("%q say %s", what, strings.Join(who, ", ")))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

func clocks(f *Facts, note noter) {
	good := true
	for _, a := range f.Allocators {
		if a.Off.Abs() > mostOff {
			good = false
			note(Warn, "clocks", "set both by NTP; leases do not go by this clock, but windows of planned events and logs do", "that of %s differs from that of this machine by %s", a.Status.GetAllocator(), a.Off.Round(100*time.Millisecond))
		}
	}
	if good {
		note(OK, "clocks", "", "those of the allocators and of this machine agree within %s", mostOff)
	}
}

// cluster is what the leader says of it as a whole.
func cluster(s *pb.GetStatusResponse, note noter) {
	if s.GetHold() != "" {
		note(Fail, "hold", "see docs/runbook.md, ShardManagerHold; `shardmanager hold release` gives the lost servers up", "%s", s.GetHold())
	}
	if n := s.GetUnplaced(); n > 0 {
		note(Fail, "shards", "`shardmanager map APP` shows which, `shardmanager explain APP SHARD` what one waits for", "%d have no primary that serves", n)
	}
	if n := s.GetQuarantined(); n > 0 {
		note(Fail, "shards", "`shardmanager quarantine` lists them", "%d are in quarantine, because servers died of them", n)
	}
	if n := s.GetLacking(); n > 0 {
		note(Warn, "replicas", "`shardmanager explain APP SHARD` says why", "%d shards have fewer than wanted", n)
	}
	if late := time.Duration(s.GetLoopLateMs()) * time.Millisecond; late > time.Second {
		note(Warn, "leader", "its host may be overloaded: stop it there to have another lead", "its loop was late by %s", late)
	}
	if s.GetHold() == "" && s.GetUnplaced() == 0 && s.GetQuarantined() == 0 {
		note(OK, "shards", "", "every one has a primary that serves")
	}
}

func servers(f *Facts, note noter) {
	if f.LeaderSays != "" {
		note(Warn, "servers", "", "not looked at: %s", f.LeaderSays)
		return
	}
	attached := 0
	for _, s := range f.Servers {
		id, state := s.GetServer().GetId(), s.GetState()
		switch {
		case state == pb.ServerState_SERVER_STATE_ENDED:
			continue
		case state != pb.ServerState_SERVER_STATE_ATTACHED:
			note(Warn, "server", "`shardmanager agent status` on its host; the agent must reach the allocators' --listen", "%s is not attached: %s", id, s.GetReason())
			continue
		case s.GetProbationMs() > 0:
			note(Warn, "server", "it was fenced several times: see its host", "%s is on probation: %s", id, s.GetProbationReason())
		case s.GetDraining():
			note(OK, "server", "", "%s is being drained", id)
		}
		attached++
	}
	note(OK, "servers", "", "%d are attached", attached)
}

func versions(f *Facts, answered []Allocator, note noter) {
	ours, theirs := map[string][]string{}, map[string][]string{}
	for _, a := range answered {
		ours[a.Status.GetVersion()] = append(ours[a.Status.GetVersion()], a.Status.GetAllocator())
	}
	for _, s := range f.Servers {
		if v := s.GetAgentVersion(); v != "" {
			theirs[v] = append(theirs[v], s.GetServer().GetAgent())
		}
	}
	if len(ours) > 1 {
		note(Warn, "versions", "finish the upgrade", "allocators run %s", spread(ours))
	}
	if len(theirs) > 1 {
		note(Warn, "versions", "finish the upgrade: `shardmanager agent restart` replaces an agent while its applications serve on", "agents run %d versions: %s", len(theirs), strings.Join(sortedKeys(theirs), ", "))
	}
	if len(ours) == 1 && len(theirs) <= 1 {
		note(OK, "versions", "", "%s", strings.Join(sortedKeys(ours), ""))
	}
}

func sortedKeys(m map[string][]string) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func gossip(f *Facts, note noter) {
	if len(f.Members) == 0 {
		return
	}
	for _, m := range f.Members {
		if m.GetStatus() == pb.GossipStatus_GOSSIP_STATUS_FAILED {
			note(Warn, "gossip", "it is down, or port and key of its gossip_listen are not right", "%s %s does not answer others", m.GetRole(), m.GetName())
		}
	}
	if k := f.Keys; k != nil {
		inUse := 0
		for _, key := range k.GetKeys() {
			if key.GetMembers() < k.GetMembers() {
				note(Warn, "gossip", "finish the rotation: `shardmanager gossip keys`", "key %s is known to %d of %d members", key.GetName(), key.GetMembers(), k.GetMembers())
			}
			if key.GetPrimary() > 0 {
				inUse++
			}
		}
		if inUse > 1 {
			note(Warn, "gossip", "finish the rotation: `shardmanager gossip keys`", "members encrypt with %d different keys", inUse)
		}
		if k.GetTrouble() != "" {
			note(Warn, "gossip", "", "%s", k.GetTrouble())
		}
	}
	note(OK, "gossip", "", "%d members", len(f.Members))
}

// local is the agent of this host, if it has one.
func local(f *Facts, note noter) {
	switch {
	case f.AgentTrouble != "":
		note(Fail, "agent", "", "%s", f.AgentTrouble)
	case f.Agent == nil:
		note(OK, "agent", "", "none on this host")
	default:
		well := true
		for _, s := range f.Agent.GetServers() {
			if p := s.GetProblem(); p != "" {
				well = false
				note(Fail, "agent", "", "%s: %s", s.GetServer().GetId(), p)
			}
		}
		if well {
			note(OK, "agent", "", "%s looks after %d applications", f.Agent.GetAgent(), len(f.Agent.GetServers()))
		}
	}
}
