package timing

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Loads that come while membership settles bring no plan of their own: some that count may not have been told again yet. None is lost: the
// plan that is made once membership has settled knows them, and later ones bring one.
func TestMeasuredWaitsForMembership(t *testing.T) {
	start := shard.Instant{Raw: int64(time.Hour), Boot: int64(time.Hour)}
	var p Planning
	p.Settle(start)
	for at := time.Duration(0); at < SolveSettle; at += SolveSettle / 10 {
		now := start.Add(at)
		if p.Measured(now); p.Due(now) {
			t.Fatalf("a plan is due %s after membership changed, not %s", at, SolveSettle)
		}
	}
	settled := start.Add(SolveSettle)
	if !p.Due(settled) {
		t.Fatalf("no plan is due once membership has settled")
	}
	p.Begin()
	p.Last = settled
	p.Measured(settled)
	if p.Due(settled) || !p.Due(settled.Add(SolvePause)) {
		t.Errorf("loads do not bring a plan %s after the last one", SolvePause)
	}
}
