package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvserve"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// poisonShard makes a shard kill every application that loads it. It is quarantined after some deaths; all other shards are served all the
// time. Then it is cured and let out. With secondaries the shard itself is served all the time, too: it is loaded for a new secondary only.
func poisonShard(ctx context.Context, s *stage) error {
	s.mortal.Store(true)
	defer s.mortal.Store(false)
	for range s.times(poisonTrials) {
		v := s.fullest()
		at := s.watch.ShardsAt(v.place.ID())
		if len(at) == 0 {
			return fmt.Errorf("poison: %s has no shard", v.place.ID())
		}
		index := at[0]
		id := string(shard.HashSpace{Shards: layout.Shards}.ID(shard.Index(index)))
		trigger, undo := s.killOwner(v, id, index), func(context.Context) error { return nil }
		if s.cfg.Mode == layout.PrimarySecondary {
			trigger, undo = s.drainSecondary(id, index)
		}
		deaths, err := s.poisoned(ctx, trigger, id)
		s.event("shard %s is cured, after %d deaths", id, deaths)
		if err := errors.Join(err, s.cured(s.servers), s.released(ctx), undo(ctx)); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// trigger makes a shard be loaded somewhere. It returns how many deaths are its own.
type trigger func(context.Context) (deaths int, err error)

// killOwner makes another server load a shard by the death of its owner. Nobody can serve it until it is cured.
func (s *stage) killOwner(v *server, id string, index uint32) trigger {
	return func(ctx context.Context) (int, error) {
		s.spare(id, index)
		s.event("kill -9 the application of %s; from now on shard %s kills whoever loads it", v.place.ID(), id)
		return 1, s.killApp(ctx, v)
	}
}

// drainSecondary makes other servers load a shard by draining the one that is its secondary.
func (s *stage) drainSecondary(id string, index uint32) (drain trigger, undo func(context.Context) error) {
	secondary := s.watch.SecondaryOf(index)
	drain = func(ctx context.Context) (int, error) {
		s.event("drain %s; from now on shard %s, of which it is a secondary, kills whoever loads it", secondary, id)
		return 0, s.admins.Drain(ctx, secondary, false)
	}
	return drain, func(ctx context.Context) error { return s.admins.Drain(ctx, secondary, true) }
}

// spare notes that nobody can serve a shard for a while.
func (s *stage) spare(id string, index uint32) {
	if s.spared == nil {
		s.spared = map[string]uint32{}
	}
	s.spared[id] = index
}

// poisoned lets a shard kill until it is quarantined, and watches for a while that it kills nobody more. It counts the deaths.
func (s *stage) poisoned(ctx context.Context, begin trigger, id string) (deaths int, err error) {
	if err := s.faulty(s.servers, kvserve.Faults{Poison: []string{id}}); err != nil {
		return 0, err
	}
	began := time.Now()
	own, err := begin(ctx)
	if err != nil {
		return 0, err
	}
	deaths = -own // they are started again like the others
	revived := s.reviver(&deaths)
	err = clock.Await(ctx, settlePatience, "shard "+id+" to be quarantined", func(ctx context.Context) error {
		if err := revived(); err != nil {
			return err
		}
		quarantined, err := s.admins.Quarantined(ctx)
		if err == nil && !slices.Contains(quarantined, id) {
			err = fmt.Errorf("%d applications died, and shard %s is not quarantined", deaths, id)
		}
		return err
	})
	if err != nil {
		return deaths, err
	}
	s.awaited(began)
	s.event("shard %s is quarantined after %d deaths", id, deaths)
	before := deaths
	if err := s.attached(ctx, revived); err != nil {
		return deaths, err
	}
	if err := clock.Sleep(ctx, poisonWatch); err != nil {
		return deaths, err
	}
	err = revived()
	if deaths > before+1 { // one may have been on its way
		s.broke("shard %s killed %d applications after it was quarantined", id, deaths-before)
	}
	quarantined, failed := s.admins.Quarantined(ctx)
	if len(quarantined) > 1 {
		s.broke("only shard %s is poison, and quarantined are %s", id, strings.Join(quarantined, ", "))
	}
	return deaths, errors.Join(err, failed)
}

// attached waits until every application is back, and does something meanwhile.
func (s *stage) attached(ctx context.Context, meanwhile func() error) error {
	return clock.Await(ctx, settlePatience, "every server to be back", func(ctx context.Context) error {
		return errors.Join(meanwhile(), s.allAttached(ctx, true))
	})
}

// released lets every quarantined shard be placed again.
func (s *stage) released(ctx context.Context) error {
	quarantined, err := s.admins.Quarantined(ctx)
	for _, id := range quarantined {
		err = errors.Join(err, s.admins.Release(ctx, id))
	}
	return err
}

// reviver starts applications that have died, some time later, as whoever supervises them would, and counts them.
func (s *stage) reviver(deaths *int) func() error {
	since := map[*server]time.Time{}
	return func() error {
		for _, v := range s.servers {
			if v.app.Running() {
				continue
			}
			at, known := since[v]
			if !known {
				since[v] = time.Now()
				*deaths++
				continue
			}
			if time.Since(at) < reviveAfter {
				continue
			}
			delete(since, v)
			if err := v.app.Start(); err != nil {
				return err
			}
		}
		return nil
	}
}
