package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// membership is the secondaries that a primary waits for with every write.
type membership struct {
	order   shard.Order
	list    []shard.Member
	behind  map[shard.ServerID]bool  // those that have not got the state yet
	copies  map[shard.ServerID]int64 // writes that each has
	then    func()                   // when all have it
	serving bool                     // pushes go on
}

const pushAgain = 200 * time.Millisecond

// close ends what belongs to a term at which this server writes no more.
func (m *membership) close() { *m = membership{} }

// firstMembership brings the secondaries of a new primary up to date before it serves. A newer membership takes its place meanwhile.
func (r *replica) firstMembership(c *callback, o shard.Order, members []shard.Member, then func(why string)) {
	if r.members.order.Compare(o) <= 0 {
		r.members = membership{order: o, list: members}
	}
	over := false
	end := func(why string) {
		if !over && !r.life.over {
			over = true
			c.onCancel = nil
			then(why)
		}
	}
	c.onCancel = func() {
		r.members.then = nil
		end("cancelled")
	}
	r.become(func() { end("") })
}

// become brings the members up to date, then calls then.
func (r *replica) become(then func()) {
	m := &r.members
	m.serving, m.then, m.behind, m.copies = true, then, map[shard.ServerID]bool{}, map[shard.ServerID]int64{}
	for _, member := range m.list {
		m.behind[member.Server] = true
	}
	if len(m.list) == 0 {
		r.upToDate()
		return
	}
	r.push(m.order)
}

func (r *replica) upToDate() {
	then := r.members.then
	r.members.then = nil
	if then != nil {
		then()
	}
}

// push sends the state to those that are behind, again and again, while the membership is the newest.
func (r *replica) push(order shard.Order) {
	if r.life.over || !r.members.serving || r.members.order != order || len(r.members.behind) == 0 {
		return
	}
	for _, member := range r.members.list {
		if r.members.behind[member.Server] {
			writes := r.writes
			r.replicate(member, writes, func(ok bool) {
				if !ok || r.members.order != order || r.life.over {
					return
				}
				r.copied(member.Server, writes)
				if delete(r.members.behind, member.Server); len(r.members.behind) == 0 {
					r.upToDate()
				}
			})
		}
	}
	r.app.process.After(pushAgain, func() { r.push(order) })
}

// updateMembership is the leader's news of secondaries.
func (r *replica) updateMembership(c *callback) {
	o := c.call.Order
	writes := r.raised == o.Term && r.armed && r.Phase != shard.Forwarding
	if !writes || o.Compare(r.members.order) < 0 {
		c.answer(roster.CallStale, "not primary at that term")
		return
	}
	waits := r.members.then // an activation waits for the newest
	activating := r.activated != o.Term
	r.members = membership{order: o, list: c.call.Members}
	r.become(func() {
		c.answer(roster.CallOK, "")
		if waits != nil && activating {
			waits()
		}
	})
	r.lookAtWrites()
}

// replicate has a secondary take the state over at the primary's term.
func (r *replica) replicate(to shard.Member, writes int64, done func(bool)) {
	w, term := r.app.w, r.raised
	target := w.hostOf(to.Server)
	call[bool]{from: r.app.host.at, to: target.at, timeout: time.Second,
		serve: func(answer func(bool)) {
			app := target.app
			if !app.lives() {
				return
			}
			app.process.Do(func() { answer(app.follow(r.id, to.Incarnation, term, writes)) })
		},
		done: func(took, ok bool) { done(ok && took) },
	}.make(w, r.app.process)
}

// follow is a secondary's half: it refuses terms below the highest it has seen.
func (a *application) follow(id shard.ID, i shard.Incarnation, term shard.Term, writes int64) bool {
	l := a.life
	if l == nil || l.over || l.incarnation != i {
		return false
	}
	r := l.replicas[id]
	if r == nil || r.role != shard.Secondary && r.Phase != shard.Forwarding || term < r.seen {
		return false
	}
	if term > r.seen {
		r.writes = 0 // what a new primary has counts, and no longer what an earlier one sent
	}
	r.seen, r.writes = term, max(r.writes, writes)
	return true
}

// copied notes that a secondary has so many writes.
func (r *replica) copied(id shard.ServerID, writes int64) {
	if r.members.copies != nil {
		r.members.copies[id] = max(r.members.copies[id], writes)
	}
	r.lookAtWrites()
}

// everywhere reports whether every secondary has a write.
func (r *replica) everywhere(write int64) bool {
	for _, m := range r.members.list {
		if r.members.copies[m.Server] < write {
			return false
		}
	}
	return true
}

// pendingWrite waits for secondaries.
type pendingWrite struct {
	write int64
	done  func()
}

// lookAtWrites lets those go on that every secondary has.
func (r *replica) lookAtWrites() {
	var left, ready []pendingWrite
	for _, p := range r.pendings {
		if r.everywhere(p.write) {
			ready = append(ready, p)
		} else {
			left = append(left, p)
		}
	}
	r.pendings = left
	for _, p := range ready {
		p.done()
	}
}

// spread gives a write to every secondary until each has it, or the membership changes.
func (r *replica) spread(write int64) {
	order := r.members.order
	for _, m := range r.members.list {
		if r.members.copies[m.Server] >= write {
			continue
		}
		var again func()
		again = func() {
			if r.life.over || r.members.order != order || r.members.copies[m.Server] >= write {
				return
			}
			writes := r.writes
			r.replicate(m, writes, func(ok bool) {
				switch {
				case r.members.order != order || r.life.over:
				case ok:
					r.copied(m.Server, writes)
				default:
					r.app.process.After(pushAgain, again)
				}
			})
		}
		again()
	}
}
