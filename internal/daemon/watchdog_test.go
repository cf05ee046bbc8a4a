package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// The watchdog is told twice a period while the daemon is well; not when it is not, nor when it does not answer in time.
func TestWatchOnlyWhileAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var said []string
		ctx, cancel := context.WithCancel(t.Context())
		looks := 0
		alive := func(ctx context.Context) error {
			looks++
			switch looks {
			case 2:
				return errors.New("ill")
			case 3:
				<-ctx.Done() // it hangs
				return ctx.Err()
			case 5:
				cancel() // what is said of the end counts for nothing
			}
			return nil
		}
		watch(ctx, 10*time.Second, alive, func(err error) { said = append(said, fmt.Sprint(time.Since(begun), " ", err)) })
		want := []string{"0s <nil>", "10s ill", "25s context deadline exceeded", "30s <nil>"}
		if fmt.Sprint(said) != fmt.Sprint(want) {
			t.Errorf("said %q, want %q", said, want)
		}
	})
}

// What systemd hears is its own words, and only from the process that it watches.
func TestWatchdogTells(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemd.Close() }()
	t.Setenv("NOTIFY_SOCKET", socket)
	alive := func(context.Context) error { return nil }
	hear := func(within time.Duration) string {
		text := make([]byte, 100)
		if err := systemd.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		n, _ := systemd.Read(text)
		return string(text[:n])
	}
	Watchdog(zerolog.Nop(), alive)()
	t.Setenv("WATCHDOG_USEC", "200000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getppid()))
	Watchdog(zerolog.Nop(), alive)()
	if got := hear(50 * time.Millisecond); got != "" {
		t.Errorf("unasked, systemd hears %q", got)
	}
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	stop := Watchdog(zerolog.Nop(), alive)
	for range 3 {
		if got := hear(time.Minute); got != "WATCHDOG=1" {
			t.Errorf("systemd hears %q", got)
		}
	}
	stop()
	for hear(50*time.Millisecond) != "" { // what was under way
	}
	if got := hear(300 * time.Millisecond); got != "" {
		t.Errorf("after the end, systemd hears %q", got)
	}
}
