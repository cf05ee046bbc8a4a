package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
)

// secondaries is the replication of apps that have them.
const secondaries = spec.PrimarySecondary

// lookEvery is how often the simulation notes who can be heard of.
const lookEvery = 100 * time.Millisecond

// noteSilence notes since when the leader cannot hear of a server: its agent or its machine is away, stands still, or is cut off.
func (w *World) noteSilence() {
	now := w.queue.Now()
	leader := w.store.lock.holder
	for _, h := range w.hosts {
		silent := !h.up || h.agent == nil || !h.agent.process.Runs() || !h.app.lives() || !h.app.process.Runs() ||
			w.net.blocked(h.at, leader) || w.net.blocked(leader, h.at)
		if _, known := w.unreachables[h.id]; silent && !known {
			w.unreachables[h.id] = now
		} else if !silent {
			delete(w.unreachables, h.id)
		}
	}
}

func (w *World) lookAround() {
	w.noteSilence()
	for _, h := range w.hosts {
		h.measure()
	}
	w.queue.After(lookEvery, w.lookAround)
}

// fenced tells of a fence. Lost counts those not heard of for so long that the leader noticed before it decided: the store may have been slow, or full.
func (w *World) fenced(f ledger.Fence, sent time.Duration) {
	if at, ok := w.doomed[f.Owner]; ok {
		sent = min(sent, at)
	}
	lost := map[shard.ServerID]bool{}
	noticed := 3*w.settings.Interval + w.settings.ProbeTimeout + 2*time.Second
	for id, since := range w.unreachables {
		if before, fenced := w.fences[id]; fenced && before > since && w.queue.Now()-before > 2*w.settings.Validity {
			continue // over and done with: it is no loss any more
		}
		if sent-since > noticed && w.holds(id) && w.store.rests[id].Owner.Server == "" { // who rests is not waited for
			lost[id] = true
		}
	}
	w.fences[f.Owner.Server] = w.queue.Now()
	reported := strings.Contains(f.Reason, "ended") || strings.Contains(f.Reason, "incarnation") || strings.Contains(f.Reason, "lost time") || strings.Contains(f.Reason, "operator") || strings.Contains(f.Reason, "is forced") ||
		f.Reason == "its key is gone" ||
		!lost[f.Owner.Server]
	w.say("store", "fence of %s %s: %s", f.Owner.Server, f.Owner.Incarnation, f.Reason)
	w.observe(promise.Fenced{
		Fence: f, Lost: len(lost), Servers: len(w.hosts), Domain: w.oneDomain(lost),
		Released: reported || w.queue.Now()-w.released < 30*time.Second,
	})
}

// holds reports whether any row names the incarnation that a server's key does: one that holds nothing is no loss; a key that is gone says more.
func (w *World) holds(id shard.ServerID) bool {
	key, there := w.store.keys[id]
	owner := ledger.Owner{Server: id, Incarnation: key.Server.Incarnation}
	f := w.store.fences[id]
	if at, fenced := w.fences[id]; !there && fenced && strings.HasPrefix(f.Reason, "silent") && w.queue.Now()-at <= 2*w.settings.Validity {
		owner, there = f.Owner, true // its shards are not elsewhere yet
	}
	return slices.ContainsFunc(w.store.rows, func(r ledger.Row) bool {
		return slices.ContainsFunc(r.Owners(), func(o ledger.Owner) bool {
			return there && o == owner
		})
	})
}

// oneDomain reports that those lost are one whole zone or region.
func (w *World) oneDomain(lost map[shard.ServerID]bool) bool {
	for _, of := range []func(shard.Locality) string{func(l shard.Locality) string { return l.Zone }, func(l shard.Locality) string { return l.Region }} {
		names := map[string]bool{}
		for _, h := range w.hosts {
			if lost[h.id] {
				names[of(h.where)] = true
			}
		}
		if len(names) != 1 {
			continue
		}
		whole := true
		for _, h := range w.hosts {
			whole = whole && (lost[h.id] || !names[of(h.where)])
		}
		if whole {
			return true
		}
	}
	return false
}

// leftOver tells, when faults have been over for long, what is not as it should be (promises 3 and 8).
func (w *World) leftOver() {
	for i, r := range w.store.rows {
		left := promise.Left{Shard: w.ids[i], Calm: w.calmFor()}
		if left.Unowned = w.unowned(w.ids[i], &r); left.Unowned != "" {
			if t := w.leader(); t != nil {
				known, _, _ := t.core.Explain(theApp, w.ids[i])
				w.say(t.a.name, "explains %s: %+v", w.ids[i], known)
			}
		}
		w.observe(left)
	}
}

func (w *World) unowned(id shard.ID, r *ledger.Row) string {
	if r.Primary.Incarnation == 0 {
		return "nobody was given it"
	}
	h := w.hostOf(r.Primary.Server)
	app := h.app
	switch {
	case !app.lives() || app.life == nil || app.life.incarnation != r.Primary.Incarnation:
		return "its owner " + string(r.Primary.Server) + " " + r.Primary.Incarnation.String() + " is not there"
	case !app.life.end.Allows(h.now()):
		return "its owner " + string(r.Primary.Server) + " has no lease"
	}
	if r.Open != nil {
		return "" // it is on its way; whether it stays there is another promise
	}
	rep := app.life.replicas[id]
	if rep == nil || rep.gate != open || rep.Term != r.PrimaryTerm {
		return "its owner " + string(r.Primary.Server) + " does not serve it at the term of its row"
	}
	return ""
}
