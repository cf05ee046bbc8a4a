package kvcmd

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// lookAgain is how soon an application that does not answer yet is looked at again.
const lookAgain = 20 * time.Millisecond

// underSystemd tells systemd when the application answers at its own address, from then on that it still does (if its unit has a watchdog), and that
// it stops. It goes on until done, so that one which drains is not killed for that. Without systemd nothing happens.
func underSystemd(ctx context.Context, address string, log *slog.Logger) (done func()) {
	within, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog cannot be told: see WATCHDOG_USEC", "error", err)
	}
	if sent, err := systemd.SdNotify(false, "STATUS=starting"); err != nil || !sent {
		return func() {}
	}
	tell := func(state string) { _, _ = systemd.SdNotify(false, state) } // it could be told a moment ago
	looks, end := context.WithCancel(context.WithoutCancel(ctx))
	stopping := context.AfterFunc(ctx, func() { tell(systemd.SdNotifyStopping) })
	go func() {
		for pause := lookAgain; ; {
			if answers(looks, address) {
				if pause == lookAgain {
					tell(systemd.SdNotifyReady)
				}
				if within == 0 {
					return
				}
				pause = within / 2
				tell(systemd.SdNotifyWatchdog)
			}
			select {
			case <-time.After(pause):
			case <-looks.Done():
				return
			}
		}
	}()
	return func() {
		stopping()
		end()
	}
}

// answers reports whether a server answers, whatever it says.
func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil
}
