package unseat

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// What a verdict needs (PROTOCOL R16).
const (
	agentsNeeded = 2
	zonesNeeded  = 2
	pauseFactor  = 3 // at most one leader in so many LV
)

// Holder is whoever holds the lock.
type Holder struct {
	Allocator string
	Admin     string // address of its AdminService; empty: it is no allocator, but a restore, which answers nobody and is not unseated
	Life      uint64 // of its process; 0: unknown
	Session   coord.SessionID
	Epoch     shard.Epoch
}

// HolderOf is who holds the lock, by its entry and its record.
func HolderOf(entry coord.Entry, record *pb.LeaderRecord) Holder {
	if entry.Session == "" {
		return Holder{}
	}
	return Holder{
		Allocator: record.GetAllocator(), Admin: record.GetAdminAddress(), Life: record.GetLife(),
		Session: entry.Session, Epoch: shard.Epoch{Generation: record.GetGeneration(), Index: uint64(entry.Modify)},
	}
}

// held reports whether somebody holds the lock.
func (h Holder) held() bool { return h.Session != "" }

// watched reports whether somebody holds the lock who must show signs of life to others.
func (h Holder) watched(own string) bool { return h.held() && h.Allocator != own && h.Admin != "" }

// same reports whether two views show one leadership.
func (h Holder) same(other Holder) bool { return h.Session == other.Session && h.Epoch == other.Epoch }

// zone is where an agent is.
type zone struct{ region, zone string }

// answer is what one agent said.
type answer struct {
	agent  string
	zone   zone
	asking bool
	epoch  shard.Epoch // highest that answered it
	silent time.Duration
}

// convicted weighs what agents said of a leader. known is for how long the standby has seen this leadership: an agent that this leader never
// answered counts only once it has had time to load. The reason is for people.
func convicted(holder Holder, answers []answer, known time.Duration, s Settings) (bool, string) {
	agents, zones := map[string]struct{}{}, map[zone]struct{}{}
	for _, a := range answers {
		order := a.epoch.Compare(holder.Epoch)
		switch {
		case order > 0:
			return false, "agent " + a.agent + " was answered by a later leader"
		case !a.asking:
			continue // says nothing
		case order == 0 && a.silent < s.Silence:
			return false, "it answered agent " + a.agent
		case a.silent < s.Silence || order < 0 && known < s.LeaderValidity:
			continue
		}
		agents[a.agent] = struct{}{}
		zones[a.zone] = struct{}{}
	}
	if len(agents) < agentsNeeded || len(zones) < zonesNeeded {
		return false, "too few agents, or of too few zones, say that it answers nobody"
	}
	return true, "it answers neither this allocator nor agents of several zones"
}

// memory is what a standby remembers of its own deeds.
type memory struct {
	at       shard.Instant // when it last unseated a leader; zero: never
	unseated map[uint64]shard.Epoch
	barred   bool // an unseated process took the lock back: never again
}

// most lives that are remembered; reaching it takes weeks of unseating, and then the standby stops rather than forget.
const livesMost = 1000

// sees compares a holder with those that were unseated. It reports whether that has just barred this standby.
func (m *memory) sees(h Holder) bool {
	before, ok := m.unseated[h.Life]
	if m.barred || !h.held() || !ok || h.Epoch.Compare(before) <= 0 {
		return false
	}
	m.barred = true
	return true
}

// may reports whether a leader may be unseated now.
func (m *memory) may(now shard.Instant, leaderValidity time.Duration) bool {
	return !m.barred && len(m.unseated) < livesMost &&
		(m.at.IsZero() || m.at.WaitAge(now) >= pauseFactor*leaderValidity)
}

// did notes that a leader was unseated, or may have been.
func (m *memory) did(now shard.Instant, h Holder) {
	if m.unseated == nil {
		m.unseated = map[uint64]shard.Epoch{}
	}
	m.at, m.unseated[h.Life] = now, h.Epoch
}
