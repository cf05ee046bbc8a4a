package ledger_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// This file gives the world's agents an application that replicates: each replica has the writes that it applied, a primary acknowledges a
// write once every member of its membership has it, and replicas refuse terms below the highest they have seen. The checker is the
// promise that this is for: no acknowledged write is lost while a secondary in sync lives.

// copyOf is what an application has for one shard.
type copyOf struct {
	writes  []int64
	seen    shard.Term     // refuses replication at lower ones
	members []shard.Member // waited for, as primary
	heard   shard.MoveID   // move of the newest membership
	wanted  []shard.Member // that of an activation that is not over
	adding  shard.Order    // AddShard that is not over
}

func (w *world) replicated() bool {
	return w.store.spec != nil && w.store.spec.Replication == spec.PrimarySecondary
}

// obeyReplicated is the receiver's table where there are secondaries (docs/architecture.md §5).
func (a *agent) obeyReplicated(c message.Command, s *slot) ledger.Status {
	id, o := c.ID, c.ID.Order
	order := o.Compare(s.max)
	switch id.Kind {
	case message.PrepareAddShard:
		if order > 0 {
			s.phase, s.term, s.max, s.under, s.copy.wanted = shard.Prepared, o.Term, o, o, c.Members
			return ledger.Done
		}
		if order == 0 && s.phase == shard.Prepared && s.under == o {
			return ledger.Done
		}
	case message.PrepareDropShard:
		return a.handOver(c, s, order)
	case message.AddShard:
		if c.Role == shard.Secondary {
			return a.second(o, s, order)
		}
		return a.becomePrimary(c, s, order)
	case message.UpdateMembership:
		return a.updateMembership(c, s)
	case message.CancelMove:
		if order > 0 {
			s.max, s.cancelled = o, o
			return ledger.NotBegun
		}
		if order == 0 && s.cancelled == o {
			return ledger.NotBegun
		}
		return ledger.Begun
	case message.DropShard:
		if order >= 0 {
			*s = slot{phase: shard.None, max: o}
			return ledger.Done
		}
	}
	return ledger.Stale
}

// handOver stops the source and activates the target; until that worked the source executes nothing, and neither does the target.
func (a *agent) handOver(c message.Command, s *slot, order int) ledger.Status {
	o := c.ID.Order
	switch {
	case order > 0 && s.phase == shard.Serving:
		s.phase, s.max, s.under = shard.Forwarding, o, o
	case order != 0 || s.phase != shard.Forwarding || s.under != o:
		return ledger.Stale
	}
	key := handKey{c.ID.Shard, o}
	if a.w.handed[key] {
		return ledger.Done
	}
	to := a.w.reached(c.Peer)
	if to == nil || to.shards[c.ID.Shard] == nil {
		return ledger.Failed
	}
	target := to.shards[c.ID.Shard]
	if target.phase != shard.Prepared || target.under != o || !to.activate(c.ID.Shard, target, o.Term, target.copy.wanted) {
		return ledger.Failed
	}
	a.w.handed[key] = true
	return ledger.Done
}

func (a *agent) second(o shard.Order, s *slot, order int) ledger.Status {
	if order > 0 {
		s.phase, s.term, s.max, s.under, s.copy.members = shard.Following, o.Term, o, o, nil
		return ledger.Done
	}
	if order == 0 && s.phase == shard.Following && s.under == o {
		return ledger.Done
	}
	return ledger.Stale
}

func (a *agent) becomePrimary(c message.Command, s *slot, order int) ledger.Status {
	o := c.ID.Order
	if order == 0 && s.phase == shard.Serving && s.under == o {
		return ledger.Done
	}
	prepared := order == 0 && s.phase == shard.Prepared && s.under == o
	if order < 0 || order == 0 && !prepared && s.copy.adding != o {
		return ledger.Stale
	}
	activated := prepared && a.w.handed[handKey{c.ID.Shard, o}]
	if s.copy.adding != o {
		s.copy.adding, s.copy.wanted, s.copy.heard = o, c.Members, o.Move
	}
	s.phase, s.term, s.max, s.under = shard.Prepared, o.Term, o, o
	if !activated && !a.activate(c.ID.Shard, s, o.Term, s.copy.wanted) {
		return ledger.Failed
	}
	s.phase = shard.Serving
	a.w.serves(c.ID.Shard, o.Term, a)
	return ledger.Done
}

