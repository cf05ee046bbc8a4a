package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// renew answers a renewal: a whole lease, or nothing, which is no fence (PROTOCOL R31). The asker counts from before it asked, so a
// lease of V granted now is over when CoverDrift(V) has passed from now (PROTOCOL R6, R8).
func (l *Ledger) renew(ev Renew) {
	f := l.welcomed(ev.Stream)
	if f == nil {
		l.send(ev.Stream, message.Grant{Sequence: ev.Sequence})
		return
	}
	f.heard, f.renewed, f.hung, f.loose = l.now, true, ev.ApplicationSilent >= l.s.Interval*3/2, ev.ServeOn
	if f.hung { // an agent speaks for an application that serves: what counts is when that was heard of
		f.heard = l.now.Add(-ev.ApplicationSilent)
	} else if f.suspicion.suspect {
		l.unsuspect(f)
		l.trace(Decision{What: "suspicion withdrawn", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: "it renewed"})
		l.membershipChanged(f.app)
	}
	l.takeLoads(f, ev.Loads)
	f.transfers = ev.Transfers
	if f.alive() && !l.behind && f.clock.LostTime(l.now, ev.AskedNS, l.s) {
		l.fence(f, "its machine lost time: its clocks stood still (PROTOCOL R8)")
	}
	grant := message.Grant{Sequence: ev.Sequence}
	if l.mayGrant(f) {
		f.granted = l.now
		grant.Remaining, grant.ServeOn = max(l.s.Validity, f.restEnd.Remaining(l.now)), l.mayServeOn(f.app)
		f.loose = f.loose || grant.ServeOn
	}
	l.send(ev.Stream, grant)
}

// mayGrant is the guard of every lease: the incarnation was read in its key and welcomed, is not fenced, and the lock is proven.
func (l *Ledger) mayGrant(f *life) bool { return f.attached() && f.alive() && l.provesLock() }

// takeLoads notes measured loads. What places are found by is that of primaries.
func (l *Ledger) takeLoads(f *life, loads []ShardLoad) {
	a := l.apps[f.app]
	if a == nil || len(loads) == 0 {
		return
	}
	for _, m := range loads {
		at, ok := a.find(m.Shard)
		if ok && a.spec.Replication.Secondaries() {
			a.scaler.Measured(at, f.Owner, m.Load)
		}
		if ok && a.rows[at].Primary == f.Owner {
			a.loads.Measured(at, m.Load)
		}
	}
	a.plan.Measured(l.now)
}

// restRequested asks the store first: the longest lease that may be out is durable before it is granted (PROTOCOL R19).
func (l *Ledger) restRequested(ev RestRequested) {
	f := l.welcomed(ev.Stream)
	if f == nil || !l.mayGrant(f) || ev.Length <= 0 {
		l.send(ev.Stream, message.RestGranted{Sequence: ev.Sequence})
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
		l.send(w.stream, message.RestGranted{Sequence: w.sequence})
		return
	}
	f.granted, f.heard, f.resting = l.now, l.now, true
	f.restEnd = shard.LaterOf(f.restEnd, l.now.Add(w.length))
	l.trace(Decision{What: "rest granted", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: "planned restart, " + w.length.String()})
	l.send(w.stream, message.RestGranted{Sequence: w.sequence, Remaining: w.length})
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
	end := shard.LaterOf(shard.LaterOf(fenced, f.granted), l.base).Add(l.s.AfterFence())
	return shard.LaterOf(end, f.rest)
}
