package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// downs is why the replicas of shard 0 count as down.
func (b *bare) downs() string {
	b.t.Helper()
	s, _, refusal := b.core.Explain(theApp, "0")
	if refusal != nil {
		b.t.Fatal(refusal)
	}
	var list []string
	for _, r := range s.Replicas {
		list = append(list, string(r.Server)+": "+r.Down)
	}
	return strings.Join(list, "; ")
}

// TestApprovalsCountAsDown is R29: durable before it is answered, until done or expired, for the incarnations that it names, and over a change of
// leaders.
func TestApprovalsCountAsDown(t *testing.T) {
	k := key("a", 7)
	load := ledger.Loaded{Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{k}}
	begin := func(approvals ...maintenance.Approval) *bare {
		load.Approvals = approvals
		b := newBare(t, quick(), load)
		b.attach(ledger.Hello{Server: info("a", 7), Held: []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}}}}, &k)
		return b
	}
	b := begin()
	if got := b.downs(); got != "a.kv: " {
		t.Fatalf("at first: %q", got)
	}
	b.step(ledger.Request{ID: 1, Wish: ledger.ApproveMaintenance{ID: "os-2", Servers: []shard.ServerID{"a.kv"}, For: time.Minute, Reason: "kernel"}})
	if len(b.out.Replies) != 0 || len(b.out.Writes) != 1 {
		t.Fatalf("before it is durable: replies %v, writes %v", b.out.Replies, b.out.Writes)
	}
	put := b.out.Writes[0].Ops[0].(ledger.PutApproval)
	if got := b.downs(); got != "a.kv: " {
		t.Errorf("before it is durable: %q", got)
	}
	b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	if len(b.out.Replies) != 1 || b.out.Replies[0].Err != nil {
		t.Fatalf("once durable: replies %v", b.out.Replies)
	}
	const covered = "a.kv: its server may be taken down: maintenance os-2"
	if got := b.downs(); got != covered {
		t.Errorf("approved: %q", got)
	}

	b.step(ledger.Request{ID: 2, Wish: ledger.EndMaintenance{ID: "os-2"}})
	b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	if got := b.downs(); got != "a.kv: " || b.out.Replies[0].Err != nil {
		t.Errorf("done: %q, %v", got, b.out.Replies)
	}

	b = begin(put.Row.Approval)
	if got := b.downs(); got != covered {
		t.Errorf("under the next leader: %q", got)
	}
	b.pass(time.Minute)
	if got := b.downs(); strings.Contains(got, "os-2") {
		t.Errorf("expired: %q", got)
	}
	deleted := false
	for range 3 { // its server was silent meanwhile: the fence comes first
		for _, w := range b.out.Writes {
			for _, op := range w.Ops {
				p, ok := op.(ledger.PutApproval)
				deleted = deleted || ok && p.Row.ID == "os-2" && p.Row.Left == 0
			}
			b.step(ledger.WriteDone{ID: w.ID, Outcome: ledger.Committed})
		}
	}
	if !deleted {
		t.Errorf("an approval that expired is not deleted: %v", b.out.Writes)
	}

	b = begin(maintenance.Approval{ID: "old", Covers: []maintenance.Covered{{Server: "a.kv", Incarnation: 6}}, Left: time.Hour})
	if got := b.downs(); got != "a.kv: " {
		t.Errorf("of an incarnation that is over: %q", got)
	}
}

func TestBadApprovals(t *testing.T) {
	b := newBare(t, quick(), ledger.Loaded{Registered: []ledger.Registration{key("a", 7)},
		Approvals: []maintenance.Approval{{ID: "there", Covers: []maintenance.Covered{{Server: "a.kv", Incarnation: 7}}, Left: time.Hour}}})
	known := []shard.ServerID{"a.kv"}
	for name, c := range map[string]struct {
		wish    ledger.Wish
		subject string
		kind    ledger.ErrorKind
	}{
		"no id":          {ledger.ApproveMaintenance{Servers: known, For: time.Hour}, "id", ledger.Invalid},
		"known id":       {ledger.ApproveMaintenance{ID: "there", Servers: known, For: time.Hour}, "id", ledger.AlreadyExists},
		"no time":        {ledger.ApproveMaintenance{ID: "x", Servers: known}, "for", ledger.Invalid},
		"for ever":       {ledger.ApproveMaintenance{ID: "x", Servers: known, For: 1000 * time.Hour}, "for", ledger.Invalid},
		"nobody":         {ledger.ApproveMaintenance{ID: "x", For: time.Hour}, "servers", ledger.Invalid},
		"unknown server": {ledger.ApproveMaintenance{ID: "x", Servers: []shard.ServerID{"a.kv", "b.kv"}, For: time.Hour}, "servers", ledger.NotFound},
		"unknown end":    {ledger.EndMaintenance{ID: "x"}, "id", ledger.NotFound},
	} {
		b.step(ledger.Request{ID: 1, Wish: c.wish})
		if len(b.out.Replies) != 1 || b.out.Replies[0].Err == nil || b.out.Replies[0].Err.Subject != c.subject || b.out.Replies[0].Err.Kind != c.kind {
			t.Errorf("%s: %v", name, b.out.Replies)
		}
	}
}
