package roster_test

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// renewals are the instants at which a world's session is renewed in a time; each renewal is answered at once.
func (w *world) renewals(length time.Duration, answer roster.SessionRenewed) (at []shard.Instant) {
	for end := w.now.Add(length); !end.Passed(w.now); {
		w.now = w.now.Add(100 * time.Millisecond)
		w.out.Reset()
		w.r.Tick(w.now, &w.out)
		for _, op := range w.out.Store {
			if renew, ok := op.(roster.RenewSession); ok {
				at = append(at, w.now)
				answer.Session = renew.Session
				w.step(answer)
			}
		}
	}
	return at
}

// A thousand servers renew their sessions at the rate that a store is sized for, none of them early or late, and not all at once.
func TestSessionsAreRenewedSeldomAndSpread(t *testing.T) {
	t.Parallel()
	const servers, length = 1000, 10 * time.Minute
	every, perSecond, total := settings().SessionRenewal, map[int64]int{}, 0
	for i := range servers {
		w := registered(t, shard.Incarnation(i+1))
		last := w.now
		for _, at := range w.renewals(length, roster.SessionRenewed{}) {
			if pause := last.WaitAge(at); pause < every*8/10 || pause > every*12/10+200*time.Millisecond {
				t.Fatalf("renewed after %v, expected %v within a fifth", pause, every)
			}
			last = at
			total++
			perSecond[at.Boot/int64(time.Second)]++
		}
		if pause := last.WaitAge(w.now); pause > every*12/10+200*time.Millisecond {
			t.Fatalf("not renewed for %v", pause)
		}
	}
	rate := float64(total) / length.Seconds()
	if expected := servers / every.Seconds(); rate > 1.03*expected || rate < 0.97*expected {
		t.Errorf("%.1f renewals a second, expected %.1f", rate, expected)
	}
	late := settings().SessionRenewal * 20 // all began in the same instant; by then they have drifted apart
	began := shard.Instant{Boot: int64(time.Hour)}.Add(late).Boot / int64(time.Second)
	for second, n := range perSecond {
		if second > began && float64(n) > 2*rate {
			t.Errorf("%d renewals in one second, %.1f on average", n, rate)
		}
	}
}

// A renewal that may not have arrived is made again in half the time.
func TestSessionIsRenewedSoonerAfterAFailure(t *testing.T) {
	t.Parallel()
	w := registered(t, 0xa1)
	at := w.renewals(time.Minute, roster.SessionRenewed{Err: "timeout"})
	if len(at) < 2 {
		t.Fatalf("%d renewals in a minute", len(at))
	}
	for i := range len(at) - 1 {
		if pause := at[i].WaitAge(at[i+1]); pause > settings().SessionRenewal*6/10+100*time.Millisecond || pause < settings().SessionRenewal*4/10 {
			t.Errorf("again after %v, expected half of %v within a fifth", pause, settings().SessionRenewal)
		}
	}
}

// registered is a world with a live server.
func registered(t *testing.T, incarnation shard.Incarnation) *world {
	t.Helper()
	w := newWorld(t)
	w.step(roster.AppRegistered{Request: 1, Fresh: incarnation, Application: roster.Application{Process: roster.Process{PID: 1, StartTicks: 1}}})
	w.step(roster.KeyRegistered{Incarnation: incarnation, Session: "s", Create: 9})
	return w
}
