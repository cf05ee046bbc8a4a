package doctor

import (
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func status(name string, more func(*pb.GetStatusResponse)) Allocator {
	s := &pb.GetStatusResponse{Cluster: "prod", Allocator: name, Leader: "a1", Leading: name == "a1", Version: "v2"}
	if more != nil {
		more(s)
	}
	return Allocator{Address: name + ":7440", Status: s}
}

func server(id string, state pb.ServerState, more func(*pb.ServerStatus)) *pb.ServerStatus {
	s := &pb.ServerStatus{Server: &pb.Server{Id: id, Agent: strings.TrimSuffix(id, ".kv")}, State: state, AgentVersion: "v2"}
	if more != nil {
		more(s)
	}
	return s
}

const attached = pb.ServerState_SERVER_STATE_ATTACHED

// well is a cluster in which nothing is wrong.
func well() *Facts {
	return &Facts{
		Allocators: []Allocator{status("a1", nil), status("a2", nil)},
		Servers:    []*pb.ServerStatus{server("n1.kv", attached, nil), server("n0.kv", pb.ServerState_SERVER_STATE_ENDED, nil)},
		Members:    []*pb.GossipMember{{Role: "agent", Name: "n1", Status: pb.GossipStatus_GOSSIP_STATUS_ALIVE}},
		Keys:       &pb.ListGossipKeysResponse{Members: 1, Answered: 1, Keys: []*pb.GossipKey{{Name: "k", Members: 1, Primary: 1}}},
		Agent:      &pb.StatusResponse{Agent: "n1", Servers: []*pb.AgentServerStatus{{Server: &pb.Server{Id: "n1.kv"}}}},
	}
}

func TestAllIsWell(t *testing.T) {
	for _, f := range Diagnose(well()) {
		if f.Level != OK || f.Mend != "" {
			t.Errorf("%+v", f)
		}
	}
	f := well()
	f.Members, f.Keys, f.Agent = nil, nil, nil // no gossip, no agent on this host
	for _, f := range Diagnose(f) {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
	}
}

// Each thing that can be wrong is found, by its level and in words, and says how to mend it where that is not plain.
func TestFindings(t *testing.T) {
	tests := map[string]struct {
		spoil func(*Facts)
		level Level
		says  string
	}{
		"an allocator is away":    {func(f *Facts) { f.Allocators[1].Trouble = "cannot reach allocator a2" }, Fail, "cannot reach allocator a2"},
		"all are away":            {func(f *Facts) { f.Allocators = []Allocator{{Trouble: "cannot reach a1"}} }, Fail, "cannot reach a1"},
		"the store":               {func(f *Facts) { f.Allocators[0].Status.StoreError = "no space left" }, Fail, "a1 cannot use it: no space left"},
		"nobody leads":            {func(f *Facts) { f.Allocators[0], f.Allocators[1] = leaderless("a1"), leaderless("a2") }, Fail, "no allocator leads"},
		"one does not know":       {func(f *Facts) { f.Allocators[1].Status.Leader = "" }, Warn, "a2 do not know who leads"},
		"they do not agree":       {func(f *Facts) { f.Allocators[1].Status.Leader = "a3" }, Warn, `"a1" say a1; "a3" say a2`},
		"another cluster":         {func(f *Facts) { f.Allocators[1].Status.Cluster = "test" }, Fail, "of different clusters"},
		"a clock":                 {func(f *Facts) { f.Allocators[1].Off = -time.Minute }, Warn, "that of a2 differs from that of this machine by -1m0s"},
		"a hold":                  {func(f *Facts) { f.Allocators[0].Status.Hold = "5 of 9 are lost" }, Fail, "5 of 9 are lost"},
		"shards without primary":  {func(f *Facts) { f.Allocators[0].Status.Unplaced = 3 }, Fail, "3 have no primary"},
		"quarantine":              {func(f *Facts) { f.Allocators[0].Status.Quarantined = 1 }, Fail, "1 are in quarantine"},
		"replicas":                {func(f *Facts) { f.Allocators[0].Status.Lacking = 2 }, Warn, "2 shards have fewer"},
		"a slow leader":           {func(f *Facts) { f.Allocators[0].Status.LoopLateMs = 1500 }, Warn, "late by 1.5s"},
		"a silent server":         {func(f *Facts) { f.Servers[0] = server("n1.kv", pb.ServerState_SERVER_STATE_SUSPECT, nil) }, Warn, "n1.kv is not attached"},
		"probation":               {func(f *Facts) { f.Servers[0].ProbationMs, f.Servers[0].ProbationReason = 9, "fenced twice" }, Warn, "on probation: fenced twice"},
		"the leader does not say": {func(f *Facts) { f.Servers, f.LeaderSays = nil, "nobody leads" }, Warn, "not looked at: nobody leads"},
		"versions of allocators":  {func(f *Facts) { f.Allocators[1].Status.Version = "v3" }, Warn, `"v2" say a1; "v3" say a2`},
		"versions of agents": {func(f *Facts) {
			f.Servers = append(f.Servers, server("n2.kv", attached, func(s *pb.ServerStatus) { s.AgentVersion = "v1" }))
		}, Warn, "2 versions: v1, v2"},
		"a member that failed": {func(f *Facts) { f.Members[0].Status = pb.GossipStatus_GOSSIP_STATUS_FAILED }, Warn, "agent n1 does not answer others"},
		"a key not everywhere": {func(f *Facts) { f.Keys.Members = 2 }, Warn, "key k is known to 1 of 2 members"},
		"two keys in use":      {func(f *Facts) { f.Keys.Keys = append(f.Keys.Keys, &pb.GossipKey{Name: "l", Members: 1, Primary: 1}) }, Warn, "2 different keys"},
		"the agent is away":    {func(f *Facts) { f.Agent, f.AgentTrouble = nil, "cannot reach the agent" }, Fail, "cannot reach the agent"},
		"its application":      {func(f *Facts) { f.Agent.Servers[0].Problem = "held by another" }, Fail, "n1.kv: held by another"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := well()
			test.spoil(f)
			list := Diagnose(f)
			if !slices.ContainsFunc(list, func(f Finding) bool { return f.Level == test.level && strings.Contains(f.Says, test.says) }) {
				t.Errorf("expected %s: %s, not %+v", test.level, test.says, list)
			}
			for _, f := range list {
				if f.Level == OK && f.Mend != "" || f.Says == "" || f.About == "" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

func leaderless(name string) Allocator {
	return status(name, func(s *pb.GetStatusResponse) { s.Leader, s.Leading = "", false })
}
