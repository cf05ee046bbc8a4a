package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

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

// beat keeps a server alive for a while, and lets every write succeed.
func (b *bare) beat(d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		b.step(ledger.LockConfirmed{Asked: b.now})
		b.step(ledger.Renew{Stream: b.streams, Sequence: uint64(b.now.Boot), AskedNS: b.now.Boot})
		b.pass(100 * time.Millisecond)
		b.commit()
	}
}

// commit lets all writes that were made succeed, and those that follow from them.
func (b *bare) commit() {
	for len(b.out.Writes) > 0 {
		b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	}
}

// Nothing is known of an event before it is durable; it then goes through its states, counts as down, and outlives the leader.
func TestEventsAreDurableFirst(t *testing.T) {
	k := key("a", 7)
	load := ledger.Loaded{Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{k}}
	begin := func(events ...event.Event) *bare {
		load.Events = events
		b := newBare(t, quick(), load)
		b.step(ledger.ClockRead{Wall: time.Unix(1e9, 0)})
		b.attach(ledger.Hello{Server: info("a", 7), Held: []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}}}}, &k)
		return b
	}
	b := begin()
	request := event.Request{ID: "os-2", Kind: event.Restart, Impact: event.NetworkLoss, Scope: event.Scope{Servers: []shard.ServerID{"a.kv"}}, Duration: time.Minute}
	b.step(ledger.Request{ID: 1, Wish: wish.RequestMaintenance{Request: request}})
	if len(b.out.Replies) != 0 || len(b.out.Writes) != 1 || len(b.core.Events()) != 0 {
		t.Fatalf("before it is durable: replies %v, writes %v, events %v", b.out.Replies, b.out.Writes, b.core.Events())
	}
	b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
	if len(b.out.Replies) != 1 || b.out.Replies[0].Err != nil || len(b.core.Events()) != 1 {
		t.Fatalf("once durable: replies %v, events %v", b.out.Replies, b.core.Events())
	}
	b.step(ledger.Request{ID: 2, Wish: wish.CheckStop{Server: "a.kv"}})
	if note := b.out.Replies[0].Note; !strings.Contains(note, "primary of 1 shards") {
		t.Errorf("a primary that has nowhere to go may be stopped: %q", note)
	}
	b.beat(time.Second)
	const covered = "a.kv: its server may be taken down: maintenance os-2"
	if got, piece := b.downs(), b.core.Events()[0].Pieces[0]; got != covered || piece.State != event.Ready {
		t.Errorf("approved: %q, %v", got, piece)
	}
	b.step(ledger.Request{ID: 2, Wish: wish.CheckStop{Server: "a.kv"}})
	if note := b.out.Replies[0].Note; note != "" {
		t.Errorf("ready, and may not be stopped: %s", note)
	}
	stored := b.core.Events()[0]

	b.step(ledger.Request{ID: 3, Wish: wish.FinishMaintenance{ID: "os-2"}})
	if got := b.downs(); got != covered {
		t.Errorf("before its end is durable: %q", got)
	}
	b.commit()
	if got := b.downs(); got != "a.kv: " {
		t.Errorf("done: %q", got)
	}

	b = begin(stored)
	if got := b.downs(); got != covered {
		t.Errorf("under the next leader: %q", got)
	}
	b.beat(time.Minute + time.Second)
	if got, piece := b.downs(), b.core.Events()[0].Pieces[0]; got != "a.kv: " || piece.State != event.Expired {
		t.Errorf("after its time: %q, %v", got, piece)
	}
}

func TestBadMaintenance(t *testing.T) {
	b := newBare(t, quick(), ledger.Loaded{Registered: []ledger.Registration{key("a", 7)}})
	b.step(ledger.ClockRead{Wall: time.Unix(1e9, 0)})
	good := event.Request{ID: "x", Kind: event.Drain, Impact: event.MachineLoss, Scope: event.Scope{Servers: []shard.ServerID{"a.kv"}}, Duration: time.Minute}
	with := func(change func(*event.Request)) wish.Wish {
		r := good
		change(&r)
		return wish.RequestMaintenance{Request: r}
	}
	for name, c := range map[string]struct {
		wish    wish.Wish
		subject string
		kind    ledger.ErrorKind
	}{
		"no id":           {with(func(r *event.Request) { r.ID = "" }), "id", ledger.Invalid},
		"no time":         {with(func(r *event.Request) { r.Duration = 0 }), "duration", ledger.Invalid},
		"for ever":        {with(func(r *event.Request) { r.Duration = 1000 * time.Hour }), "duration", ledger.Invalid},
		"nobody":          {with(func(r *event.Request) { r.Scope = event.Scope{} }), "scope", ledger.Invalid},
		"unknown server":  {with(func(r *event.Request) { r.Scope.Servers = []shard.ServerID{"a.kv", "b.kv"} }), "scope.servers", ledger.NotFound},
		"unknown zone":    {with(func(r *event.Request) { r.Scope = event.Scope{Zones: []string{"nowhere"}} }), "scope", ledger.NotFound},
		"start in past":   {with(func(r *event.Request) { r.Start = time.Unix(1e9-3600, 0) }), "start", ledger.Invalid},
		"deadline passed": {with(func(r *event.Request) { r.Deadline = time.Unix(1e9+10, 0) }), "deadline", ledger.Invalid},
		"announced never": {with(func(r *event.Request) { r.Announced = true }), "start", ledger.Invalid},
		"no kind":         {with(func(r *event.Request) { r.Kind = 0 }), "kind", ledger.Invalid},
		"unknown end":     {wish.FinishMaintenance{ID: "y"}, "id", ledger.NotFound},
		"unknown cancel":  {wish.CancelMaintenance{ID: "y"}, "id", ledger.NotFound},
		"unknown approve": {wish.ApproveMaintenance{ID: "y"}, "id", ledger.NotFound},
		"unknown stop":    {wish.CheckStop{Server: "b.kv"}, "server", ledger.NotFound},
	} {
		b.step(ledger.Request{ID: 1, Wish: c.wish})
		if len(b.out.Replies) != 1 || b.out.Replies[0].Err == nil || b.out.Replies[0].Err.Subject != c.subject || b.out.Replies[0].Err.Kind != c.kind {
			t.Errorf("%s: %v", name, b.out.Replies)
		}
	}
}
