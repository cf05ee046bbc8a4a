package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// renew answers a renewal: a whole lease, or nothing, which is no fence (PROTOCOL R31). The asker counts from before it asked, so a
// lease of V granted now is over when CoverDrift(V) has passed from now (PROTOCOL R6, R8).
func (l *Ledger) renew(ev Renew) {
	f := l.welcomed(ev.Stream)
	if f == nil {
		l.send(ev.Stream, Grant{Sequence: ev.Sequence})
		return
	}
	f.heard, f.renewed = l.now, true
	if f.suspicion.suspect {
		l.unsuspect(f)
		l.trace(Decision{What: "suspicion withdrawn", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: "it renewed"})
		l.membershipChanged(f.app)
	}
	l.takeLoads(f, ev.Loads)
	if f.alive() && f.clock.lostTime(l.now, ev.AskedNS, l.s) {
		l.fence(f, "its machine lost time: its clocks stood still (PROTOCOL R8)")
	}
	remaining := time.Duration(0)
	if l.mayGrant(f) {
		f.granted = l.now
		remaining = max(l.s.Validity, f.restEnd.Remaining(l.now))
	}
	l.send(ev.Stream, Grant{Sequence: ev.Sequence, Remaining: remaining})
}

// mayGrant is the guard of every lease: the incarnation was read in its key and welcomed, is not fenced, and the lock is proven.
func (l *Ledger) mayGrant(f *life) bool { return f.attached() && f.alive() && l.provesLock() }

// takeLoads notes measured loads, for shards that the server is primary of.
func (l *Ledger) takeLoads(f *life, loads []ShardLoad) {
	a := l.apps[f.app]
	if a == nil || len(loads) == 0 {
		return
	}
	for _, m := range loads {
		if at, ok := a.spec.Space.Index(m.Shard); ok && a.rows[at].Primary == f.Owner {
			a.setLoad(at, m.Load)
		}
	}
	a.want(l.now, solvePause)
}

// restRequested asks the store first: the longest lease that may be out is durable before it is granted (PROTOCOL R19).
func (l *Ledger) restRequested(ev RestRequested) {
	f := l.welcomed(ev.Stream)
	if f == nil || !l.mayGrant(f) || ev.Length <= 0 {
		l.send(ev.Stream, RestGranted{Sequence: ev.Sequence})
		return
	}
	length := min(ev.Length, restMost)
	l.pen.rests = append(l.pen.rests, restWish{life: f, stream: ev.Stream, sequence: ev.Sequence, length: length,
		record: max(length, f.restLength)})
	l.pen.hurry = true
}

// restStored grants a rest whose record is durable.
func (l *Ledger) restStored(w restWish) {
	f := w.life
	f.restRemoved = false
	if w.remove {
		f.restLength = 0
		return
	}
	f.restLength = w.record
	f.rest = shard.LaterOf(f.rest, l.now.Add(shard.CoverDrift(w.length)))
	if f.stream != w.stream || !l.mayGrant(f) {
		l.send(w.stream, RestGranted{Sequence: w.sequence})
		return
	}
	f.granted, f.heard, f.resting = l.now, l.now, true
	f.restEnd = shard.LaterOf(f.restEnd, l.now.Add(w.length))
	l.trace(Decision{What: "rest granted", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: "planned restart, " + w.length.String()})
	l.send(w.stream, RestGranted{Sequence: w.sequence, Remaining: w.length})
	l.membershipChanged(f.app)
}

// tickRest ends a rest whose time is over, and its record.
func (l *Ledger) tickRest(f *life) {
	if f.restLength == 0 || f.restRemoved || !(f.over || f.rest.Passed(l.now)) {
		return
	}
	f.restRemoved, f.resting = true, false
	l.pen.rests = append(l.pen.rests, restWish{life: f, remove: true})
}

// leasesEnd is when every lease of an incarnation is over that was fenced durably at `fenced`: the store vouches no more since then,
// no earlier leader since base, we since the last grant (DESIGN §5, PROTOCOL R1, R19).
func (l *Ledger) leasesEnd(f *life, fenced shard.Instant) shard.Instant {
	end := shard.LaterOf(shard.LaterOf(fenced, f.granted), l.base).Add(l.s.fenceWait())
	return shard.LaterOf(end, f.rest)
}

// clockCheck finds machines that lost time (PROTOCOL R8): it compares how far our clocks and the agent's have come between renewals of one
// stream. A renewal that travels long, or waits long in a starved process, looks the same: so all of several renewals, over V at least, must
// show it.
type clockCheck struct {
	started bool
	best    shard.Instant // smallest (our clock − theirs) seen, per clock
	at      shard.Instant // when it was seen, per clock
	jumps   int
	since   shard.Instant // when the first of them was seen
	counted shard.Instant
}

func (c *clockCheck) lostTime(now shard.Instant, asked int64, s Settings) bool {
	offset := shard.Instant{Boot: now.Boot - asked, Raw: now.Raw - asked}
	if !c.started {
		*c = clockCheck{started: true, best: offset, at: now}
	}
	if offset.Boot <= c.best.Boot {
		c.best.Boot, c.at.Boot = offset.Boot, now.Boot
	}
	if offset.Raw <= c.best.Raw {
		c.best.Raw, c.at.Raw = offset.Raw, now.Raw
	}
	jumped := exceeds(offset.Boot-c.best.Boot, now.Boot-c.at.Boot) && exceeds(offset.Raw-c.best.Raw, now.Raw-c.at.Raw)
	switch {
	case !jumped:
		c.jumps = 0
		if c.at.WaitAge(now) > jumpWindow {
			c.best, c.at = offset, now
		}
	case c.jumps == 0:
		c.jumps, c.since, c.counted = 1, now, now
	case c.counted.WaitAge(now) >= s.Interval/2:
		c.jumps++
		c.counted = now
	}
	return c.jumps >= jumpsMost && c.since.WaitAge(now) >= s.Validity
}

// exceeds reports whether more was lost than two clocks that both drift can lose, as far as waits cover that, and than a slow answer can
// pretend.
func exceeds(lost, elapsed int64) bool {
	return lost > int64(shard.CoverDrift(time.Duration(elapsed))+jumpTolerance)-elapsed
}
