package roster_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// live makes a world whose server lives, is attached and granted.
func live(t *testing.T) *world {
	w := newWorld(t)
	for _, line := range []string{
		"register pid=1 fresh=a1 activate", "key inc=a1 session=s1", "pull inc=a1", "attached inc=a1", "grant seq=1 for=6s",
	} {
		w.play(line)
	}
	return w
}

// table is docs/architecture.md §5, written down a second time: one shard of an application that always answers at once.
type table struct {
	phase     shard.Phase
	under     shard.Order // of the phase
	max       shard.Order
	cancelled bool // the order max was refused for ever
	tried     roster.Kind
}

// follow is AddShard as a secondary: a row of its own.
const follow = roster.UpdateMembership + 1

// judge returns the status that the table demands, and moves on as if the application answered with outcome.
func (m *table) judge(k roster.Kind, o shard.Order, outcome roster.Outcome) roster.Status {
	newer, same := o.Compare(m.max) > 0, o == m.max
	adds := func(k roster.Kind) bool { return k == roster.AddShard || k == follow }
	again := same && (m.tried == k || adds(m.tried) && adds(k)) // the last try failed; which role it was for the application remembers
	is := func(p shard.Phase) bool { return same && m.phase == p && m.under == o }
	ok := false
	switch k {
	case roster.PrepareAddShard:
		if is(shard.Prepared) {
			return roster.Done
		}
		ok = newer || again
	case roster.PrepareDropShard:
		if is(shard.Forwarding) {
			return roster.Done
		}
		ok = newer && m.phase == shard.Serving || again
	case roster.AddShard:
		if is(shard.Serving) {
			return roster.Done
		}
		ok = newer || is(shard.Prepared) || again
	case follow:
		if is(shard.Following) {
			return roster.Done
		}
		ok = newer || again
	case roster.DropShard:
		if is(shard.None) {
			return roster.Done
		}
		ok = newer || same
	case roster.CancelMove:
		return m.cancel(o, newer, same, outcome)
	}
	if !ok {
		return roster.Stale
	}
	return m.take(k, o, outcome)
}

func (m *table) take(k roster.Kind, o shard.Order, outcome roster.Outcome) roster.Status {
	m.max, m.tried, m.cancelled = o, k, false
	if outcome != roster.CallOK {
		return roster.Failed
	}
	m.tried, m.under = 0, o
	m.phase = map[roster.Kind]shard.Phase{
		roster.PrepareAddShard: shard.Prepared, roster.PrepareDropShard: shard.Forwarding, roster.AddShard: shard.Serving, roster.DropShard: shard.None,
		follow: shard.Following,
	}[k]
	return roster.Done
}

func (m *table) cancel(o shard.Order, newer, same bool, outcome roster.Outcome) roster.Status {
	ask := newer || same && (m.tried == roster.CancelMove || m.tried == roster.PrepareDropShard)
	switch {
	case same && m.cancelled:
		return roster.NotBegun
	case !ask:
		return roster.Begun
	}
	if newer {
		m.max, m.tried, m.cancelled = o, roster.CancelMove, false
	}
	if outcome != roster.CallOK {
		return roster.Failed
	}
	m.tried, m.cancelled = 0, true
	return roster.NotBegun
}

// TestReceiverFollowsTheTable plays random commands for one shard and compares each answer with the table.
func TestReceiverFollowsTheTable(t *testing.T) {
	t.Parallel()
	answered := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := live(t)
		model := table{phase: shard.None}
		for range rapid.IntRange(1, 40).Draw(rt, "commands") {
			kind := rapid.SampledFrom([]roster.Kind{
				roster.AddShard, roster.DropShard, roster.PrepareAddShard, roster.PrepareDropShard, roster.CancelMove, follow,
			}).Draw(rt, "kind")
			order := shard.Order{
				Term: shard.Term(rapid.IntRange(1, 4).Draw(rt, "term")), Move: shard.MoveID(rapid.IntRange(1, 3).Draw(rt, "move")),
			}
			outcome := rapid.SampledFrom([]roster.Outcome{roster.CallOK, roster.CallOK, roster.CallFailed}).Draw(rt, "outcome")
			got, activated := w.command(rt, kind, order, outcome)
			before := model
			want := model.judge(kind, order, outcome)
			if got != want {
				rt.Fatalf("kind %d order %s outcome %d at %+v: status %d, expected %d", kind, order, outcome, before, got, want)
			}
			if activated { // Activate was done, AddShard failed: prepared under the order
				model.phase, model.under = shard.Prepared, order
			}
			answered++
		}
	})
	if answered == 0 {
		t.Fatal("nothing was compared")
	}
}

