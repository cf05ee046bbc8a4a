package engine

import (
	"cmp"
	"math"

	"github.com/shardmanager/shardmanager/allocator/placement/layout"
)

// annealing explores in rounds: each begins hot at the best assignment so far and cools down. Rounds grow, until an agreed horizon. Every second one
// begins with changed weights.
type annealing struct {
	round       int
	stage       int   // left in the round
	stageSteps  int64 // proposals a stage
	left        int64 // of them
	temperature float64
	factor      float64 // of the temperature, from stage to stage
}

const (
	stages  = 400  // a round
	swayed  = 300  // what is left of every second round when weights are the problem's own again
	frost   = 40   // the last of them, in which it becomes so cold that no loss is accepted
	shorter = 5    // than the horizon are rounds after it
	hot     = 3.0  // first temperature, in mean losses of a move
	cold    = 3e-3 // temperature when the frost begins, likewise
	cooler  = 10   // than the first round begin the others

	all       = 1 << 32
	shifts    = all / 2 // of the proposals; the others are swaps
	chains    = all / 10
	displaced = all / 32
	rebuilt   = all / 1024
	homeward  = all * 6 / 10 // of the shifts of replicas that are away from their start go back there
)

// explore makes proposals that are worth n, or a little more, within a stage.
func (s *Search) explore(n int64) {
	a := &s.anneal
	if a.left <= 0 {
		s.nextStage()
	}
	n = min(n, a.left)
	for n > 0 {
		worth := int64(1)
		switch x := s.random.Next(); {
		case x>>32 < shifts:
			s.shift(x&(all-1) < homeward)
		case x>>32 < shifts+chains:
			s.chain()
		case x>>32 < shifts+chains+displaced:
			s.displace()
		case x>>32 < shifts+chains+displaced+rebuilt:
			worth = s.rebuild()
		default:
			s.swap()
		}
		n, a.left, s.steps = n-worth, a.left-worth, s.steps+worth
	}
}

// tolerance is a loss that is accepted now: exponentially distributed with the temperature as mean (Metropolis' rule).
func (s *Search) tolerance() int64 {
	return int64(s.anneal.temperature * negLog[s.random.Next()>>52])
}

var negLog = func() (t [4096]float64) {
	for i := range t {
		t[i] = -math.Log((float64(i) + 0.5) / 4096)
	}
	return
}()

func (s *Search) nextStage() {
	a := &s.anneal
	if a.stage == 0 {
		s.nextRound()
	}
	if a.stage == frost && a.temperature > 1 {
		a.factor = math.Pow(1/a.temperature, 1.0/frost)
	}
	if a.stage == swayed && s.M != s.weights {
		s.Weigh(s.weights)
		s.note()
	}
	a.stage--
	a.temperature *= a.factor
	a.left = a.stageSteps
}

func (s *Search) nextRound() {
	a := &s.anneal
	s.restore()
	switch {
	case a.round > 0 && s.options.Horizon > 0: // what is left over is for short ones
		a.stageSteps = max(1, s.options.Horizon/stages/shorter)
	case a.round > 0:
		a.stageSteps *= 2
	case s.options.Horizon > 0:
		a.stageSteps = max(1, s.options.Horizon/stages)
	default:
		a.stageSteps = 2_500
	}
	a.round++
	a.stage = stages
	s.active = s.nextTier()
	first := cmp.Or(s.options.Hot, hot)
	if a.round > 1 {
		first /= cooler
	}
	loss := s.meanLoss()
	a.temperature, a.factor = first*loss, math.Pow(cold/first, 1.0/(stages-frost))
	if a.round%2 == 0 {
		s.sway()
	}
}

// sway doubles the weights of some goals for the first stages of a round, drawn at random: where one goal stands in the way of all others, no
// temperature that those survive gets past it (Charon, Hudry, "The Noising Method", 1993, which puts noise on the data).
func (s *Search) sway() {
	s.changing.DoubleSome(s.weights, s.active, func() bool { return s.random.Next()&1 == 0 })
	s.Weigh(s.changing)
}

// nextTier is the tier that the round improves: in turn, of those that cost something.
func (s *Search) nextTier() int {
	for i := range s.M.Tiers - 1 {
		if tier := 1 + (s.active+i)%(s.M.Tiers-1); s.Costs[tier] > 0 {
			return tier
		}
	}
	return 1
}

// meanLoss samples what a shift that makes the active tier worse costs there.
func (s *Search) meanLoss() float64 {
	sum, n := 0.0, 0.0
	for range 20_000 {
		r := int32(s.random.Below(s.M.Replicas))
		to := int32(s.random.Below(s.M.Servers))
		from := s.Place[r]
		if to == from || !s.Fits(r, to) {
			continue
		}
		if d := s.ShiftDelta(r, from, to, s.active, layout.Much); d > 0 {
			sum += float64(d)
			n++
		}
	}
	return max(1, sum) / max(1, n)
}
