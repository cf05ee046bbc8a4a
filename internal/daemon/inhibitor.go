package daemon

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/logind"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// InhibitorSettings say whether an agent asks systemd-logind to wait for its drain before the host goes down; auto: where there is one.
type InhibitorSettings struct {
	ShutdownInhibitor config.Tristate `yaml:"shutdown_inhibitor"`
}

// inhibitAgain is how soon logind is tried again that was not there, or was lost.
const inhibitAgain = 10 * time.Second

// DelayShutdown keeps shutdowns and sleeps of the host waiting for the drain of an agent's servers, within the time that logind and drain_timeout
// allow, until stop. What was drained for a sleep that ends, or for a shutdown that was taken back, is filled again.
func DelayShutdown(a *agent.Agent, s InhibitorSettings, cfg agent.Config, log zerolog.Logger) (stop func()) {
	if s.ShutdownInhibitor == config.False {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		missing := zerolog.DebugLevel
		if s.ShutdownInhibitor == config.True {
			missing = zerolog.WarnLevel
		}
		for told := ""; ctx.Err() == nil; {
			d := delayer{agent: a, who: "shardmanager agent " + cfg.Name, limit: cfg.DrainTimeout, log: log}
			if err := d.run(ctx); ctx.Err() == nil && err.Error() != told {
				told = err.Error()
				log.WithLevel(missing).Err(err).Msg("a shutdown of this host does not wait for the drain: see shutdown_inhibitor")
			}
			select {
			case <-time.After(inhibitAgain):
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// delayer is one connection to logind.
type delayer struct {
	agent *agent.Agent
	who   string
	limit time.Duration // of a drain
	log   zerolog.Logger

	logind  *logind.Manager
	lock    *os.File    // nil: the host may go down
	drained []shard.App // for what begins now
}

// run delays until the connection fails or ctx ends.
func (d *delayer) run(ctx context.Context) (err error) {
	if d.logind, err = logind.Connect(ctx); err != nil {
		return err
	}
	defer d.logind.Close()
	defer d.release()
	if err := d.take(ctx); err != nil {
		return err
	}
	for {
		e, err := d.logind.Next(ctx)
		if err != nil {
			return err
		}
		if e.Begins {
			d.begins(ctx, e.Kind)
		} else if err := d.over(ctx, e.Kind); err != nil {
			return err
		}
	}
}

func (d *delayer) take(ctx context.Context) (err error) {
	if d.lock != nil {
		return nil
	}
	longest, err := d.logind.MaxDelay()
	if err == nil {
		d.lock, err = d.logind.Delay(ctx, d.who, "its shards move to other hosts first")
	}
	if err != nil {
		return err
	}
	log := d.log.Info()
	if longest < d.limit {
		log = d.log.Warn().Str("advice", "InhibitDelayMaxSec in logind.conf is shorter than drain_timeout: what is not drained by then is left to the agent's stop")
	}
	log.Str("waits", longest.String()).Msg("a shutdown of this host waits for the drain")
	d.limit = min(d.limit, longest)
	return nil
}

func (d *delayer) release() {
	if d.lock != nil {
		_ = d.lock.Close() // nothing was written
		d.lock = nil
	}
}

// begins drains what is not drained by somebody else's wish, and lets the host go down.
func (d *delayer) begins(ctx context.Context, kind logind.Kind) {
	defer d.release()
	begun := time.Now()
	limit, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	status, err := d.agent.Status(limit)
	if err != nil {
		return // it stops, and drains for that
	}
	d.log.Info().Str("signal", string(kind)).Msg("the host goes down: drains")
	var drains sync.WaitGroup
	for _, v := range status.Servers {
		if v.Draining {
			continue
		}
		app := v.Server.App
		d.drained = append(d.drained, app)
		drains.Go(func() {
			if err := d.agent.Drain(limit, app, api.On, func(int) error { return nil }); err != nil {
				d.log.Warn().Str("app", string(app)).Err(err).Msg("drain not finished")
			}
		})
	}
	drains.Wait()
	d.log.Info().Str("took", time.Since(begun).Round(time.Millisecond).String()).Msg("the host may go down")
}

// over takes back what a sleep or a shutdown was drained for that did not happen, or has ended.
func (d *delayer) over(ctx context.Context, kind logind.Kind) error {
	for _, app := range d.drained {
		if err := d.agent.Drain(ctx, app, api.Off, func(int) error { return nil }); err != nil {
			return err
		}
	}
	d.log.Info().Str("signal", string(kind)).Int("servers", len(d.drained)).Msg("the host stays: drains are taken back")
	d.drained = nil
	return d.take(ctx)
}