// command sends one and lets the application answer with outcome, except that Activate fails only if outcome says so at the first step
// of every other order. It reports whether Activate was done and AddShard failed.
func (w *world) command(rt *rapid.T, k roster.Kind, o shard.Order, outcome roster.Outcome) (roster.Status, bool) {
	id := roster.CommandID{Epoch: shard.Epoch{Index: 7}, Incarnation: 0xa1, Shard: "0", Order: o, Kind: k}
	role := shard.Primary
	if k == follow {
		id.Kind, role = roster.AddShard, shard.Secondary
	}
	w.step(roster.Command{Stream: 1, ID: id, Role: role})
	half := false
	for range 3 {
		if status, ok := w.result(id); ok {
			return status, half && status == roster.Failed
		}
		if len(w.out.Calls) != 1 {
			rt.Fatalf("kind %d order %s: %d calls and no result", k, o, len(w.out.Calls))
		}
		call := w.out.Calls[0]
		said := outcome
		if call.Kind == roster.CallActivate && o.Move%2 == 0 {
			said, half = roster.CallOK, true
		}
		if call.Kind == roster.CallCancelMove && said == roster.CallOK {
			said = roster.CallNotBegun
		}
		w.step(roster.CallDone{ID: call.ID, Outcome: said})
	}
	rt.Fatalf("kind %d order %s: no result after three calls", k, o)
	return 0, false
}

func (w *world) result(id roster.CommandID) (roster.Status, bool) {
	for _, m := range w.out.Messages {
		if r, ok := m.Body.(roster.Result); ok && r.ID == id {
			return r.Status, true
		}
	}
	return 0, false
}

// chaos plays random events against a roster and keeps its own, simpler account of what it may do.
type chaos struct {
	w       *world
	rt      *rapid.T
	bound   shard.Instant                 // latest end that anybody vouched for in this life
	asked   map[uint64]shard.Instant      // renewals of the present stream
	read    shard.Instant                 // the store read under way
	running map[roster.CallID]roster.Call // calls not answered
	lanes   map[roster.CallID]roster.Call // of UpdateMembership, not answered or cancelled
	highest map[shard.ID]shard.Order      // of calls made, in this life
	stream  roster.StreamID
	current shard.Incarnation
	fresh   shard.Incarnation

	renewed, memberships int
}

// TestNoLeaseWithoutProof: whatever happens, in whatever order, the lease never outlasts what a leader or the store vouched for, orders
// of one shard never go back, and one call of a shard runs at a time.
func TestNoLeaseWithoutProof(t *testing.T) {
	t.Parallel()
	renewals, memberships := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		c := noLeaseWithoutProof(newWorld(t), rt)
		renewals, memberships = renewals+c.renewed, memberships+c.memberships
	})
	if renewals == 0 || memberships == 0 {
		t.Fatalf("%d leases and %d memberships were asked for: nothing was checked", renewals, memberships)
	}
}

func noLeaseWithoutProof(w *world, rt *rapid.T) *chaos {
	c := &chaos{w: w, rt: rt, fresh: 0xa0}
	c.begin()
	c.register()
	c.observe()
	c.serve()
	for range rapid.IntRange(20, 120).Draw(rt, "events") {
		c.one()
		c.observe()
	}
	return c
}

// begin starts the account of a life anew.
func (c *chaos) begin() {
	c.bound, c.asked, c.read = shard.Instant{}, map[uint64]shard.Instant{}, shard.Instant{}
	c.running, c.highest = map[roster.CallID]roster.Call{}, map[shard.ID]shard.Order{}
	c.lanes = map[roster.CallID]roster.Call{}
}

func (c *chaos) draw(n int, what string) int { return rapid.IntRange(0, n-1).Draw(c.rt, what) }

