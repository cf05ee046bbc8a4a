package kvload

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

// A read at a secondary may answer anything between what was acknowledged before it says it is behind, and the most that was ever sent.
func TestNearestReadsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		write := func(answer int64) {
			w, _ := c.beginWrite()
			if answer > 0 {
				c.acknowledged(w, answer)
			} else {
				c.unknown()
			}
		}
		write(1) // at 0 s
		time.Sleep(2 * time.Second)
		write(2) // at 2 s
		time.Sleep(2 * time.Second)
		write(0) // of unknown outcome: perhaps 3
		write(0) // perhaps 4
		write(3) // the last of them; the others never happened
		write(0) // perhaps 4 again
		for _, step := range []struct {
			staleness time.Duration
			value     int64
			wrong     bool
		}{
			{0, 2, true}, {0, 3, false}, {0, 5, false}, {0, 6, true}, {time.Second, 1, true}, {time.Second, 2, false},
			{3 * time.Second, 1, false}, {3 * time.Second, 0, true}, {5 * time.Second, 0, false}, {5 * time.Second, 9, true},
		} {
			if v := c.readNearest(time.Now(), step.staleness, step.value); v.any() != step.wrong {
				t.Errorf("%d, at most %s behind: %+v, want wrong: %t", step.value, step.staleness, v, step.wrong)
			}
		}
		if c.low != 3 || c.pending != 1 {
			t.Errorf("a secondary's answer changed what is known: %d, %d", c.low, c.pending)
		}
	})
}

func TestPastIsBounded(t *testing.T) {
	var p past
	begun := time.Now()
	for i := range int64(1000) {
		p.learn(begun.Add(time.Duration(i)*time.Millisecond), i)
	}
	if len(p) != maxPast || p.before(begun.Add(999*time.Millisecond)) != 999 || p.before(begun) != 0 {
		t.Errorf("%d entries", len(p))
	}
	if p.learn(begun.Add(time.Hour), 1001); len(p) != 1 {
		t.Errorf("%d entries after an hour", len(p))
	}
}

// The generator counts reads of any replica apart, and a secondary that is further behind than it says is found.
func TestNearestReadsOfAGenerator(t *testing.T) {
	for name, stale := range map[string]bool{"in time": false, "too far behind": true} {
		synctest.Test(t, func(t *testing.T) {
			service := &stubService{values: map[string]int64{}, stale: stale}
			keys := []keyState{{name: "a"}, {name: "b"}}
			wrong := 0
			g := newGenerator(settings{rate: 100, writeRatio: 0.02, nearest: 1, deadline: time.Second}, service, keys, func(r requests.Request) {
				if r.Outcome == requests.Wrong {
					wrong++
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			g.run(ctx)
			n := g.stats.nearestSoFar()
			if n.NearestReads < 1500 || n.SecondaryReads != n.NearestReads || n.StalenessMSMax != 1000 {
				t.Errorf("%s: %+v", name, n)
			}
			if (n.WrongNearestReads > 0) != stale || int64(wrong) != n.WrongNearestReads {
				t.Errorf("%s: %d wrong, %d in the log", name, n.WrongNearestReads, wrong)
			}
		})
	}
}