func (a *agent) updateMembership(c message.Command, s *slot) ledger.Status {
	o := c.ID.Order
	switch {
	case o.Term != s.term || o.Move < s.copy.heard:
		return ledger.Stale
	case s.phase == shard.Prepared && s.copy.adding.Term == o.Term:
		s.copy.heard, s.copy.wanted = o.Move, c.Members
		return ledger.Failed // the activation takes it
	case s.phase != shard.Serving:
		return ledger.Stale
	}
	s.copy.heard = o.Move
	s.copy.members = slices.DeleteFunc(slices.Clone(s.copy.members), func(m shard.Member) bool {
		return !slices.ContainsFunc(c.Members, func(n shard.Member) bool { return n.Peer == m.Peer })
	})
	if !a.bring(c.ID.Shard, s, c.Members) {
		return ledger.Failed
	}
	s.copy.members = c.Members
	return ledger.Done
}

// activate raises the term at every member before anything is acknowledged at it.
func (a *agent) activate(id shard.ID, s *slot, term shard.Term, members []shard.Member) bool {
	if s.copy.seen > term {
		return false
	}
	s.term, s.copy.seen = term, term
	if !a.bring(id, s, members) {
		return false
	}
	s.copy.members = members
	return true
}

// bring gives every member what this replica has; false if one does not answer, or has seen a later term.
func (a *agent) bring(id shard.ID, s *slot, members []shard.Member) bool {
	for _, m := range members {
		other := a.w.reached(m.Peer)
		if other == nil {
			return false
		}
		c := other.shards[id]
		if c == nil || c.phase == shard.None || c.copy.seen > s.term {
			return false
		}
		c.copy.seen, c.copy.writes = s.term, slices.Clone(s.copy.writes)
	}
	return true
}

// reached is the agent whose application answers as that incarnation; nil: none does.
func (w *world) reached(p shard.Peer) *agent {
	for _, a := range w.agents {
		if a.id == p.Server && a.inc == p.Incarnation && a.up && !a.paused {
			return a
		}
	}
	return nil
}

// write lets a server that executes a shard take a write, and acknowledge all that every member has. Where two servers may serve a shard at
// once, nobody promises anything of what the earlier one acknowledges alone (PROTOCOL R28, R34).
func (a *agent) write() {
	w := a.w
	if !w.replicated() || a.paused || !a.up {
		return
	}
	for _, id := range shard.SortedKeys(a.shards) {
		if s := a.shards[id]; a.executes(id) {
			w.writes++
			s.copy.writes = append(s.copy.writes, w.writes)
			if a.bring(id, s, s.copy.members) && (w.onePrimary() || w.primaryOf(id) == ledger.Owner{Server: a.id, Incarnation: a.inc}) {
				w.acked[id] = slices.Clone(s.copy.writes)
			}
		}
	}
}

// primaryOf is who a shard's row says is primary.
func (w *world) primaryOf(id shard.ID) ledger.Owner {
	at, _ := w.indexOf(id)
	if h := w.history[at]; len(h) > 0 {
		return h[len(h)-1].Primary
	}
	return ledger.Owner{}
}

// checkHandOn is the promise: a new primary has every acknowledged write, if anybody who had them was left to choose.
func (w *world) checkHandOn(at shard.Index, old, now ledger.Row) {
	id := w.idOf(at)
	if !w.replicated() || now.Primary == old.Primary || now.Primary.Incarnation == 0 {
		return
	}
	if !slices.ContainsFunc(old.Secondaries, func(s ledger.Secondary) bool { return s.State == ledger.InSync && w.survives(s.Owner) }) {
		w.acked[id] = nil // nobody was: that is a loss, and no breach
		return
	}
	for _, a := range w.agents {
		if a.id != now.Primary.Server || a.inc != now.Primary.Incarnation || a.shards[id] == nil {
			continue
		}
		for _, n := range w.acked[id] {
			if !slices.Contains(a.shards[id].copy.writes, n) {
				w.broken("shard %s: %v becomes primary without acknowledged write %d of %v: it has %v", id, now.Primary, n, w.acked[id], a.shards[id].copy.writes)
				return
			}
		}
		return
	}
	if w.survives(now.Primary) {
		w.broken("shard %s: %v becomes primary and holds nothing", id, now.Primary)
	}
}

