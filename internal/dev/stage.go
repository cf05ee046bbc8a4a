package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/judge"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/overlap"
)

// play makes a scenario's events happen and returns when the cluster has settled after the last.
type play func(context.Context, *stage) error

// stage is a cluster on which something is played, and what is noted meanwhile.
type stage struct {
	*cluster
	tell   func(string) // tells people of an event
	second int          // scenario.second of what is played

	first, last int64 // instants of the first and last event; 0: none yet
	played      int
	trials      []judge.Trial
	kills       []overlap.Kill
	took        []time.Duration // from an event to what it must lead to
	broken      []string        // promises that were seen broken
	spared      map[string]uint32
}

// times is how often to repeat events: as often as they should be, unless the configuration says otherwise.
func (s *stage) times(usual int) int {
	switch {
	case s.cfg.Trials > 0:
		return s.cfg.Trials
	case s.cfg.Mode == layout.PrimarySecondary && s.second > 0:
		return s.second
	}
	return usual
}

// event notes that something happened, or is about to.
func (s *stage) event(format string, args ...any) {
	s.last = clock.Now().Raw
	if s.first == 0 {
		s.first = s.last
	}
	s.tell(fmt.Sprintf(format, args...))
}

// broke notes that a promise is broken: the judge says so, too.
func (s *stage) broke(format string, args ...any) {
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}

// awaited notes how long something took that an event must lead to.
func (s *stage) awaited(since time.Time) { s.took = append(s.took, time.Since(since)) }

// process names the application process that runs beside an agent.
func (s *stage) process(v *server) overlap.Process {
	return overlap.Process{File: s.layout.History(v.place), PID: v.app.PID()}
}

// fullest is the server that has most shards; losing it says most.
func (s *stage) fullest() *server {
	of, _ := s.watch.ShardsOf()
	best := s.servers[s.played%len(s.servers)]
	for _, v := range s.servers {
		if of[v.place.ID()] > of[best.place.ID()] {
			best = v
		}
	}
	return best
}

// taken waits until others have all the shards of a server, and have had time to answer requests for them.
func (s *stage) taken(ctx context.Context, v *server) error {
	if err := clock.Await(ctx, settlePatience, "others to take the shards of "+v.place.ID(), s.watch.Left(v.place.ID())); err != nil {
		return err
	}
	return clock.Sleep(ctx, time.Second)
}

// rest waits until the cluster has settled and, for a while, until it is calm: balancing comes in several rounds. That is noted as an
// event: what moves on the way counts.
func (s *stage) rest(ctx context.Context) error {
	s.played++
	if err := s.settled(ctx); err != nil {
		return err
	}
	if err := clock.Await(ctx, calmPatience, "calm", s.calm()); err != nil && ctx.Err() != nil {
		return err // loads that keep changing are balanced for ever, and nothing waits for that
	}
	s.event("settled")
	return nil
}

// calm fails until nothing has moved for a while.
func (s *stage) calm() func(context.Context) error {
	since := time.Now()
	return func(ctx context.Context) error {
		open, err := s.admins.OpenMoves(ctx)
		if err != nil || open > 0 {
			since = time.Now()
		}
		if quiet := time.Since(since); quiet < calmTime {
			return errors.Join(err, fmt.Errorf("%d moves are open, quiet for %v", open, quiet))
		}
		return nil
	}
}

