package promise

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// terms is promise 2: terms only grow, are durable before any server hears of them, and each is given to one incarnation only.
type terms struct {
	rows   map[shard.ID][]ledger.Row // all that were ever durable
	raised map[shard.ID]map[shard.Term]ledger.Owner
}

func newTerms() *terms {
	return &terms{rows: map[shard.ID][]ledger.Row{}, raised: map[shard.ID]map[shard.Term]ledger.Owner{}}
}

func (c *terms) see(_ time.Duration, o Observation) string {
	switch o := o.(type) {
	case RowWritten:
		c.rows[o.Shard] = append(c.rows[o.Shard], o.After)
		return grows(o)
	case Sent:
		to, cmd := o.To, o.Command
		to.Incarnation = cmd.ID.Incarnation
		if !slices.ContainsFunc(c.rows[cmd.ID.Shard], func(r ledger.Row) bool { return covers(&r, to, cmd) }) {
			return fmt.Sprintf("%s of shard %s at %s was sent to %s before its row was durable", cmd.ID.Kind, cmd.ID.Shard, cmd.ID.Order, to.Server)
		}
	case Heard:
		return "a leader that holds the lock heard of a later one: " + o.Why
	case Raised:
		if c.raised[o.Shard] == nil {
			c.raised[o.Shard] = map[shard.Term]ledger.Owner{}
		}
		if had, ok := c.raised[o.Shard][o.Term]; ok && had != o.Owner {
			return fmt.Sprintf("shard %s: term %d was given to %v and to %v", o.Shard, o.Term, had, o.Owner)
		}
		c.raised[o.Shard][o.Term] = o.Owner
	}
	return ""
}

// grows says what of a row went back.
func grows(o RowWritten) string {
	before, after := &o.Before, &o.After
	switch {
	case after.Term < before.Term || after.Move < before.Move && after.Term.Generation() == before.Term.Generation():
		return fmt.Sprintf("shard %s: (term, move) went back from %d/%d to %d/%d", o.Shard, before.Term, before.Move, after.Term, after.Move)
	case after.Primary.Incarnation != 0 && after.Primary != before.Primary && after.PrimaryTerm <= before.PrimaryTerm:
		return fmt.Sprintf("shard %s: primary changed from %v at term %d to %v at %d", o.Shard, before.Primary, before.PrimaryTerm, after.Primary, after.PrimaryTerm)
	case before.Open != nil && before.Open.Phase == ledger.Aborting && after.Open != nil && after.Open.Move == before.Open.Move && after.Open.Phase == ledger.Moved:
		return fmt.Sprintf("shard %s: a leader moved forward after an abort", o.Shard)
	}
	return ""
}

// covers reports whether a durable row says what a command says.
func covers(r *ledger.Row, to ledger.Owner, c message.Command) bool {
	o, open := c.ID.Order, r.Open
	switch c.ID.Kind {
	case message.AddShard:
		if c.Role != shard.Secondary {
			return r.Primary == to && r.PrimaryTerm == o.Term
		}
		aborted := open != nil && open.To == to && open.Phase == ledger.Aborting && r.Move == o.Move
		return aborted || slices.ContainsFunc(r.Secondaries, func(s ledger.Secondary) bool { return s.Owner == to && s.Order == o })
	case message.UpdateMembership:
		primary := r.Primary == to && r.PrimaryTerm == o.Term
		target := open != nil && open.To == to && open.Term == o.Term && open.Phase == ledger.Opened
		return (primary || target) && r.MembersMove == o.Move
	case message.PrepareAddShard:
		return open != nil && open.To == to && open.Order() == o
	case message.PrepareDropShard:
		return open != nil && open.From == to && open.Order() == o
	case message.CancelMove:
		return open != nil && open.From == to && open.Term == o.Term && open.Phase == ledger.Aborting
	case message.DropShard:
		return o.Compare(shard.Order{Term: r.Term, Move: r.Move}) <= 0
	}
	return false
}