func (c *chaos) vouched(asked shard.Instant, d time.Duration) {
	if end := asked.Add(d); !asked.IsZero() && (c.bound.IsZero() || end.Remaining(c.w.now) > c.bound.Remaining(c.w.now)) {
		c.bound = end
	}
}

// one plays a random event. Answers may be to old questions, of old lives, or to nothing at all.
func (c *chaos) one() {
	w := c.w
	switch c.draw(23, "event") {
	case 0, 1, 2:
		w.now = w.now.Add(time.Duration(c.draw(1500, "pause")) * time.Millisecond)
		w.out.Reset()
		w.r.Tick(w.now, &w.out)
		w.check()
	case 3:
		c.register()
	case 4:
		w.step(roster.Pull{Request: 99, Incarnation: c.current})
	case 5:
		c.stream++
		c.asked = map[uint64]shard.Instant{}
		w.step(roster.Attached{
			Stream: c.stream, Incarnation: c.current, Epoch: shard.Epoch{Index: uint64(7 + c.draw(2, "epoch"))}, Interval: time.Second, Validity: 6 * time.Second,
		})
	case 6, 7:
		sequence, length := uint64(c.draw(6, "sequence")), time.Duration(c.draw(7, "length"))*time.Second
		c.vouched(c.asked[sequence], length)
		w.step(roster.Granted{Stream: c.stream, Sequence: sequence, Remaining: length})
	case 8:
		state := roster.KeyState(1 + c.draw(3, "state"))
		if state == roster.KeyOurs {
			c.vouched(c.read, settings().Validity)
		}
		c.read = shard.Instant{}
		w.step(roster.KeyRead{Incarnation: c.current, State: state})
	case 9:
		w.step(roster.Detached{Stream: c.stream})
	case 10:
		if c.draw(3, "fenced") > 0 {
			return
		}
		w.step(roster.Fenced{Incarnation: shard.Incarnation(uint64(c.current) - uint64(c.draw(4, "age")/3))})
	case 11:
		if c.draw(3, "dies") > 0 {
			return
		}
		w.step(roster.AppGone{Process: roster.Process{PID: 1, StartTicks: 1, ExitProves: true}})
	case 12, 13, 14, 15, 16:
		c.command()
	case 17, 18, 19:
		c.answer()
	case 20, 21, 22:
		c.membership()
	}
}

// membership sends one to a shard at the term at which it is held or being granted, or grants it if there is none.
func (c *chaos) membership() {
	id := roster.CommandID{Epoch: shard.Epoch{Index: 9}, Incarnation: c.current, Shard: "0", Kind: roster.AddShard}
	id.Order = shard.Order{Term: c.highest["0"].Term + 1, Move: 1}
	for _, h := range c.w.r.View(c.w.now).Held {
		if h.Shard == "0" && h.Max.Term > 0 && h.Phase != shard.Following {
			id.Kind, id.Order = roster.UpdateMembership, shard.Order{Term: max(h.Term, h.Max.Term), Move: shard.MoveID(2 + c.draw(3, "membership"))}
		}
	}
	c.w.step(roster.Command{Stream: c.stream, ID: id})
}

// serve grants a shard and sends its first membership, so that few runs suffice to see one; unless the registration stopped half way.
func (c *chaos) serve() {
	c.stream++
	c.w.step(roster.Attached{Stream: c.stream, Incarnation: c.current, Epoch: shard.Epoch{Index: 9}, Interval: time.Second, Validity: 6 * time.Second})
	c.observe()
	c.membership()
	c.observe()
	for len(c.running) > 0 {
		for _, id := range shard.SortedKeys(c.running) {
			delete(c.running, id)
			c.w.step(roster.CallDone{ID: id, Outcome: roster.CallOK})
			c.observe()
		}
	}
	c.membership()
	c.observe()
}

// register plays a registration through, as the shell would, except that it may stop half way.
func (c *chaos) register() {
	w := c.w
	c.fresh++
	w.step(roster.AppRegistered{
		Request: 1, Fresh: c.fresh, Application: roster.Application{Process: roster.Process{PID: 1, StartTicks: 1, ExitProves: true}, HostAddress: "unix:///a"},
	})
	if c.draw(3, "half way") == 0 {
		return
	}
	c.observe()
	w.step(roster.FileSaved{Saved: w.saved})
	c.observe()
	w.step(roster.SessionDestroyed{Session: "s"})
	c.observe()
	w.step(roster.KeyRegistered{Incarnation: c.fresh, Session: "s", Create: 9})
}

