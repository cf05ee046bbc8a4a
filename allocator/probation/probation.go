package probation

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// checkpointEvery is how often the rows of probations that run are stored anew: a new leader counts on from there, because clocks of two
// machines are never compared.
const checkpointEvery = time.Minute

// Probation is what is durable about a server that was fenced of late (PROTOCOL R30). Times are what was left when it was written.
type Probation struct {
	Fences int           // since it was last well for a whole window
	Window time.Duration // in which another fence counts
	Length time.Duration // of the newest probation; 0: there was none yet
	Left   time.Duration // of it; 0: it is over
	Reason string        // of the last fence
}

// Terms are the times of probations.
type Terms struct {
	Window      time.Duration // a second fence within it begins a probation; default 10 min
	First, Most time.Duration // length of the first probation, doubled each time up to Most; default 1 and 30 min
}

// Probations are those of all servers. The zero Probations has none.
type Probations struct{ rows map[shard.ServerID]*probation }

type probation struct {
	row    Probation
	at     shard.Instant // when the row's times were as it says
	stored shard.Instant
}

// Load takes over a row that an earlier leader stored.
func (p *Probations) Load(now shard.Instant, id shard.ServerID, row Probation) {
	p.entry(id).row = row
	p.rows[id].at, p.rows[id].stored = now, now
}

func (p *Probations) entry(id shard.ServerID) *probation {
	if p.rows == nil {
		p.rows = map[shard.ServerID]*probation{}
	}
	if p.rows[id] == nil {
		p.rows[id] = &probation{}
	}
	return p.rows[id]
}

// fenced counts a fence: the second within the window begins a probation, each further one a longer one. The window of a probation opens when it
// is over.
func (p *Probations) fenced(now shard.Instant, id shard.ServerID, reason string, t Terms) {
	e := p.entry(id)
	e.pass(now)
	r := &e.row
	r.Fences++
	r.Reason = reason
	if r.Fences > 1 {
		r.Length = min(max(t.First, 2*r.Length), t.Most)
		r.Left = r.Length
	}
	r.Window = r.Left + t.Window
}

// pass lets the time since then pass.
func (e *probation) pass(now shard.Instant) {
	age := max(0, e.at.WaitAge(now))
	e.at = now
	e.row.Window, e.row.Left = max(0, e.row.Window-age), max(0, e.row.Left-age)
}

// row is what is to be stored of a server now.
func (p *Probations) row(now shard.Instant, id shard.ServerID) Row {
	e := p.rows[id]
	if e == nil {
		return RemoveProbation{id}
	}
	e.pass(now)
	e.stored = now
	return PutProbation{id, e.row}
}

// On is how much is left of a server's probation, and why it is on it; 0: it is not.
func (p *Probations) On(now shard.Instant, id shard.ServerID) (left time.Duration, reason string) {
	e := p.rows[id]
	if e == nil {
		return 0, ""
	}
	return max(0, e.row.Left-max(0, e.at.WaitAge(now))), e.row.Reason
}

// due lists servers whose row is to be stored anew, and, forgotten now, those whose time is over.
func (p *Probations) due(now shard.Instant) []shard.ServerID {
	var list []shard.ServerID
	for _, id := range shard.SortedKeys(p.rows) {
		e := p.rows[id]
		age := e.at.WaitAge(now)
		switch {
		case age >= e.row.Window && age >= e.row.Left:
			delete(p.rows, id)
			list = append(list, id)
		case e.stored.WaitAge(now) >= checkpointEvery:
			e.stored = now
			list = append(list, id)
		}
	}
	return list
}
