package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// members are the secondaries that the primary of a row has to know; newcomers are left out where it is only becoming primary.
func (t *task) members(newcomers bool) []shard.Member {
	var list []shard.Member
	for _, s := range t.row.Secondaries {
		if f := t.known(s.Owner); f != nil && (s.State == InSync || s.State == Syncing && newcomers) {
			list = append(list, shard.Member{Peer: f.peer(), InSync: s.State == InSync})
		}
	}
	return list
}

// targetMembers are the secondaries that the target of an open move has from its activation on: all in sync but itself, and the source,
// which has everything that was acknowledged so far.
func (t *task) targetMembers() []shard.Member {
	if !t.a.spec.Replication.Secondaries() {
		return nil
	}
	list := slices.DeleteFunc(t.members(false), func(m shard.Member) bool { return m.Server == t.row.Open.To.Server })
	if from := t.known(t.row.Open.From); !from.gone() {
		list = append(list, shard.Member{Peer: from.peer(), InSync: true})
	}
	return list
}

// tellTarget keeps the target of a hand-over from waiting for a secondary that was lost since it was prepared: it is activated with the list of
// then, and the source waits for that. It is told again once it is primary.
func (t *task) tellTarget(to *life) {
	if m := t.row.Open; t.w.mayHand && t.row.MembersMove > m.Move {
		t.command(to, purpose.Members, shard.Order{Term: m.Term, Move: t.row.MembersMove})
	}
}

// tellMembers keeps the executing primary's membership up to date, and reports whether it acknowledged the present one.
func (t *task) tellMembers() bool {
	to, term := t.known(t.row.Primary), t.row.PrimaryTerm
	if m := t.row.Open; m != nil && m.Phase == Opened && t.w.handed || !t.a.spec.Replication.Primaries() || to.gone() {
		return false
	}
	if t.row.MembersTold == t.row.MembersMove {
		return true
	}
	o := shard.Order{Term: term, Move: t.row.MembersMove}
	if !t.w.served && (t.row.PrimaryMove == 0 || t.row.MembersMove == t.row.PrimaryMove) {
		return false // not heard of yet, or told with the grant
	}
	c := t.command(to, purpose.Members, o)
	switch {
	case !t.w.served: // it is being activated, and waits for this
	case c.fails >= attemptsMost || to.attached() && t.after(c.since, t.deadline(purpose.Members)+answerSlack):
		t.membersRefused(to, c)
	}
	return false
}

// membersRefused takes another way where a membership is never acknowledged: newcomers are let go first; a primary that does not even
// let go of a lost secondary cannot acknowledge writes, so another gets the shard.
func (t *task) membersRefused(to *life, c *call) {
	e := t.edit()
	for _, s := range t.row.Secondaries {
		if s.State == Syncing {
			t.avoid(s.Owner)
			e.set(s.Owner, Leaving, "secondary given up", "the primary does not bring it up to date: "+cmp.Or(c.err, "no answer within the deadline"), urgent)
		}
	}
	if e.stage() || t.row.Open != nil {
		return
	}
	if !t.w.takeAway {
		t.w.takeAway = true
		t.trace(Decision{What: "primary stuck", App: t.a.spec.Name, Shard: t.a.id(t.at), Server: to.Server, Incarnation: to.Incarnation,
			Order: c.order, Why: "it does not take its membership: " + cmp.Or(c.err, "no answer within the deadline")})
	}
}

// syncDeadline is how long a primary may take to bring newcomers up to date; to let go of somebody takes a step.
func (t *task) syncDeadline() time.Duration {
	if slices.ContainsFunc(t.row.Secondaries, func(s Secondary) bool { return s.State == Syncing }) {
		return t.s.LoadDeadline
	}
	return t.s.StepDeadline
}
