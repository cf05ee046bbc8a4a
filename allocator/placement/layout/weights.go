package layout

import "slices"

// WithOwnWeights is a copy that shares all but the weights of goals of servers by themselves, so that a search can change those: [Model.DoubleSome].
func (m *Model) WithOwnWeights() *Model {
	c := *m
	c.Thresholds.List = slices.Clone(m.Thresholds.List)
	c.Ratios.List = slices.Clone(m.Ratios.List)
	c.Balances.List = slices.Clone(m.Balances.List)
	return &c
}

// DoubleSome gives the goals of a tier the weights that they have in another model, or twice that where pick says so, and all others those that they
// have there. Sums stay within 64 bits: a problem's costs are bounded to a quarter of that.
func (m *Model) DoubleSome(of *Model, tier int, pick func() bool) {
	twice := func(weight int64) int64 {
		if pick() {
			return 2 * weight
		}
		return weight
	}
	copy(m.Thresholds.List, of.Thresholds.List)
	copy(m.Ratios.List, of.Ratios.List)
	copy(m.Balances.List, of.Balances.List)
	thresholds, ratios, balances := m.Thresholds.Of(tier), m.Ratios.Of(tier), m.Balances.Of(tier)
	for i := range thresholds {
		thresholds[i].Weight = twice(thresholds[i].Weight)
	}
	for i := range ratios {
		ratios[i].Weight = twice(ratios[i].Weight)
	}
	for i := range balances {
		balances[i].Weight = twice(balances[i].Weight)
	}
}
