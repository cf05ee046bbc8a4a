package maintenance_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// An approval covers the incarnations it names and no later ones, until it expires; what is left of it is stored once a minute, for the next
// leader; what could not be stored is tried again; an expired one is deleted.
func TestApprovals(t *testing.T) {
	var a maintenance.Approvals
	now := shard.Instant{Boot: 1e12, Raw: 2e12}
	who, next := maintenance.Covered{Server: "a.kv", Incarnation: 7}, maintenance.Covered{Server: "a.kv", Incarnation: 8}
	approval := maintenance.Approval{ID: "b", Covers: []maintenance.Covered{{Server: "c.kv", Incarnation: 1}, who}, Left: 90 * time.Second, Reason: "kernel"}
	a.Put(now, approval)
	a.Put(now, maintenance.Approval{ID: "z", Covers: []maintenance.Covered{who}, Left: 10 * time.Second})
	if got, later := a.Covering(now, who), a.Covering(now, next); got != "b" || later != "" {
		t.Errorf("covered by %q, its successor by %q", got, later)
	}
	a.Remove("z")

	now = now.Add(time.Minute)
	if expired := a.Tick(now); len(expired) != 0 || !a.Waiting() {
		t.Errorf("after a minute: expired %v, rows waiting: %t", expired, a.Waiting())
	}
	a.Tick(now)
	approval.Left = 30 * time.Second
	for range 2 {
		rows := a.Take(now, 5)
		if diff := cmp.Diff([]maintenance.Row{{Approval: approval}}, rows); diff != "" || a.Waiting() {
			t.Errorf("rows after a minute (-want +got), waiting %t:\n%s", a.Waiting(), diff)
		}
		a.Return(rows)
	}

	now = now.Add(30 * time.Second)
	if got := a.Covering(now, who); got != "" {
		t.Errorf("covered by %q after its end", got)
	}
	if expired := a.Tick(now); len(expired) != 1 || expired[0].ID != "b" || a.Has("b") {
		t.Errorf("expired: %v; still there: %t", expired, a.Has("b"))
	}
	gone := maintenance.Row{Approval: maintenance.Approval{ID: "b"}}
	if diff := cmp.Diff([]maintenance.Row{gone, gone}, a.Take(now, 5)); diff != "" {
		t.Errorf("rows after the end (-want +got):\n%s", diff)
	}
}
