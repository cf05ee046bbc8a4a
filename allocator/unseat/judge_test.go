package unseat

import (
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

var testSettings = Settings{LeaderValidity: 12 * time.Second, Silence: 2 * time.Second, Delay: time.Second}

func TestConvicted(t *testing.T) {
	epoch := func(i uint64) shard.Epoch { return shard.Epoch{Index: i} }
	leader := Holder{Allocator: "a1", Session: "s", Epoch: epoch(7)}
	says := func(agent, z string, e uint64, silent time.Duration) answer {
		return answer{agent: agent, zone: zone{"r1", z}, asking: true, epoch: epoch(e), silent: silent}
	}
	idle := says("x", "z9", 7, time.Hour)
	idle.asking = false
	const old, young = time.Minute, time.Second
	for name, test := range map[string]struct {
		answers []answer
		known   time.Duration
		guilty  bool
		why     string
	}{
		"two agents in two zones":      {[]answer{says("a", "z1", 7, 2*time.Second), says("b", "z2", 7, time.Minute)}, old, true, "nor agents"},
		"a leadership seen just now":   {[]answer{says("a", "z1", 7, 2*time.Second), says("b", "z2", 7, time.Minute)}, young, true, "nor agents"},
		"two agents in one zone":       {[]answer{says("a", "z1", 7, time.Minute), says("b", "z1", 7, time.Minute)}, old, false, "too few"},
		"one agent twice":              {[]answer{says("a", "z1", 7, time.Minute), says("a", "z2", 7, time.Minute)}, old, false, "too few"},
		"nobody":                       {nil, old, false, "too few"},
		"one was answered":             {[]answer{says("a", "z1", 7, time.Minute), says("b", "z2", 7, time.Minute), says("c", "z3", 7, time.Second)}, old, false, "answered agent c"},
		"almost silent":                {[]answer{says("a", "z1", 7, time.Minute), says("b", "z2", 7, 1999*time.Millisecond)}, old, false, "answered agent b"},
		"one that asks nobody":         {[]answer{says("a", "z1", 7, time.Minute), idle}, old, false, "too few"},
		"never answered, time to load": {[]answer{says("a", "z1", 6, time.Minute), says("b", "z2", 0, time.Minute)}, young, false, "too few"},
		"never answered, no excuse":    {[]answer{says("a", "z1", 6, time.Minute), says("b", "z2", 0, time.Minute)}, 12 * time.Second, true, "nor agents"},
		"never answered, asks briefly": {[]answer{says("a", "z1", 6, time.Second), says("b", "z2", 0, time.Minute)}, old, false, "too few"},
		"a later leader answers":       {[]answer{says("a", "z1", 7, time.Minute), says("b", "z2", 7, time.Minute), says("c", "z3", 8, 0)}, old, false, "later leader"},
	} {
		t.Run(name, func(t *testing.T) {
			guilty, why := convicted(leader, test.answers, test.known, testSettings)
			if guilty != test.guilty || !strings.Contains(why, test.why) {
				t.Errorf("guilty %t, %q: expected %t, with %q", guilty, why, test.guilty, test.why)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	start := shard.Instant{Boot: 1, Raw: 1}
	lv := testSettings.LeaderValidity
	leader := Holder{Allocator: "a1", Life: 11, Session: "s1", Epoch: shard.Epoch{Index: 7}}
	var m memory
	if m.sees(leader) || !m.may(start, lv) {
		t.Fatal("a new standby is barred")
	}
	m.did(start, leader)
	if m.sees(leader) {
		t.Error("the lock of the unseated, as last watched, counts as taken back")
	}
	if m.may(start.Add(3*lv-1), lv) || !m.may(start.Add(3*lv), lv) {
		t.Error("expected one leader in 3·LV")
	}
	restarted := leader
	restarted.Life, restarted.Session, restarted.Epoch = 12, "s2", shard.Epoch{Index: 9}
	if m.sees(restarted) || !m.may(start.Add(3*lv), lv) {
		t.Error("a new process of the same name had died all the same")
	}
	back := leader
	back.Session, back.Epoch = "s3", shard.Epoch{Index: 12}
	if !m.sees(back) || m.sees(back) || m.may(start.Add(time.Hour), lv) {
		t.Error("the same process took the lock back: expected to be barred, and to hear so once")
	}
}

// One of each zone before a second of any.
func TestSpread(t *testing.T) {
	var all []witness
	for _, z := range []string{"z1", "z1", "z1", "z1", "z1", "z1", "z1", "z1", "z2", "z3"} {
		all = append(all, witness{agent: z, zone: zone{"r1", z}})
	}
	count := map[string]int{}
	picked := spread(all)
	for _, w := range picked {
		count[w.zone.zone]++
	}
	if len(picked) != witnessesMost || count["z2"] != 1 || count["z3"] != 1 {
		t.Errorf("picked %v", count)
	}
	if spread(nil) != nil {
		t.Error("picked of nobody")
	}
}

// Whoever restores a snapshot holds the lock, answers nobody, and is left alone; a later generation is a later leader.
func TestARestoreIsNotWatched(t *testing.T) {
	entry := coord.Entry{Session: "s", Modify: 7}
	if h := HolderOf(entry, &pb.LeaderRecord{Allocator: "a restore", Generation: 2}); h.watched("a1") || !h.held() || h.Epoch != (shard.Epoch{Generation: 2, Index: 7}) {
		t.Errorf("%+v", h)
	}
	if h := HolderOf(entry, &pb.LeaderRecord{Allocator: "a2", AdminAddress: "host:1"}); !h.watched("a1") || h.watched("a2") {
		t.Errorf("%+v", h)
	}
}
