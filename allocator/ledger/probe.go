package ledger

import (
	"cmp"
	"slices"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// round is one round of probes of one server, by agents whose own streams are healthy, in different zones where there are such.
type round struct {
	target *life
	ids    []uint64
	asked  []prober
	agents int // answers that make a verdict: from so many agents
	zones  int // in so many zones
	began  shard.Instant
}

type prober struct {
	life     *life
	zone     zone
	answered bool
	agent    Outcome
	app      Outcome
}

type zone struct{ region, zone string }

func zoneOf(s *server) zone { return zone{s.info.Locality.Region, s.info.Locality.Zone} }

// healthy reports whether a life's own stream is beyond doubt: only then its probes count (PROTOCOL R15).
func (l *Ledger) healthy(f *life) bool {
	return f.attached() && f.alive() && !f.suspicion.suspect && !l.silent(f, l.s.Interval*3/2)
}

// probe keeps a round of probes going against a suspect.
func (l *Ledger) probe(f *life) {
	s := &f.suspicion
	if r := s.asking; r != nil {
		if l.after(r.began, l.s.ProbeTimeout+answerSlack) {
			l.conclude(r)
		}
		return
	}
	if !s.asked.IsZero() && !l.after(s.asked, l.s.Interval) {
		return
	}
	s.asked = l.now
	probers, zones := l.probers(f)
	if len(probers) == 0 {
		s.verdict = nobodyAsks
		return
	}
	r := &round{target: f, asked: probers, began: l.now, agents: min(2, len(probers)), zones: min(2, zones)}
	s.asking = r
	for i := range probers {
		l.nextProbe++
		l.probes[l.nextProbe] = r
		r.ids = append(r.ids, l.nextProbe)
		l.send(probers[i].life.stream, Probe{ID: l.nextProbe, Target: f.server.info, Timeout: l.s.ProbeTimeout})
	}
}

// probers picks at most probersMost servers of different agents: first one of each zone, other zones than the target's before its own.
func (l *Ledger) probers(f *life) ([]prober, int) {
	own := zoneOf(f.server)
	agents := map[string]struct{}{f.server.info.Agent: {}}
	zones := map[zone]int{} // how many of it came before
	var found []prober
	rank := map[*life]int{}
	for _, id := range l.order {
		s := l.servers[id]
		p := s.present()
		if p == nil || p == f || !l.healthy(p) {
			continue
		}
		if _, ok := agents[s.info.Agent]; ok {
			continue
		}
		agents[s.info.Agent] = struct{}{}
		z := zoneOf(s)
		rank[p] = 2 * zones[z]
		if z == own {
			rank[p]++
		}
		zones[z]++
		found = append(found, prober{life: p, zone: z})
	}
	slices.SortStableFunc(found, func(a, b prober) int { return cmp.Compare(rank[a.life], rank[b.life]) })
	return found[:min(len(found), probersMost)], len(zones)
}

func (l *Ledger) probeAnswer(ev ProbeAnswer) {
	r := l.probes[ev.ID]
	p := l.welcomed(ev.Stream)
	if r == nil || p == nil {
		return
	}
	waiting := false
	for i, id := range r.ids {
		if id == ev.ID && r.asked[i].life == p && ev.Agent != 0 && ev.Application != 0 {
			r.asked[i].answered, r.asked[i].agent, r.asked[i].app = true, ev.Agent, ev.Application
		}
		waiting = waiting || !r.asked[i].answered
	}
	if !waiting {
		l.conclude(r)
		if f := r.target; f.alive() {
			l.examine(f)
		}
	}
}

// conclude reads the answers of a round. A probe that was not answered says nothing (PROTOCOL R15).
func (l *Ledger) conclude(r *round) {
	for _, id := range r.ids {
		delete(l.probes, id)
	}
	s := &r.target.suspicion
	if s.asking != r {
		return
	}
	s.asking = nil
	before := s.verdict
	agents, zones := 0, map[zone]struct{}{}
	agent, app := false, false
	for _, p := range r.asked {
		if !p.answered || !l.healthy(p.life) {
			continue
		}
		agents++
		zones[p.zone] = struct{}{}
		agent = agent || p.agent == Answered
		app = app || p.app == Answered
	}
	switch {
	case agent:
		s.verdict = partitioned
	case app:
		s.verdict = agentDown
	case agents >= r.agents && len(zones) >= r.zones:
		s.verdict = unreachable
	default:
		s.verdict = inconclusive
	}
	if s.verdict == before {
		return
	}
	l.trace(Decision{What: "probed", App: r.target.app, Server: r.target.Server, Incarnation: r.target.Incarnation, Why: s.verdict.String()})
}
