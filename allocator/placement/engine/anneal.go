package engine

import "math"

// annealing explores in rounds: each begins hot at the best assignment so far and cools down. Rounds grow, until an agreed horizon.
type annealing struct {
	round       int
	stage       int   // left in the round
	stageSteps  int64 // proposals a stage
	left        int64 // of them
	temperature float64
	factor      float64 // of the temperature, from stage to stage
	rise        float64 // of the prices of excess, likewise
	loose       bool    // the round may exceed capacities that are not charged during a move, at a price
	price       []int64 // [Metrics]: of a unit over capacity, × 256; 0: may not be exceeded
	over        []int64 // [Servers + 1]: price of what is over capacity
}

const (
	stages  = 400  // a round
	shorter = 5    // than the horizon are rounds after it
	hot     = 10.0 // first temperature, in mean losses of a move
	cold    = 1e-3 // last temperature, of the first

	looseHot   = 0.7
	looseCold  = 1e-2
	firstPrice = 30.0 // of excess, in mean losses
	lastPrice  = 7.4  // times the first

	all         = 1 << 32
	shifts      = all / 2 // of the proposals; the others are swaps
	chains      = all / 10
	looseShifts = all / 5
	homeward    = all * 6 / 10 // of the shifts of replicas that are away from their start go back there
	looseHome   = all / 10
)

// explore makes up to n proposals, and answers how many.
func (s *Search) explore(n int64) int64 {
	a := &s.anneal
	if a.left == 0 {
		s.nextStage()
	}
	n = min(n, a.left)
	a.left -= n
	s.steps += n
	shift, home := uint64(shifts), uint64(homeward)
	if a.loose {
		shift, home = looseShifts, looseHome
	}
	for range n {
		switch x := s.random.Next(); {
		case x>>32 < shift:
			s.shift(x&(all-1) < home)
		case !a.loose && x>>32 < shift+chains:
			s.chain()
		default:
			s.swap()
		}
	}
	return n
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
	a.stage--
	a.temperature *= a.factor
	a.left = a.stageSteps
	if a.loose {
		for i := range a.price {
			a.price[i] = int64(float64(a.price[i]) * a.rise)
		}
		s.reprice()
	}
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
	loss := s.meanLoss()
	a.temperature, a.factor = hot*loss, math.Pow(cold, 1.0/stages)
	if a.loose = s.options.Loose && s.Costs[0] == 0; a.loose {
		s.Careful = true
		a.temperature, a.factor, a.rise = looseHot*loss, math.Pow(looseCold, 1.0/stages), math.Pow(lastPrice, 1.0/stages)
		s.setPrices(firstPrice * loss)
	}
	if a.round > 1 {
		a.temperature /= 10
	}
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
		s.UseWith(from, -1, r, s.UseA)
		s.UseWith(to, r, -1, s.UseB)
		if d := s.ShiftDelta(r, from, to, s.active); d > 0 {
			sum += float64(d)
			n++
		}
	}
	return max(1, sum) / max(1, n)
}