func drain(ctx context.Context, s *stage) error {
	for i := range s.times(drainTrials) {
		v := s.servers[(2*i+1)%len(s.servers)]
		id := v.place.ID()
		s.event("drain %s", id)
		if err := s.admins.Drain(ctx, id, false); err != nil {
			return err
		}
		if err := clock.Await(ctx, drainPatience, id+" to be drained", s.watch.Left(id)); err != nil {
			return err
		}
		s.event("%s is empty; take the drain back", id)
		if err := s.admins.Drain(ctx, id, true); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// end ends a server in order: its agent is told to, which drains it first, and then the application.
func (s *stage) end(ctx context.Context, v *server) error {
	if _, err := v.agent.Signal(syscall.SIGTERM, true); err != nil {
		return err
	}
	if err := v.agent.Ended(ctx, drainPatience+stopPatience); err != nil {
		return err
	}
	return v.app.Stop(appPatience)
}

// replace ends a server and starts its next version.
func (s *stage) replace(ctx context.Context, v *server) error {
	s.event("replace %s: drain, stop, start version %d", v.place.ID(), v.version+1)
	if err := s.end(ctx, v); err != nil {
		return err
	}
	v.version++
	return s.startServer(ctx, v)
}

// rollingRestart replaces one server after the other, as a deployer does who asks nobody.
func rollingRestart(ctx context.Context, s *stage) error {
	for _, v := range s.servers {
		if err := s.replace(ctx, v); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rollingUpgrade asks to take all servers down, and replaces each when the leader has made it ready.
func rollingUpgrade(ctx context.Context, s *stage) error {
	s.event("ask to upgrade all servers")
	id, left := fmt.Sprint("upgrade-", s.last), slices.Clone(s.servers)
	if err := s.admins.AskUpgrade(ctx, id); err != nil {
		return err
	}
	for next := -1; len(left) > 0; left = slices.Delete(left, next, next+1) {
		if err := clock.Await(ctx, drainPatience, "a server that is ready", func(ctx context.Context) error {
			ready, err := s.admins.Ready(ctx, id)
			next = slices.IndexFunc(left, func(v *server) bool { return slices.Contains(ready, v.place.ID()) })
			if next < 0 {
				return errors.Join(err, errors.New("none is"))
			}
			return nil
		}); err != nil {
			return err
		}
		if err := s.replace(ctx, left[next]); err != nil {
			return err
		}
	}
	return s.rest(ctx)
}

// crash kills applications; the agent beside them proves their death, and a supervisor starts them again.
func crash(trials int) play {
	return func(ctx context.Context, s *stage) error {
		for range s.times(trials) {
			v := s.fullest()
			s.event("kill -9 the application of %s", v.place.ID())
			if err := s.killApp(ctx, v); err != nil {
				return err
			}
			if err := s.taken(ctx, v); err != nil {
				return err
			}
			if err := v.app.Start(); err != nil {
				return err
			}
			// Not calm: the next kill may meet moves in progress.
			s.played++
			if err := s.settled(ctx); err != nil {
				return err
			}
			s.event("settled")
		}
		return nil
	}
}

func (s *stage) killApp(ctx context.Context, v *server) error {
	process := s.process(v)
	at, err := v.app.Kill(ctx)
	if err != nil {
		return err
	}
	s.trials = append(s.trials, judge.Trial{Process: process, At: at})
	s.kills = append(s.kills, overlap.Kill{Process: process, At: at})
	return nil
}

// hostCrash kills an agent and its application together: nobody is left on that host to say that they are dead.
func hostCrash(ctx context.Context, s *stage) error {
	for range s.times(hostCrashTrials) {
		v := s.fullest()
		s.event("kill -9 the agent and the application of %s", v.place.ID())
		if err := s.killBoth(ctx, v); err != nil {
			return err
		}
		if err := s.taken(ctx, v); err != nil {
			return err
		}
		s.event("start %s again", v.place.Node)
		if err := s.startServer(ctx, v); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) killBoth(ctx context.Context, v *server) error {
	process := s.process(v)
	first, err := v.agent.Signal(syscall.SIGKILL, true)
	if err != nil {
		return err
	}
	at, err := v.app.Signal(syscall.SIGKILL, true)
	if err != nil {
		return err
	}
	s.trials = append(s.trials, judge.Trial{Process: process, At: first})
	s.kills = append(s.kills, overlap.Kill{Process: process, At: at})
	return errors.Join(v.agent.Ended(ctx, startPatience), v.app.Ended(ctx, startPatience))
}

// agentRestart restarts agents while their applications serve on: in order, by RPC and by signal, in the same process, and by kill -9 with a
// supervisor that starts them again at once.
func agentRestart(ctx context.Context, s *stage) error {
	kinds := []struct {
		name string
		end  func(*server) error
	}{
		{"planned, by RPC", func(v *server) error {
			return observe.Replaced(ctx, v.place.Sock, func() error { return observe.RestartAgent(ctx, v.place.Sock) })
		}},
		{"planned, by SIGUSR2", func(v *server) error {
			return observe.Replaced(ctx, v.place.Sock, func() error { _, err := v.agent.Signal(syscall.SIGUSR2, false); return err })
		}},
		{"kill -9", func(v *server) error {
			if _, err := v.agent.Kill(ctx); err != nil {
				return err
			}
			return s.startServer(ctx, v)
		}},
	}
	for i := range len(kinds) * s.times(agentTrials) {
		v, kind := s.servers[i%len(s.servers)], kinds[i%len(kinds)]
		s.event("restart the agent of %s: %s", v.place.ID(), kind.name)
		if err := kind.end(v); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
		if err := clock.Sleep(ctx, restartPause); err != nil {
			return err
		}
	}
	return nil
}
