package problem

import (
	"errors"
	"fmt"
	"math"
)

// What Validate finds; every error wraps one of them.
var (
	ErrEmpty         = errors.New("empty")          // no server or no metric
	ErrShape         = errors.New("wrong length")   // a slice does not match the sizes
	ErrIndex         = errors.New("unknown index")  // outside what it points into
	ErrNegative      = errors.New("negative")       // an amount, weight or label
	ErrOverflow      = errors.New("overflow")       // sums could leave 64 bits
	ErrDuplicate     = errors.New("duplicate")      // the same constraint twice
	ErrContradiction = errors.New("contradiction")  // constraints that cannot hold together
	ErrLimit         = errors.New("over the limit") // too large for the engine
)

const (
	maxAmount = math.MaxInt64 / 4 // of any sum that the search keeps

	maxSize = 1 << 28 // servers, replicas, groups, and servers × metrics
)

// Validate says by name what is wrong with a problem: the first thing found, with its index.
func (p *Problem) Validate() error {
	for _, check := range []func() error{p.checkSizes, p.checkAmounts, p.checkPlaces, p.checkConstraints, p.checkCaps, p.checkGoals, p.checkAffinities, p.checkMovement, p.checkSums} {
		if err := check(); err != nil {
			return fmt.Errorf("problem: %w", err)
		}
	}
	return nil
}

func (p *Problem) checkSizes() error {
	if p.Servers <= 0 || p.Metrics <= 0 {
		return fmt.Errorf("%d servers with %d metrics: %w", p.Servers, p.Metrics, ErrEmpty)
	}
	if p.Replicas < 0 || p.Groups < 0 {
		return fmt.Errorf("%d replicas in %d groups: %w", p.Replicas, p.Groups, ErrNegative)
	}
	if p.Tiers < 1 || p.Tiers > MaxTiers {
		return fmt.Errorf("%d tiers, of 1 to %d: %w", p.Tiers, MaxTiers, ErrLimit)
	}
	for _, n := range []int{p.Servers, p.Metrics, p.Replicas, p.Groups} {
		if n > maxSize {
			return fmt.Errorf("%d of a kind, at most %d: %w", n, maxSize, ErrLimit)
		}
	}
	if p.Servers > maxSize/p.Metrics {
		return fmt.Errorf("%d servers with %d metrics: %w", p.Servers, p.Metrics, ErrLimit)
	}
	for _, s := range []struct {
		name       string
		have, want int
	}{
		{"capacity", len(p.Capacity), p.Servers * p.Metrics}, {"during", len(p.During), p.Metrics},
		{"load", len(p.Load), p.Replicas * p.Metrics}, {"group", len(p.Group), p.Replicas},
		{"start", len(p.Start), p.Replicas}, {"exclusive", len(p.Exclusive), p.Groups},
	} {
		if s.have != s.want {
			return fmt.Errorf("%s: %d values, not %d: %w", s.name, s.have, s.want, ErrShape)
		}
	}
	for _, s := range []struct {
		name       string
		have, want int
	}{{"first", len(p.First), p.Replicas}, {"pinned", len(p.Pinned), p.Replicas}, {"class", len(p.Class), p.Replicas}, {"costs of opening", len(p.Opening.Cost), p.Servers}} {
		if s.have != 0 && s.have != s.want {
			return fmt.Errorf("%s: %d values, not %d: %w", s.name, s.have, s.want, ErrShape)
		}
	}
	for c, bits := range p.Eligible {
		if bits != nil && len(bits)*64 < p.Servers {
			return fmt.Errorf("eligible servers of class %d: %d words, for %d servers: %w", c, len(bits), p.Servers, ErrShape)
		}
	}
	for l, d := range p.Domains {
		if len(d) != p.Servers {
			return fmt.Errorf("domains of level %d: %d values, not %d: %w", l, len(d), p.Servers, ErrShape)
		}
	}
	return nil
}

func (p *Problem) checkAmounts() error {
	for i, c := range p.Capacity {
		if err := amount("capacity of server", i/p.Metrics, c); err != nil {
			return err
		}
	}
	total := make([]int64, p.Metrics)
	for i, l := range p.Load {
		if err := amount("load of replica", i/p.Metrics, l); err != nil {
			return err
		}
		if total[i%p.Metrics] += l; total[i%p.Metrics] > maxAmount {
			return fmt.Errorf("total load of metric %d: %w", i%p.Metrics, ErrOverflow)
		}
	}
	for l, domains := range p.Domains {
		for s, d := range domains {
			if d < 0 {
				return fmt.Errorf("domain of server %d at level %d: %d: %w", s, l, d, ErrNegative)
			}
			if int(d) >= p.Servers {
				return fmt.Errorf("domain of server %d at level %d: label %d of %d: %w", s, l, d, p.Servers, ErrIndex)
			}
		}
	}
	return nil
}

func amount(what string, i int, v int64) error {
	if v < 0 {
		return fmt.Errorf("%s %d: %d: %w", what, i, v, ErrNegative)
	}
	if v > maxAmount {
		return fmt.Errorf("%s %d: %d: %w", what, i, v, ErrOverflow)
	}
	return nil
}

func index(what string, i, v, n int) error {
	if v < 0 || v >= n {
		return fmt.Errorf("%s %d: %d of %d: %w", what, i, v, n, ErrIndex)
	}
	return nil
}

func (p *Problem) checkPlaces() error {
	for r := range p.Replicas {
		if err := index("group of replica", r, int(p.Group[r]), p.Groups); err != nil {
			return err
		}
		if p.Start[r] != Unplaced {
			if err := index("start of replica", r, int(p.Start[r]), p.Servers); err != nil {
				return err
			}
		}
		if p.First != nil && p.First[r] != Unplaced {
			if err := index("first place of replica", r, int(p.First[r]), p.Servers); err != nil {
				return err
			}
		}
		if p.Class != nil && p.Eligible != nil {
			if err := index("class of replica", r, int(p.Class[r]), len(p.Eligible)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Problem) checkConstraints() error {
	spreads := map[[2]int]bool{}
	for i, s := range p.Spreads {
		if err := errors.Join(index("group of spread", i, s.Group, p.Groups), index("level of spread", i, s.Level, len(p.Domains))); err != nil {
			return err
		}
		for _, n := range []int{s.Min, s.Max, s.Want} {
			if n < 0 {
				return fmt.Errorf("spread %d: %d: %w", i, n, ErrNegative)
			}
			if n > maxSize {
				return fmt.Errorf("spread %d: %d: %w", i, n, ErrLimit)
			}
		}
		if err := p.goal("spread", i, s.Goal); err != nil {
			return err
		}
		key := [2]int{s.Group, s.Level}
		if spreads[key] {
			return fmt.Errorf("spread %d: group %d at level %d: %w", i, s.Group, s.Level, ErrDuplicate)
		}
		spreads[key] = true
	}
	relations := map[Relation]bool{}
	for i, d := range p.Relations {
		err := errors.Join(index("group of relation", i, d.Group, p.Groups), index("other group of relation", i, d.On, p.Groups),
			index("level of relation", i, d.Level, len(p.Domains)))
		if err != nil {
			return err
		}
		if relations[d] {
			return fmt.Errorf("relation %d: group %d to %d at level %d: %w", i, d.Group, d.On, d.Level, ErrDuplicate)
		}
		if d.Not = !d.Not; relations[d] || d.Group == d.On && !d.Not {
			return fmt.Errorf("relation %d: group %d to %d at level %d: %w", i, d.Group, d.On, d.Level, ErrContradiction)
		}
		d.Not = !d.Not
		relations[d] = true
	}
	return nil
}
