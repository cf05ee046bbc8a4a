package lane

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A newer call cancels the older one and begins only after that has returned, however long it takes; who waits for the newest waits on.
func TestNewestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Lane{}
		l.Open(3)
		l.Start()
		var log []string
		slow := func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second) // it takes a while to notice
			log = append(log, "first returned")
			return ctx.Err()
		}
		first, err := l.Propose(3, 5, slow)
		if err != nil {
			t.Fatal(err)
		}
		newest := make(chan error, 1)
		go func() { newest <- l.Wait(t.Context()) }()
		synctest.Wait()
		second, err := l.Propose(3, 7, func(context.Context) error {
			log = append(log, "second began")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Wait(t.Context()); !errors.Is(err, ErrReplaced) {
			t.Errorf("the first: %v, want replaced", err)
		}
		if err := errors.Join(second.Wait(t.Context()), <-newest); err != nil {
			t.Errorf("the second: %v", err)
		}
		if want := []string{"first returned", "second began"}; !slices.Equal(log, want) {
			t.Errorf("%q, want %q", log, want)
		}
		if _, err := l.Propose(3, 6, nil); !errors.Is(err, ErrReplaced) {
			t.Errorf("an older one: %v, want refused", err)
		}
	})
}

// A call known already goes on, whoever asks; it is made again only if it failed.
func TestSameCallAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Lane{}
		l.Open(1)
		l.Start()
		calls, result := 0, errors.New("not yet")
		do := func(context.Context) error {
			calls++
			time.Sleep(time.Minute)
			return result
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, _ := l.Propose(1, 1, do)
		if err := c.Wait(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient: %v", err)
		}
		again, _ := l.Propose(1, 1, do)
		if err := again.Wait(t.Context()); !errors.Is(err, result) || again != c || calls != 1 {
			t.Errorf("joined: %v after %d calls, want the result of the first", err, calls)
		}
		result = nil
		for range 2 {
			c, _ := l.Propose(1, 1, do)
			if err := c.Wait(t.Context()); err != nil || calls != 2 {
				t.Errorf("tried anew: %v after %d calls, want done after 2", err, calls)
			}
		}
	})
}

// Before Start calls are taken and do not run; only the newest runs then.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Lane{}
		if _, err := l.Propose(2, 1, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		l.Open(2)
		old, _ := l.Propose(2, 1, func(context.Context) error { panic("it was replaced") })
		ran := false
		fresh, _ := l.Propose(2, 2, func(context.Context) error { ran = true; return nil })
		if err := old.Wait(t.Context()); !errors.Is(err, ErrReplaced) {
			t.Errorf("the older: %v, want replaced", err)
		}
		l.Open(2)
		l.Start()
		if err := fresh.Wait(t.Context()); err != nil || !ran || l.Newest() != 2 {
			t.Errorf("the newer: %v, ran %t", err, ran)
		}
	})
}

// Close returns when nothing runs; a call that does not heed its context keeps it waiting, and keeps the next term's waiting too.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Lane{}
		l.Open(1)
		l.Start()
		release := make(chan struct{})
		c, _ := l.Propose(1, 1, func(context.Context) error {
			<-release
			return errors.New("cancelled, I believe")
		})
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close while it runs: %v", err)
		}
		if _, err := l.Propose(1, 2, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		l.Open(2)
		l.Start()
		overlaps := true
		next, _ := l.Propose(2, 1, func(context.Context) error {
			overlaps = !c.failed()
			return nil
		})
		synctest.Wait()
		close(release)
		if err := c.Wait(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("the call of the closed lane: %v", err)
		}
		if err := next.Wait(t.Context()); err != nil || overlaps {
			t.Errorf("the next term's call: %v, overlaps %t", err, overlaps)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// Whatever is done in whatever order: calls never overlap, at one term numbers only grow, and Close leaves nothing running.
func TestInvariants(t *testing.T) {
	ran := 0
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 40).Draw(rt, "steps")
		pauses := rapid.SliceOfN(rapid.IntRange(0, 3), len(steps), len(steps)).Draw(rt, "pauses")
		synctest.Test(t, func(t *testing.T) {
			l := &Lane{}
			running := 0
			var last [2]uint64
			term := uint64(1)
			for i, step := range steps {
				switch step {
				case 0:
					term++
					l.Open(term)
				case 1:
					if err := l.Close(t.Context()); err != nil || running != 0 {
						t.Fatalf("closed: %v, %d running", err, running)
					}
					term++
				case 2, 3:
					l.Open(term)
					l.Start()
				default:
					at, number, pause := term, uint64(step), time.Duration(pauses[i])*time.Second
					_, _ = l.Propose(at, number, func(ctx context.Context) error {
						if running != 0 || at < last[0] || at == last[0] && number < last[1] {
							t.Errorf("%d/%d runs after %v, with %d running", at, number, last, running)
						}
						running, last = running+1, [2]uint64{at, number}
						ran++
						select {
						case <-ctx.Done():
						case <-time.After(pause):
						}
						time.Sleep(pause)
						running--
						return ctx.Err()
					})
				}
				time.Sleep(time.Duration(pauses[i]) * 700 * time.Millisecond)
			}
			if err := l.Close(t.Context()); err != nil || running != 0 {
				t.Fatalf("in the end: %v, %d running", err, running)
			}
		})
	})
	if ran == 0 {
		t.Fatal("nothing ran")
	}
}