// survives reports whether an incarnation may still be chosen: it has neither ended nor been fenced.
func (w *world) survives(o ledger.Owner) bool {
	return w.store.fences[o.Server].Owner != o && slices.ContainsFunc(w.agents, func(a *agent) bool {
		return a.up && a.id == o.Server && a.inc == o.Incarnation
	})
}

// checkInSync is the order of growing: the row says in sync only after the primary waits for it.
func (w *world) checkInSync(at shard.Index, old, now ledger.Row) {
	if !w.replicated() {
		return
	}
	id := w.idOf(at)
	for _, s := range now.Secondaries {
		if s.State != ledger.InSync || slices.ContainsFunc(old.Secondaries, func(o ledger.Secondary) bool { return o.Owner == s.Owner && o.State == ledger.InSync }) {
			continue
		}
		if s.Owner == old.Primary {
			continue // the source of a move, whom the target waits for from its activation on
		}
		for _, a := range w.agents {
			if a.id == now.Primary.Server && a.inc == now.Primary.Incarnation && a.up &&
				!slices.ContainsFunc(a.shards[id].copy.members, func(m shard.Member) bool { return m.Server == s.Server && m.Incarnation == s.Incarnation }) {
				w.broken("shard %s: %v is in sync by its row, and the primary does not wait for it", id, s.Owner)
			}
		}
	}
}

// replicas places like spread: a primary, then secondaries up to what is wanted; it takes away what is too much, and empties servers that
// are leaving.
func replicas(in placement.Input) placement.Plan {
	p := placement.Plan{App: in.App}
	for _, s := range in.Shards {
		if s.Pinned || s.Backoff {
			continue
		}
		for only := false; ; only = true { // all secondaries that are missing at once, and else one move a shard
			m, ok := nextMove(in, s)
			if !ok || only && m.Kind != placement.Add {
				break
			}
			if p.Moves = append(p.Moves, m); m.Kind != placement.Add {
				break
			}
			to := slices.IndexFunc(in.Servers, func(v placement.Server) bool { return v.ID == m.To })
			s.Replicas = append(slices.Clone(s.Replicas), placement.Replica{On: to, To: -1, Role: shard.Secondary})
		}
	}
	return p
}

func nextMove(in placement.Input, s placement.Shard) (placement.Move, bool) {
	m := placement.Move{Shard: s.Index, Reason: placement.Place}
	free := slices.IndexFunc(in.Servers, func(v placement.Server) bool {
		return v.Accepts && !slices.Contains(s.Avoid, v.ID) && !slices.ContainsFunc(s.Replicas, func(r placement.Replica) bool {
			return r.On >= 0 && in.Servers[r.On].ID == v.ID || r.To >= 0 && in.Servers[r.To].ID == v.ID
		})
	})
	count, under := 0, false
	for _, r := range s.Replicas {
		if !r.Leaving {
			count++
		}
		under = under || r.To >= 0
	}
	primary := s.Primary()
	ready := slices.IndexFunc(s.Replicas, func(r placement.Replica) bool {
		return r.Role == shard.Secondary && r.Settled && r.On >= 0 && !in.Servers[r.On].Leaving
	})
	leaving := slices.IndexFunc(s.Replicas, func(r placement.Replica) bool { return r.On >= 0 && r.Settled && in.Servers[r.On].Leaving })
	at := func(i int) shard.ServerID { return in.Servers[i].ID }
	switch {
	case under:
	case in.Policy.Primary && primary == nil && free >= 0:
		m.Kind, m.To = placement.Grant, at(free)
		return m, true
	case in.Policy.Primary && primary == nil:
	case primary != nil && in.Servers[primary.On].Leaving && ready >= 0:
		m.Kind, m.From, m.To, m.Reason = placement.Promote, at(primary.On), at(s.Replicas[ready].On), placement.Drain
		return m, true
	case count < cmp.Or(s.Wanted, in.Policy.Replicas) && free >= 0:
		m.Kind, m.To = placement.Add, at(free)
		return m, true
	case leaving >= 0 && free >= 0:
		m.Kind, m.From, m.To, m.Reason = placement.Migrate, at(s.Replicas[leaving].On), at(free), placement.Drain
		return m, true
	case count > cmp.Or(s.Wanted, in.Policy.Replicas) && ready >= 0:
		m.Kind, m.From = placement.Drop, at(s.Replicas[ready].On)
		return m, true
	}
	return m, false
}

