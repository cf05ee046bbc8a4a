package daemon

import (
	"context"
	"errors"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/allocator"
	"github.com/shardmanager/shardmanager/allocator/api"
)

// Watchdog tells systemd twice in each WatchdogSec of the unit that a daemon is well, if alive says so in time: no error within a quarter of it. It
// goes on until stop, so that a daemon which drains is not killed for that. Without a watchdog nothing happens.
func Watchdog(log zerolog.Logger, alive func(context.Context) error) (stop func()) {
	within, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn().Err(err).Msg("systemd's watchdog cannot be told: see WATCHDOG_USEC")
	}
	if err != nil || within == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx, within/2, alive, func(err error) {
			if err != nil {
				log.Error().Err(err).Str("limit", within.String()).Msg("not well: systemd's watchdog is not told")
				return
			}
			tell(systemd.SdNotifyWatchdog, log)
		})
	}()
	return func() {
		cancel()
		<-done
	}
}

// watch looks at once and then every so often.
func watch(ctx context.Context, every time.Duration, alive func(context.Context) error, say func(error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		look, cancel := context.WithTimeout(ctx, every/2)
		err := alive(look)
		cancel()
		if ctx.Err() != nil {
			return
		}
		say(err)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// AllocatorAlive looks whether an allocator's loop answers. An allocator that cannot use the store is alive: to restart it would help nobody.
func AllocatorAlive(a *allocator.Allocator) func(context.Context) error {
	return func(ctx context.Context) error {
		leader := a.Leader()
		if leader == nil {
			return nil
		}
		if _, err := leader.View(ctx); !errors.Is(err, api.ErrNotLeading) {
			return err
		}
		return nil
	}
}
