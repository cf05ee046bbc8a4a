package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// UntilSignal ends its context at the first SIGINT or SIGTERM. Each further one takes the next step of hurry; when there is none left, the
// process exits at once. A lost terminal (SIGHUP) ends no daemon.
func UntilSignal(parent context.Context, log zerolog.Logger, hurry ...func()) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 4) // more than a person presses before the first is read
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		steps := append([]func(){cancel}, hurry...)
		for {
			select {
			case s := <-signals:
				if len(steps) == 0 {
					log.Warn().Str("signal", s.String()).Msg("exits at once")
					os.Exit(1)
				}
				log.Info().Str("signal", s.String()).Msg("stops; again to hurry")
				tell(systemd.SdNotifyStopping, log)
				steps[0]()
				steps = steps[1:]
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