// proposed places like base, and proposes first what a scenario wants.
func (w *world) proposed(base func(placement.Input) placement.Plan) func(placement.Input) placement.Plan {
	return func(in placement.Input) placement.Plan {
		p := base(in)
		for _, m := range w.next {
			p.Moves = append([]placement.Move{m}, p.Moves...)
			p.Decisions = append(p.Decisions, placement.Decision{Shard: m.Shard, Kind: m.Kind, From: m.From, To: m.To, Reason: m.Reason, Why: "wished for"})
		}
		w.next = nil
		return p
	}
}

// nudge makes the leader ask placement again.
func (w *world) nudge() {
	if ld := w.store.lock; ld != nil {
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.UpdateApp{Spec: *w.store.spec}})
	}
}

// uneasy places like replicas, and switches and migrates with every plan.
func (w *world) uneasy(in placement.Input) placement.Plan {
	p := replicas(in)
	w.names++
	for i, n := 0, len(in.Shards); i < n; i++ {
		s := in.Shards[(i+w.names)%n]
		if s.Pinned || len(s.Replicas) == 0 || slices.ContainsFunc(p.Moves, func(m placement.Move) bool { return m.Shard == s.Index }) {
			continue
		}
		r := s.Replicas[w.names%len(s.Replicas)]
		to := in.Servers[(w.names+i)%len(in.Servers)]
		switch {
		case !r.Settled || r.To >= 0 || r.Leaving:
		case r.Role == shard.Secondary && w.names%2 == 0:
			if primary := s.Primary(); primary != nil {
				p.Moves = append(p.Moves, placement.Move{Shard: s.Index, Kind: placement.Promote, From: in.Servers[primary.On].ID, To: in.Servers[r.On].ID, Reason: placement.Balance})
			}
		case to.Accepts:
			p.Moves = append(p.Moves, placement.Move{Shard: s.Index, Kind: placement.Migrate, From: in.Servers[r.On].ID, To: to.ID, Reason: placement.Balance})
		}
	}
	return p
}

func replicatedWorld(t *rapid.T, replication spec.Replication) *world {
	w := newWorld(restless())
	w.plan = w.uneasy
	drift := rapid.SampledFrom([]int64{1000, 990, 1010})
	for i := range 4 {
		w.addAgent(fmt.Sprintf("a%d", i), fmt.Sprintf("z%d", i%2), drift.Draw(t, "agent's clock"))
	}
	w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 3}}, ResourceVersion: 1, Replication: replication, Replicas: rapid.IntRange(1, 3).Draw(t, "replicas")}
	w.store.chunks[0] = make([]ledger.Row, 3)
	w.elect(drift.Draw(t, "leader's clock"))
	w.run(6 * second)
	return w
}

// TestRandomReplicas is TestRandom with secondaries: no acknowledged write is lost while anybody in sync lives, and in the end every shard
// has the replicas that it should have.
func TestRandomReplicas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := replicatedWorld(t, spec.PrimarySecondary)
		kinds := rapid.SliceOfN(rapid.IntRange(0, len(actions)-1), 2, 9).Draw(t, "kinds of faults")
		for range rapid.IntRange(20, 120).Draw(t, "actions") {
			act(t, w, kinds)
			w.mustBeWhole(t)
		}
		w.calm()
		w.settle()
		w.mustBeWhole(t)
		w.mustBeReplicated(t)
	})
}

// TestRandomReplicasWithoutPrimaries: in the end every shard has its replicas, whatever happened.
func TestRandomReplicasWithoutPrimaries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := replicatedWorld(t, spec.SecondaryOnly)
		kinds := rapid.SliceOfN(rapid.IntRange(0, len(actions)-1), 2, 9).Draw(t, "kinds of faults")
		for range rapid.IntRange(20, 80).Draw(t, "actions") {
			act(t, w, kinds)
			w.mustBeWhole(t)
		}
		w.calm()
		w.settle()
		w.mustBeWhole(t)
		w.mustBeReplicated(t)
	})
}

