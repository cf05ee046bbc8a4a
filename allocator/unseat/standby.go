package unseat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
)

const (
	// lookEvery is how often the leader is asked for a sign of life.
	lookEvery = 500 * time.Millisecond
	// lookSoon is the same for a leader that has just fallen silent: the verdict is near, and every look late is time without a leader.
	lookSoon = 100 * time.Millisecond
	// soonFactor bounds lookSoon, in silences: a leader that lives on behind a partition is not to be asked about ten times a second.
	soonFactor = 3
	// askTimeout is for one question to the leader or to an agent.
	askTimeout = 500 * time.Millisecond
	// lateStandby is a pause of this process after which all silence may have been its own (PROTOCOL R15).
	lateStandby = time.Second
	// storeTimeout is for one call of the store.
	storeTimeout = 2 * time.Second
)

// Settings of a standby.
type Settings struct {
	LeaderValidity time.Duration // LV
	Silence        time.Duration // a leader that answered nobody for so long is dead
	Delay          time.Duration // longest random delay before the deed
}

// Store is what a standby needs of the coordination store.
type Store interface {
	coord.KV
	coord.Sessions
}

// Deps is what a standby works with.
type Deps struct {
	Name   string // of this allocator
	Keys   storage.Keys
	Store  Store
	Log    zerolog.Logger
	Clock  func() shard.Instant
	Dial   func(address string) (transport.Endpoint, error)
	Random func(below time.Duration) time.Duration // 0 or more; 0 for 0
	Holder func() Holder                           // of the lock as it was watched last: a hint; zero: nobody, or unknown
}

// Standby watches whoever leads. Make it with New; Run it once.
type Standby struct {
	s    Settings
	deps Deps

	memory memory
	holder Holder
	since  shard.Instant // when this leadership was first seen
	heard  shard.Instant // when it last answered us, or was first seen
	ran    shard.Instant
	why    string // why it was not unseated at the last look; for the log
}

// New makes a standby.
func New(s Settings, deps Deps) *Standby { return &Standby{s: s, deps: deps} }

// Run watches until ctx ends.
func (s *Standby) Run(ctx context.Context) error {
	s.ran = s.deps.Clock()
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			s.look(ctx)
		}
		s.ran = s.deps.Clock()
		timer.Reset(s.next())
	}
}

// next is how long to wait for the next look.
func (s *Standby) next() time.Duration {
	silent := s.heard.WaitAge(s.deps.Clock())
	if s.holder.watched(s.deps.Name) && silent >= s.s.Silence/2 && silent < soonFactor*s.s.Silence {
		return lookSoon
	}
	return lookEvery
}

// look is one look at the leader.
func (s *Standby) look(ctx context.Context) {
	now := s.deps.Clock()
	h := s.deps.Holder()
	if !h.same(s.holder) {
		s.holder, s.since, s.heard, s.why = h, now, now, ""
	}
	if s.ran.PermissionAge(now) > lookEvery+lateStandby {
		s.heard = now
	}
	if s.memory.sees(h) {
		s.deps.Log.Error().Str("leader", h.Allocator).
			Msg("the leader that was unseated lived and has the lock again: this allocator unseats nobody any more until it is restarted")
	}
	if !h.watched(s.deps.Name) {
		return
	}
	if s.answersUs(ctx, h) {
		s.heard = s.deps.Clock()
		return
	}
	if s.heard.WaitAge(s.deps.Clock()) < s.s.Silence/2 {
		return
	}
	if why := s.judge(ctx, h); why != "" && why != s.why {
		s.why = why
		s.deps.Log.Warn().Str("leader", h.Allocator).Str("why", why).Msg("leader does not answer and is not unseated")
	}
}

// judge asks agents and unseats the leader if they agree; otherwise it says why not.
func (s *Standby) judge(ctx context.Context, h Holder) string {
	guilty, why := s.hear(ctx, h)
	if !guilty {
		return why
	}
	if !s.memory.may(s.deps.Clock(), s.s.LeaderValidity) {
		return "this allocator unseated a leader not long ago, or one that lived: the store ends the session by itself"
	}
	if !clock.Pause(ctx, s.deps.Random(s.s.Delay)) {
		return ""
	}
	// Meanwhile another standby may have done it, or the leader may have come back.
	if !s.deps.Holder().same(h) || s.answersUs(ctx, h) {
		return ""
	}
	if guilty, why = s.hear(ctx, h); !guilty {
		return why
	}
	if err := s.unseat(ctx, h); err != nil {
		return err.Error()
	}
	s.deps.Log.Warn().Str("leader", h.Allocator).Stringer("epoch", h.Epoch).Str("why", why).Msg("leader unseated")
	return ""
}

// hear asks agents about the leader.
func (s *Standby) hear(ctx context.Context, h Holder) (bool, string) {
	witnesses, err := s.witnesses(ctx)
	if err != nil {
		return false, fmt.Sprintf("the servers cannot be read: %v", err)
	}
	answers := s.ask(ctx, witnesses)
	return convicted(h, answers, s.since.WaitAge(s.deps.Clock()), s.s)
}

// unseat destroys the leader's session, if a consistent read shows that it still holds the lock: that read also proves that this standby can
// work with the store.
func (s *Standby) unseat(ctx context.Context, h Holder) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entry, _, err := s.deps.Store.Get(ctx, s.deps.Keys.Leader())
	if err != nil {
		return fmt.Errorf("the lock cannot be read: %w", err)
	}
	if entry.Session != h.Session || uint64(entry.Modify) != h.Epoch.Index {
		return errors.New("the lock has changed hands meanwhile")
	}
	s.memory.did(s.deps.Clock(), h) // before: an answer that is lost may have been a yes
	if err := s.deps.Store.DestroySession(ctx, h.Session); err != nil {
		return fmt.Errorf("its session cannot be destroyed: %w", err)
	}
	return nil
}

// Random draws from 0 up to a time.
func Random(below time.Duration) time.Duration {
	if below <= 0 {
		return 0
	}
	return rand.N(below)
}
