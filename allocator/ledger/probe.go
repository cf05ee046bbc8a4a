package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/message"
)

func placeOf(s *server) evidence.Place {
	return evidence.Place{Region: s.info.Locality.Region, Zone: s.info.Locality.Zone}
}

// healthy reports whether a life's own stream is beyond doubt: only then its probes count (PROTOCOL R15).
func (l *Ledger) healthy(f *life) bool {
	return f.attached() && f.alive() && !f.suspicion.suspect && !l.silent(f, l.s.Interval*3/2)
}

// probe keeps a round of probes going against a suspect.
func (l *Ledger) probe(f *life) {
	s := &f.suspicion
	if r := s.asking; r != nil {
		if r.Due(l.now, l.s.ProbeTimeout, answerSlack, l.healthy) {
			l.conclude(r)
		}
		return
	}
	if !s.asked.IsZero() && !l.after(s.asked, l.s.Interval) {
		return
	}
	s.asked = l.now
	if f.server.info.ID == "" { // its key was gone when this leader loaded: nobody knows where to ask, and what fails there proves nothing
		s.verdict = evidence.NobodyAsks
		return
	}
	round, asks := l.probes.Begin(l.now, f, placeOf(f.server), l.probers(f))
	if round == nil {
		s.verdict = evidence.NobodyAsks
		return
	}
	s.asking = round
	for _, a := range asks {
		l.send(a.Who.stream, message.Probe{ID: a.ID, Target: f.server.info, Timeout: l.s.ProbeTimeout})
	}
}

// probers lists who may probe a suspect: one server of each other agent.
func (l *Ledger) probers(f *life) []evidence.Candidate[*life] {
	agents := map[string]struct{}{f.server.info.Agent: {}}
	var found []evidence.Candidate[*life]
	for _, id := range l.order {
		s := l.servers[id]
		p := s.present()
		if p == nil || p == f || !l.healthy(p) {
			continue
		}
		if _, ok := agents[s.info.Agent]; !ok {
			agents[s.info.Agent] = struct{}{}
			found = append(found, evidence.Candidate[*life]{Who: p, Place: placeOf(s), Fresh: l.heardLately(p)})
		}
	}
	return found
}

// probeAnswer takes an answer. What follows from a verdict is decided by the next tick, when all losses are weighed together.
func (l *Ledger) probeAnswer(ev ProbeAnswer) {
	p := l.welcomed(ev.Stream)
	if p == nil {
		return
	}
	if r := l.probes.Answer(ev.ID, p, ev.Agent, ev.Application); r != nil && !r.Waiting(l.healthy) {
		l.conclude(r)
	}
}

// conclude reads the answers of a round.
func (l *Ledger) conclude(r *evidence.Round[*life]) {
	l.probes.Forget(r)
	f := r.Target()
	s := &f.suspicion
	if s.asking != r {
		return
	}
	s.asking = nil
	before := s.verdict
	s.verdict = r.Verdict(l.healthy)
	if s.verdict != before {
		l.trace(Decision{What: "probed", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: s.verdict.String()})
	}
}
