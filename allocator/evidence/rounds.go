package evidence

import (
	"cmp"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// probersMost is how many servers are asked in one round of probes.
const probersMost = 4

// Candidate is a server that may probe: its own stream is beyond doubt (PROTOCOL R15).
type Candidate[K comparable] struct {
	Who   K
	Place Place
	Fresh bool // heard of just now: it did not fall silent together with the suspect
}

// Ask is one probe to be sent.
type Ask[K comparable] struct {
	ID  uint64
	Who K
}

// Rounds are the probes under way, of all suspects. K names servers. The zero Rounds has none.
type Rounds[K comparable] struct {
	last uint64
	byID map[uint64]*Round[K]
}

// Round is one round of probes of one server, by different agents, in different zones where there are such.
type Round[K comparable] struct {
	target K
	asked  []prober[K]
	agents int // answers that make a verdict: from so many agents
	zones  int // in so many zones
	began  shard.Instant
}

type prober[K comparable] struct {
	id       uint64
	who      K
	answered bool
	said     Testimony
}

// Begin starts a round against a target, by at most probersMost of the candidates: first one of each zone, other zones than the target's before
// its own, fresh ones before others. Without candidates there is none.
func (r *Rounds[K]) Begin(now shard.Instant, target K, own Place, candidates []Candidate[K]) (*Round[K], []Ask[K]) {
	if len(candidates) == 0 {
		return nil, nil
	}
	places := map[Place]int{} // how many of it came before
	rank := map[K]int{}
	for _, c := range candidates {
		rank[c.Who] = 4 * places[c.Place]
		if c.Place == own {
			rank[c.Who] += 2
		}
		if !c.Fresh {
			rank[c.Who]++
		}
		places[c.Place]++
	}
	slices.SortStableFunc(candidates, func(a, b Candidate[K]) int { return cmp.Compare(rank[a.Who], rank[b.Who]) })
	candidates = candidates[:min(len(candidates), probersMost)]
	round := &Round[K]{target: target, began: now, agents: min(2, len(candidates)), zones: min(2, len(places))}
	asks := make([]Ask[K], len(candidates))
	if r.byID == nil {
		r.byID = map[uint64]*Round[K]{}
	}
	for i, c := range candidates {
		r.last++
		r.byID[r.last] = round
		asks[i] = Ask[K]{r.last, c.Who}
		round.asked = append(round.asked, prober[K]{id: r.last, who: c.Who, said: Testimony{Place: c.Place}})
	}
	return round, asks
}

// Answer takes an answer to a probe, from whoever was asked; nil if it belongs to no round.
func (r *Rounds[K]) Answer(id uint64, from K, agent, application Outcome) *Round[K] {
	round := r.byID[id]
	if round == nil || agent == 0 || application == 0 {
		return nil
	}
	for i := range round.asked {
		if p := &round.asked[i]; p.id == id && p.who == from {
			p.answered, p.said.Agent, p.said.Application = true, agent, application
			return round
		}
	}
	return nil
}

// Target is the server that a round is about.
func (r *Round[K]) Target() K { return r.target }

// Waiting reports whether a round may still learn something. A prober that fell silent itself is not waited for.
func (r *Round[K]) Waiting(healthy func(K) bool) bool {
	return slices.ContainsFunc(r.asked, func(p prober[K]) bool { return !p.answered && healthy(p.who) })
}

// Due reports whether a round is over: by its time, or because all that is missing are probers that fell silent.
func (r *Round[K]) Due(now shard.Instant, timeout, slack time.Duration, healthy func(K) bool) bool {
	age := r.began.WaitAge(now)
	return age >= timeout+slack || age >= timeout && !r.Waiting(healthy)
}

// Forget ends a round; later answers to it mean nothing.
func (r *Rounds[K]) Forget(round *Round[K]) {
	if round == nil {
		return
	}
	for _, p := range round.asked {
		delete(r.byID, p.id)
	}
}

// Clear forgets all rounds; numbers are not used again.
func (r *Rounds[K]) Clear() { clear(r.byID) }

// Verdict reads the answers of a round. A probe that was not answered says nothing, nor does one of an agent that fell silent (PROTOCOL R15).
func (r *Round[K]) Verdict(healthy func(K) bool) Verdict {
	var heard []Testimony
	for _, p := range r.asked {
		if p.answered && healthy(p.who) {
			heard = append(heard, p.said)
		}
	}
	return weigh(heard, r.agents, r.zones)
}
