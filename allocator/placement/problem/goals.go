package problem

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// goal checks what all goals have.
func (p *Problem) goal(what string, i int, g Goal) error {
	if g.Tier < 0 || g.Tier >= p.Tiers {
		return fmt.Errorf("tier of %s %d: %d of %d: %w", what, i, g.Tier, p.Tiers, ErrIndex)
	}
	return amount("weight of "+what, i, g.Weight)
}

func (p *Problem) checkGoals() error {
	if err := p.goal("unplaced", 0, p.Unplaced); err != nil {
		return err
	}
	for i, t := range p.Thresholds {
		if err := errors.Join(p.goal("threshold", i, t.Goal), index("metric of threshold", i, t.Metric, p.Metrics)); err != nil {
			return err
		}
		if len(t.Limit) != p.Servers {
			return fmt.Errorf("limits of threshold %d: %d values, not %d: %w", i, len(t.Limit), p.Servers, ErrShape)
		}
		if t.Per != nil && (len(t.Per) != p.Servers || slices.Min(t.Per) < 1) {
			return fmt.Errorf("threshold %d: it counts in parts of %v, not %d of at least 1: %w", i, t.Per, p.Servers, ErrShape)
		}
		for s, v := range t.Limit {
			if err := amount(fmt.Sprintf("limit of threshold %d at server", i), s, v); err != nil {
				return err
			}
		}
	}
	for i, r := range p.Ratios {
		err := errors.Join(p.goal("ratio", i, r.Goal), index("first metric of ratio", i, r.A, p.Metrics),
			index("second metric of ratio", i, r.B, p.Metrics), amount("target of ratio", i, r.Target))
		if err != nil {
			return err
		}
	}
	for i, b := range p.Balances {
		if err := errors.Join(p.goal("balance", i, b.Goal), index("metric of balance", i, b.Metric, p.Metrics)); err != nil {
			return err
		}
		if err := p.checkBalance("balance", i, b); err != nil {
			return err
		}
	}
	for i, k := range p.Peaks {
		err := errors.Join(p.goal("peak", i, k.Goal), index("metric of peak", i, k.Metric, p.Metrics), index("level of peak", i, k.Level+1, len(p.Domains)+1))
		if err != nil {
			return err
		}
		if err := p.checkBalance("peak", i, k); err != nil {
			return err
		}
	}
	return nil
}