func (c *chaos) command() {
	id := roster.CommandID{
		Epoch: shard.Epoch{Index: uint64(7 + c.draw(3, "epoch"))}, Incarnation: c.current, Shard: shard.ID([]string{"0", "1"}[c.draw(2, "shard")]),
		Order: shard.Order{Term: shard.Term(1 + c.draw(5, "term")), Move: 1}, Kind: roster.Kind(1 + c.draw(6, "kind")),
	}
	c.w.step(roster.Command{Stream: c.stream, ID: id, Role: shard.Role(c.draw(3, "role"))})
}

func (c *chaos) answer() {
	if c.draw(2, "lane") == 0 {
		for _, id := range shard.SortedKeys(c.lanes) {
			delete(c.lanes, id)
			c.w.step(roster.CallDone{ID: id, Outcome: roster.Outcome(1 + c.draw(6, "outcome"))})
			return
		}
	}
	for _, id := range shard.SortedKeys(c.running) {
		delete(c.running, id)
		c.w.step(roster.CallDone{ID: id, Outcome: roster.Outcome(1 + c.draw(6, "outcome"))})
		return
	}
}

// observe takes note of what the roster did, and checks it.
func (c *chaos) observe() {
	w, v := c.w, c.w.r.View(c.w.now)
	if v.Server.Incarnation != c.current || v.Life != roster.Live {
		c.begin()
		c.current = v.Server.Incarnation
	}
	for _, m := range w.out.Messages {
		if renew, ok := m.Body.(roster.Renew); ok {
			c.asked[renew.Sequence] = w.now
			c.renewed++
		}
	}
	for _, op := range w.out.Store {
		if _, ok := op.(roster.ReadKey); ok {
			c.read = w.now
		}
	}
	for _, id := range w.out.Cancels {
		delete(c.lanes, id)
	}
	for _, call := range w.out.Calls {
		c.called(call)
	}
	for _, call := range c.lanes {
		c.fits(call)
	}
	w.out.Reset()
	if bound := max(0, c.bound.Remaining(w.now)); v.Remaining > bound {
		c.rt.Fatalf("a lease of %v, but nobody vouched for more than %v", v.Remaining, bound)
	}
}

// fits fails for a membership that goes on although the shard writes at its term no more, as far as the newest command says.
func (c *chaos) fits(call roster.Call) {
	for _, h := range c.w.r.View(c.w.now).Held {
		if h.Shard == call.Shard && (h.Phase == shard.Serving || h.Phase == shard.Prepared) && h.Term > call.Order.Term {
			c.rt.Fatalf("a membership of term %d goes on although the shard is %s at %d", call.Order.Term, h.Phase, h.Term)
		}
		if h.Shard == call.Shard && (h.Phase == shard.Forwarding || h.Phase == shard.Following) && h.Term == call.Order.Term && h.Max.Term > h.Term {
			c.rt.Fatalf("a membership of term %d goes on although the shard is %s", call.Order.Term, h.Phase)
		}
	}
}

func (c *chaos) called(call roster.Call) {
	if call.Shard == "" {
		return
	}
	if call.Kind == roster.CallUpdateMembership {
		for _, other := range c.lanes {
			if other.Shard == call.Shard {
				c.rt.Fatalf("two memberships of shard %s at once: %+v and %+v", call.Shard, other, call)
			}
		}
		c.lanes[call.ID] = call
		c.memberships++
		return
	}
	for _, other := range c.running {
		if other.Shard == call.Shard {
			c.rt.Fatalf("two calls of shard %s at once: %+v and %+v", call.Shard, other, call)
		}
	}
	c.running[call.ID] = call
	if call.Order.Compare(c.highest[call.Shard]) < 0 {
		c.rt.Fatalf("shard %s: order %s was taken after %s", call.Shard, call.Order, c.highest[call.Shard])
	}
	c.highest[call.Shard] = call.Order
}
