package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvserve"
	"github.com/shardmanager/shardmanager/internal/clock"
)

// slowCallback drains a server while callbacks of two others hang or take long. What hangs before the point of no return is aborted at its
// deadline, rolled back, and goes elsewhere; what hangs after it is tried again while the source forwards. No client notices.
func slowCallback(ctx context.Context, s *stage) error {
	kinds := []struct {
		what     string
		callback string
		ms       int64
		stays    bool // no other server can be tried: it ends with the fault
	}{
		{"PrepareAddShard hangs", "PrepareAddShard", -1, false},
		{"AddShard takes 3 s", "AddShard", 3000, false},
		{"AddShard hangs", "AddShard", -1, true},
	}
	for i := range s.times(len(kinds)) {
		kind := kinds[i%len(kinds)]
		slow := []*server{s.servers[i%len(s.servers)], s.servers[(i+3)%len(s.servers)]}
		v := s.servers[(i+1)%len(s.servers)]
		s.event("%s at %s and %s", kind.what, slow[0].place.ID(), slow[1].place.ID())
		faults := kvserve.Faults{DelayMS: map[string]int64{kind.callback: kind.ms}}
		err := s.faulty(slow, faults)
		if err == nil {
			err = s.drainPast(ctx, v, kind.stays)
		}
		s.event("callbacks are as they should be again")
		if err := errors.Join(err, s.cured(slow)); err != nil {
			return err
		}
		if err := clock.Await(ctx, drainPatience, v.place.ID()+" to be drained", s.watch.Left(v.place.ID())); err != nil {
			return err
		}
		if err := s.admins.Drain(ctx, v.place.ID(), true); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// drainPast drains a server although others are slow; if shards have nowhere else to go, for longer than a step's deadline only.
func (s *stage) drainPast(ctx context.Context, v *server, stays bool) error {
	began := time.Now()
	if !stays {
		if err := s.emptied(ctx, v); err != nil {
			return err
		}
		s.awaited(began)
		return nil
	}
	s.event("drain %s", v.place.ID())
	if err := s.admins.Drain(ctx, v.place.ID(), false); err != nil {
		return err
	}
	return clock.Sleep(ctx, hangLength)
}

// faulty makes the applications of servers go wrong; cured makes them right.
func (s *stage) faulty(servers []*server, f kvserve.Faults) error {
	for _, v := range servers {
		if err := writeJSON(s.layout.Faults(v.place), f); err != nil {
			return fmt.Errorf("faults of %s: %w", v.place.ID(), err)
		}
	}
	return nil
}

func (s *stage) cured(servers []*server) error {
	var failed []error
	for _, v := range servers {
		failed = append(failed, clearFile(s.layout.Faults(v.place)))
	}
	return errors.Join(failed...)
}
