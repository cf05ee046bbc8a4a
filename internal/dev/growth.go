package dev

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
)

// addServer lets servers join while the load runs: shards move to them until they have their share. Then they leave again.
func addServer(ctx context.Context, s *stage) error {
	for range s.times(growthTrials) {
		began := time.Now()
		var added []*server
		for _, region := range layout.Regions[:addedServers] {
			v, err := s.join(ctx, region)
			if err != nil {
				return err
			}
			added = append(added, v)
		}
		if err := clock.Await(ctx, settlePatience, "the new servers to get their share", s.shared(added)); err != nil {
			return err
		}
		s.awaited(began)
		if err := s.rest(ctx); err != nil {
			return err
		}
		for _, v := range added {
			if err := s.leave(ctx, v); err != nil {
				return err
			}
		}
		if err := s.settled(ctx); err != nil {
			return err
		}
		s.event("settled")
	}
	return nil
}

// join starts one more server.
func (s *stage) join(ctx context.Context, region string) (*server, error) {
	place, err := s.layout.NewServer(region, 1)
	if err != nil {
		return nil, err
	}
	v := s.newServer(place)
	s.event("add %s in %s", place.ID(), place.Zone)
	s.servers = append(s.servers, v)
	return v, s.startServer(ctx, v)
}

// leave takes a server away: its agent drains it first.
func (s *stage) leave(ctx context.Context, v *server) error {
	s.event("take %s away: drain, stop", v.place.ID())
	s.servers = slices.DeleteFunc(s.servers, func(o *server) bool { return o == v })
	s.former = append(s.former, v)
	return s.end(ctx, v)
}

// shared fails until servers have at least half of what would be theirs if all shards were alike.
func (s *stage) shared(servers []*server) func(context.Context) error {
	least := layout.Shards / len(s.servers) / 2
	return func(context.Context) error {
		of, _ := s.watch.ShardsOf()
		for _, v := range servers {
			if have := of[v.place.ID()]; have < least {
				return fmt.Errorf("%s has %d shards, expected %d", v.place.ID(), have, least)
			}
		}
		return nil
	}
}

// loadShift makes shards of one server hot, until what they report has made the allocator spread them; then the load shifts to another.
func loadShift(ctx context.Context, s *stage) error {
	for i := range s.times(shiftTrials) {
		v := s.servers[i%len(s.servers)]
		hot := s.watch.ShardsAt(v.place.ID())
		rand.Shuffle(len(hot), func(i, j int) { hot[i], hot[j] = hot[j], hot[i] })
		hot = hot[:min(hotShards, len(hot))]
		s.event("%.0f %% of the load goes to %d shards of %s", 100*hotShare, len(hot), v.place.ID())
		began := time.Now()
		if err := s.shift(kvload.Focus{Share: hotShare, Shards: hot}); err != nil {
			return err
		}
		if err := clock.Await(ctx, settlePatience, "the hot shards to be spread", s.cooled(hot)); err != nil {
			return errors.Join(err, s.shift(kvload.Focus{}))
		}
		s.awaited(began)
		s.event("no server has more than %d of the hot shards", hotMost)
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	s.event("the load is even again")
	return errors.Join(s.shift(kvload.Focus{}), s.settled(ctx))
}

// cooled fails while a server has more than its part of the hot shards.
func (s *stage) cooled(hot []uint32) func(context.Context) error {
	return func(context.Context) error {
		count := map[string]int{}
		for _, at := range hot {
			count[s.watch.OwnerOf(at)]++
		}
		var full []string
		for id, n := range count {
			if n > hotMost {
				full = append(full, fmt.Sprintf("%s has %d of %d hot shards", id, n, len(hot)))
			}
		}
		if len(full) > 0 {
			slices.Sort(full)
			return fmt.Errorf("%s", strings.Join(full, ", "))
		}
		return nil
	}
}

// shift changes where the load goes.
func (s *stage) shift(f kvload.Focus) error {
	if f.Share == 0 {
		return clearFile(s.layout.Focus())
	}
	return writeJSON(s.layout.Focus(), f)
}