func (p *Problem) checkBalance(what string, i int, b Balance) error {
	if len(b.Share) != p.Servers || len(b.Unit) != p.Servers || b.Slack != nil && len(b.Slack) != p.Servers || b.Free != nil && len(b.Free) != p.Servers {
		return fmt.Errorf("%s %d: %d shares, %d units, %d slacks and %d free amounts for %d servers: %w", what, i, len(b.Share), len(b.Unit), len(b.Slack), len(b.Free),
			p.Servers, ErrShape)
	}
	for s, u := range b.Unit {
		if u < 1 {
			return fmt.Errorf("unit of %s %d at server %d: %d, not at least 1: %w", what, i, s, u, ErrNegative)
		}
		if b.Share[s] > maxAmount || b.Share[s] < -maxAmount {
			return fmt.Errorf("share of %s %d at server %d: %d: %w", what, i, s, b.Share[s], ErrOverflow)
		}
		if b.Slack != nil {
			if err := amount(fmt.Sprintf("slack of %s %d at server", what, i), s, b.Slack[s]); err != nil {
				return err
			}
		}
		if b.Free != nil {
			if err := amount(fmt.Sprintf("what is free of %s %d at server", what, i), s, b.Free[s]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Problem) checkCaps() error {
	if n := len(p.Caps.Server); n != 0 && n != p.Servers {
		return fmt.Errorf("caps: %d servers, not %d: %w", n, p.Servers, ErrShape)
	}
	for s, c := range p.Caps.Server {
		if err := amount("cap of server", s, int64(c)); err != nil {
			return err
		}
	}
	return errors.Join(amount("cap of group", 0, int64(p.Caps.Group)), amount("cap", 0, int64(p.Caps.Total)))
}

func (p *Problem) checkAffinities() error {
	for i, a := range p.Affinities {
		if err := errors.Join(p.goal("affinity", i, a.Goal), index("level of affinity", i, a.Level, len(p.Domains)), index("metric of affinity", i, a.Scale+1, p.Metrics+1)); err != nil {
			return err
		}
		if len(a.Of) != p.Replicas {
			return fmt.Errorf("affinity %d: rows of %d replicas, not %d: %w", i, len(a.Of), p.Replicas, ErrShape)
		}
		for r, row := range a.Of {
			if err := index(fmt.Sprintf("row of affinity %d of replica", i), r, int(row), len(a.Cost)); err != nil {
				return err
			}
		}
		domains := p.width(a.Level)
		for r, row := range a.Cost {
			if len(row) != domains {
				return fmt.Errorf("row %d of affinity %d: %d costs, not %d: %w", r, i, len(row), domains, ErrShape)
			}
			for d, c := range row {
				if err := amount(fmt.Sprintf("cost of affinity %d in domain", i), d, c); err != nil {
					return err
				}
			}
		}
	}
	for i, f := range p.Failovers {
		if err := errors.Join(p.goal("failover", i, f.Goal), index("level of failover", i, f.Level, len(p.Domains))); err != nil {
			return err
		}
		if domains := p.width(f.Level); len(f.Lead) != p.Replicas || len(f.Fair) != domains {
			return fmt.Errorf("failover %d: %d replicas and %d domains, not %d and %d: %w", i, len(f.Lead), len(f.Fair), p.Replicas, domains, ErrShape)
		}
		for d, v := range f.Fair {
			if err := amount(fmt.Sprintf("fair part of failover %d of domain", i), d, v); err != nil {
				return err
			}
		}
	}
	for s, c := range p.Opening.Cost {
		if err := amount("cost of opening server", s, c); err != nil {
			return err
		}
	}
	return p.goal("opening", 0, p.Opening.Goal)
}

// width is how many domains a level has.
func (p *Problem) width(level int) (domains int) {
	for _, d := range p.Domains[level] {
		domains = max(domains, int(d)+1)
	}
	return domains
}

func (p *Problem) checkMovement() error {
	m := p.Movement
	if m.Replica != nil && len(m.Replica) != p.Replicas {
		return fmt.Errorf("movement: %d costs of replicas, not %d: %w", len(m.Replica), p.Replicas, ErrShape)
	}
	if m.Crowd != nil && len(m.Crowd) != p.Groups {
		return fmt.Errorf("movement: crowds of %d groups, not %d: %w", len(m.Crowd), p.Groups, ErrShape)
	}
	for g, c := range m.Crowd {
		if err := index("crowd of group", g, int(c), max(1, p.Groups)); err != nil {
			return err
		}
	}
	if m.Route != nil && len(m.Route) != p.Servers*p.Servers {
		return fmt.Errorf("movement: %d costs of routes, not %d: %w", len(m.Route), p.Servers*p.Servers, ErrShape)
	}
	for r, c := range m.Replica {
		if err := amount("cost of moving replica", r, c); err != nil {
			return err
		}
	}
	for _, w := range []int64{m.ReplicaWeight, m.RouteWeight, m.GroupWeight} {
		if err := p.goal("movement", 0, Goal{w, m.Tier}); err != nil {
			return err
		}
	}
	return nil
}

// checkSums bounds what each tier can cost at worst. Floating point is good enough for a bound with a factor of two to spare.
func (p *Problem) checkSums() error {
	capacity, load := make([]float64, p.Metrics), make([]float64, p.Metrics)
	for i, c := range p.Capacity {
		capacity[i%p.Metrics] += float64(c)
	}
	for i, l := range p.Load {
		load[i%p.Metrics] += float64(l)
	}
	worst := make([]float64, p.Tiers)
	worst[p.Unplaced.Tier] += float64(p.Unplaced.Weight) * float64(p.Replicas)
	for _, t := range p.Thresholds {
		most := load[t.Metric]
		if t.Per != nil {
			most = MaxMillionths * float64(p.Servers)
		}
		worst[t.Tier] += float64(t.Weight) * most
	}
	for _, r := range p.Ratios {
		free := float64(r.Target)*(capacity[r.A]+load[r.A]) + capacity[r.B] + load[r.B]
		worst[r.Tier] += float64(max(r.Weight, 1)) * free
	}
	for _, b := range p.Balances {
		worst[b.Tier] += float64(b.Weight) * MaxUnits * MaxUnits * float64(p.Servers)
	}
	for _, k := range p.Peaks {
		worst[k.Tier] += float64(k.Weight) * MaxUnits * float64(p.Servers)
	}
	for _, f := range p.Failovers {
		pairs := p.pairs(&f)
		worst[f.Tier] += float64(f.Weight) * pairs * min(pairs, MaxUnits)
	}
	for _, a := range p.Affinities {
		most, scale := 0.0, float64(p.Replicas)
		for _, row := range a.Cost {
			for _, c := range row {
				most = max(most, float64(c))
			}
		}
		if a.Scale >= 0 {
			scale = load[a.Scale]
		}
		worst[a.Tier] += float64(max(a.Weight, 1)) * most * scale
	}
	for _, c := range p.Opening.Cost {
		worst[p.Opening.Tier] += float64(c) * float64(p.Opening.Weight)
	}
	for _, s := range p.Spreads {
		worst[s.Goal.Tier] += float64(s.Goal.Weight) * float64(s.Want)
	}
	for _, c := range p.Movement.Replica {
		worst[p.Movement.Tier] += float64(c) * float64(p.Movement.ReplicaWeight)
	}
	worst[p.Movement.Tier] += float64(p.Movement.GroupWeight) * float64(p.Replicas)
	if p.Movement.Route != nil {
		worst[p.Movement.Tier] += float64(p.Movement.RouteWeight) * math.MaxUint32 * float64(p.Replicas)
	}
	for t, w := range worst {
		if w > maxAmount {
			return fmt.Errorf("tier %d could cost %.3g: %w", t, w, ErrOverflow)
		}
	}
	return nil
}

// pairs is how many pairs a goal of fail-over counts.
func (p *Problem) pairs(f *Failover) (n float64) {
	size := make([]int, p.Groups)
	for _, g := range p.Group {
		size[g]++
	}
	for r, g := range p.Group {
		if f.Lead[r] {
			n += float64(size[g] - 1)
		}
	}
	return n
}