// TestOwnerThatStopped: a leader tells a primary to stop, because it does not take its membership, and ends before it stored that. What the
// primary had is gone: the next leader gives the shard to who is in sync.
func TestOwnerThatStopped(t *testing.T) {
	w := newWorld(restless())
	w.plan = replicas
	for i := range 3 {
		w.addAgent(fmt.Sprintf("a%d", i), fmt.Sprintf("z%d", i), 1000)
	}
	w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 1}}, ResourceVersion: 1, Replication: spec.PrimarySecondary, Replicas: 3}
	w.store.chunks[0] = make([]ledger.Row, 1)
	w.elect(1000)
	w.run(6 * second)
	ld, id := w.store.lock, w.idOf(0)
	owner := w.primaryOf(id)
	var primary, other *agent
	for _, a := range w.agents {
		if a.id == owner.Server {
			primary = a
		} else {
			other = a
		}
	}
	if len(w.rows()[0].Secondaries) != 2 || len(w.acked[id]) == 0 {
		t.Fatalf("not replicated: %+v", w.rows()[0])
	}
	other.paused = true
	ld.die() // its successor tells the membership again
	w.store.lock = nil
	ld = w.elect(1000)
	for range 600 {
		if w.run(step); slices.ContainsFunc(w.trace, func(line string) bool { return strings.Contains(line, "primary stuck") }) {
			ld.blind = true
		}
		if primary.shards[id].phase == shard.None {
			break
		}
	}
	if primary.shards[id].phase != shard.None || w.primaryOf(id) != owner {
		t.Fatalf("the primary did not stop, or that is stored:\n%s", lines(w.trace))
	}
	ld.die()
	w.store.lock, other.paused = nil, false
	w.elect(1000)
	w.run(60 * second)
	w.mustBeWhole(t)
	w.mustBeReplicated(t)
	if now := w.primaryOf(id); now == owner {
		t.Fatalf("%v is primary again", now)
	}
}

// settle lets everything come to rest; where most servers are dead the leader holds, and an operator says that they are.
func (w *world) settle() {
	w.run(40 * second)
	ld := w.store.lock
	ld.requests++
	ld.step(ledger.Request{ID: ld.requests, Wish: wish.ReleaseHold{}})
	w.run(60 * second)
}

// mustBeReplicated: every shard is served by its primary, followed by as many secondaries as there should be, and held by nobody else.
func (w *world) mustBeReplicated(t interface{ Fatalf(string, ...any) }) {
	ld := w.store.lock
	up := 0
	for _, a := range w.agents {
		if a.up {
			up++
		}
	}
	for i, r := range w.rows() {
		id := w.idOf(shard.Index(i))
		bad := func(format string, args ...any) {
			t.Fatalf("shard %s: row %+v: "+format+"\nmoves: %+v\nservers: %+v\ntrace:\n%s",
				append(append([]any{id, r}, args...), ld.core.Moves().Open, ld.core.Servers(), lines(w.trace[max(0, len(w.trace)-300):]))...)
		}
		want := min(up, w.store.spec.Replicas)
		if w.replicated() {
			want--
		}
		if len(r.Secondaries) != want || r.Open != nil {
			bad("%d secondaries, want %d", len(r.Secondaries), want)
		}
		for _, a := range w.agents {
			s := a.shards[id]
			o := ledger.Owner{Server: a.id, Incarnation: a.inc}
			second := slices.ContainsFunc(r.Secondaries, func(s ledger.Secondary) bool { return s.Owner == o && s.State == ledger.InSync })
			switch {
			case !a.up:
			case o == r.Primary && (!a.executes(id) || s.term != r.PrimaryTerm):
				bad("its owner does not serve it")
			case o == r.Primary && len(s.copy.members) != len(r.Secondaries):
				bad("its primary waits for %v", s.copy.members)
			case second && (s == nil || s.phase != shard.Following):
				bad("%s is no secondary", a.id)
			case o != r.Primary && !second && s != nil && s.phase != shard.None:
				bad("%s still holds it as %s", a.id, s.phase)
			}
		}
		e := ld.maps[theApp].Entries()[i]
		if e.Primary != r.Primary.Server || e.Term != r.PrimaryTerm || len(e.Secondaries) != len(r.Secondaries) {
			bad("the map says %+v", e)
		}
	}
	if sum := ld.core.Summary(); sum.Unplaced != 0 || sum.OpenMoves != 0 {
		t.Fatalf("left over: %+v\ntrace:\n%s", sum, lines(w.trace[max(0, len(w.trace)-300):]))
	}
}
