// Package maintenance keeps the approvals of planned events on servers (PROTOCOL R29). It is pure: values in, rows to be stored out.
//
// Called by allocator/ledger, which makes an approval durable before it is answered, and counts the replicas of those that it covers as
// down. It decides on no request and knows of no shard.
package maintenance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// checkpointEvery is how often the row of an approval is stored anew: a new leader counts on from there, because clocks of two machines are
// never compared. Until it is over an approval lasts that much longer, at most, for every change of leaders.
const checkpointEvery = time.Minute

// Covered is one incarnation of a server. The next one has come back from the event.
type Covered struct {
	Server      shard.ServerID
	Incarnation shard.Incarnation
}

// Approval lets servers be taken down, until it is done or has expired.
type Approval struct {
	ID     string
	Covers []Covered
	Left   time.Duration // until it expires, as of when it was written
	Reason string        // for people
}

// LongestApproval is the most that an approval may last.
const LongestApproval = 7 * 24 * time.Hour

// Check says which field of a new approval is wrong, and what was expected; empty: none.
func (a Approval) Check() (field, expected string) {
	switch {
	case !shard.ValidName(a.ID):
		return "id", fmt.Sprintf("%s, not %q", shard.NameRule, a.ID)
	case a.Left <= 0 || a.Left > LongestApproval:
		return "for", fmt.Sprintf("above 0 and at most %s, not %s", LongestApproval, a.Left)
	case len(a.Covers) == 0:
		return "servers", "at least one"
	}
	return "", ""
}

// String says for people what is approved.
func (a Approval) String() string {
	names := make([]string, len(a.Covers))
	for i, c := range a.Covers {
		names[i] = string(c.Server)
	}
	return fmt.Sprintf("%s (%s): %s", a.ID, a.Reason, strings.Join(names, ", "))
}

// Row is an approval to be stored, or one to be deleted, whose Left is 0.
type Row struct{ Approval }

// Approvals are those of a group. The zero Approvals has none.
type Approvals struct {
	all  map[string]*approval
	rows []string // ids whose rows are to be stored or deleted
}

type approval struct {
	Approval               // Left is as of at
	at       shard.Instant // when it became durable, or was loaded
	stored   shard.Instant
}

// Put takes over an approval that is durable.
func (a *Approvals) Put(now shard.Instant, what Approval) {
	if a.all == nil {
		a.all = map[string]*approval{}
	}
	a.all[what.ID] = &approval{what, now, now}
}

// Remove takes an approval back.
func (a *Approvals) Remove(id string) { delete(a.all, id) }

// Has reports whether there is an approval of this id.
func (a *Approvals) Has(id string) bool { return a.all[id] != nil }

// left is what is left of an approval; 0: it has expired.
func (e *approval) left(now shard.Instant) time.Duration {
	return max(0, e.Left-max(0, e.at.WaitAge(now)))
}

// Covering is the id of an approval that covers an incarnation now; the first by id, if there are several. Empty: none.
func (a *Approvals) Covering(now shard.Instant, who Covered) string {
	id := ""
	for _, e := range a.all {
		if (id == "" || e.ID < id) && e.left(now) > 0 && slices.Contains(e.Covers, who) {
			id = e.ID
		}
	}
	return id
}

// Tick forgets what has expired, and returns it; its rows are to be deleted. Rows of the rest are to be stored anew from time to time.
func (a *Approvals) Tick(now shard.Instant) (expired []Approval) {
	for _, id := range shard.SortedKeys(a.all) {
		e := a.all[id]
		switch {
		case e.left(now) == 0:
			delete(a.all, id)
			expired = append(expired, e.Approval)
			a.rows = append(a.rows, id)
		case e.stored.WaitAge(now) >= checkpointEvery:
			e.stored = now
			a.rows = append(a.rows, id)
		}
	}
	return expired
}

// Waiting reports whether rows wait to be stored.
func (a *Approvals) Waiting() bool { return len(a.rows) > 0 }

// Take hands out at most n rows, as things stand now. Return takes back what could not be stored.
func (a *Approvals) Take(now shard.Instant, n int) []Row {
	n = min(n, len(a.rows))
	rows := make([]Row, n)
	for i, id := range a.rows[:n] {
		rows[i] = Row{Approval{ID: id}}
		if e := a.all[id]; e != nil {
			rows[i].Approval = e.Approval
			rows[i].Left = e.left(now)
		}
	}
	a.rows = a.rows[n:]
	return rows
}

// Return puts rows before all others again.
func (a *Approvals) Return(rows []Row) {
	ids := make([]string, len(rows), len(rows)+len(a.rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	a.rows = append(ids, a.rows...)
}
