package tally

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/placement/share"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
)

// Placement counts small loads in parts that an average load has a thousand of, and what a server is off its share in whole units of about a thousandth.
const (
	fine     = 1000
	mostUnit = 1 << 20
)

// fair is what a goal of a policy wants servers to have of a metric, in parts of its unit.
type fair struct {
	metric      int
	scale       int64 // parts
	share, unit []int64
	slack       []int64 // above the share: half of what is tolerated, and half of an average replica
	free        []int64 // units above that, of a server that is within what is tolerated now, and may stay so
	domain      []int   // by server; of the fullest server, which counts in each domain by itself
	members     [][]int // by domain: its servers, the fullest first
}

// fairly is what a goal wants of a balance, all servers being as they are.
func (t *Tally) fairly(g *terms.Goal, m int) *fair {
	f := &fair{metric: m, scale: t.scale(m), domain: make([]int, len(t.in.Servers)), members: make([][]int, 1)}
	group := share.All
	if g.Regional {
		group, f.members = func(i int) int { return t.where.InRegion[i] }, make([][]int, len(t.where.Regions))
	}
	for i, v := range t.shares(m, group, len(f.members), func(s int) bool { return t.in.Servers[s].Accepts }) {
		v = load.MulDiv(v, f.scale, 1)
		unit, half := max(1, v/whole), load.MulDiv(v, int64(g.Percent), 400)
		slack := load.Plus(half, load.MulDiv(t.average[m], f.scale, 2))
		f.share, f.unit, f.slack, f.free = append(f.share, v), append(f.unit, unit), append(f.slack, slack), append(f.free, 0)
		if above := f.above(t.settled[i], i); above <= half {
			f.free[i] = f.units(t.settled[i], i)
		}
		f.domain[i] = group(i)
		f.members[group(i)] = append(f.members[group(i)], i)
	}
	for _, list := range f.members {
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(f.height(t.settled[b], b), f.height(t.settled[a], a)) })
	}
	return f
}

// scale is in how many parts placement counts a unit of a metric.
func (t *Tally) scale(m int) int64 { return fine / min(max(t.average[m], 1), fine) }

// above is what a server has above its share and the slack, in parts.
func (f *fair) above(l load.Vector, server int) int64 {
	if f.share[server] == 0 {
		return 0
	}
	return max(0, load.MulDiv(l[f.metric], f.scale, 1)-f.share[server]-f.slack[server])
}

func (f *fair) units(l load.Vector, server int) int64 {
	return min(f.above(l, server)/f.unit[server], mostUnit)
}

// height is how many units a server counts.
func (f *fair) height(l load.Vector, server int) int64 {
	return max(0, f.units(l, server)-f.free[server])
}

// square is what a server adds to the sum of squares.
func (f *fair) square(l load.Vector, server int) int64 {
	u := f.units(l, server)
	return max(0, u*u-f.free[server]*f.free[server])
}

// permille is what units of a server are, in thousandths of its share.
func (f *fair) permille(units int64, server int) int64 {
	return load.MulDiv(units, f.unit[server]*whole, max(1, f.share[server]))
}

// moreSquares is what a sum of squares counts more, and by how much the servers together are farther off their shares, as the root of their own.
func (f *fair) moreSquares(before, after []use) (more, off int64) {
	sums := func(list []use) (squares, off int64) {
		for _, u := range list {
			b := f.square(u.load, u.server)
			p := min(f.permille(root(b), u.server), 1<<30)
			squares, off = squares+b, load.Plus(off, p*p)
		}
		return squares, off
	}
	x, a := sums(after)
	y, b := sums(before)
	return x - y, like(root(a)-root(b), x-y)
}

// like is an amount or, where it is nothing or has another sign than what it is told for, the least that has the same.
func like(amount, sign int64) int64 {
	if cmp.Compare(amount, 0) != cmp.Compare(sign, 0) {
		return int64(cmp.Compare(sign, 0))
	}
	return amount
}

func root(n int64) int64 { return int64(math.Sqrt(float64(n))) }

// top is the fullest of a domain's servers, and how many are as full.
type top struct{ height, count, permille int64 }

// meet is the top with one server more.
func (p top) meet(f *fair, l load.Vector, server int) top {
	switch h := f.height(l, server); {
	case h > p.height:
		return top{h, 1, f.permille(h, server)}
	case h == p.height && h > 0:
		return top{h, p.count + 1, max(p.permille, f.permille(h, server))}
	}
	return p
}

// fullest is the top of a domain with some servers as they would be.
func (t *Tally) fullest(f *fair, domain int, changed []use) (p top) {
	for _, s := range f.members[domain] {
		if slices.ContainsFunc(changed, func(u use) bool { return u.server == s }) {
			continue
		}
		if f.height(t.settled[s], s) < p.height {
			break // they are in order
		}
		p = p.meet(f, t.settled[s], s)
	}
	for _, u := range changed {
		if f.domain[u.server] == domain {
			p = p.meet(f, u.load, u.server)
		}
	}
	return p
}

// steps is how far the servers of a domain are from all being at their shares: first the fullest counts, then how many are as full.
func (p top) steps(servers int) int64 {
	if p.height == 0 {
		return 0
	}
	return (p.height-1)*int64(servers) + p.count
}

// peaks are the costs of the fullest server of a domain, and of how many are as full, so far nothing.
func (t *Tally) peaks(a *aim, domain int) (height, count Cost) {
	name := a.Name
	if a.Regional {
		name += ": " + strings.TrimPrefix(t.where.Regions[domain].String(), "region ")
	}
	return Cost{Tier: a.Tier, Goal: name, Unit: Share, Weight: a.Weight}, Cost{Tier: a.Tier, Goal: name + ", as full", Unit: Servers, Weight: a.Weight}
}

// morePeaks lists what a goal that counts the fullest server of each domain counts more: how much fuller that is, or else how many more are as full.
func (t *Tally) morePeaks(list []Cost, a *aim, after []use) []Cost {
	f := a.fair
	for k, u := range after {
		domain := f.domain[u.server]
		if slices.ContainsFunc(after[:k], func(o use) bool { return f.domain[o.server] == domain }) {
			continue
		}
		was, is := t.fullest(f, domain, nil), t.fullest(f, domain, after)
		height, count := t.peaks(a, domain)
		switch more := is.steps(len(f.members[domain])) - was.steps(len(f.members[domain])); {
		case more == 0:
		case is.height == was.height:
			count.Amount = more
			list = append(list, count)
		default:
			height.Amount, height.Counts = like(is.permille-was.permille, more), more
			list = append(list, height)
		}
	}
	return list
}

// squares is the root of the mean of what servers are off their shares, squared.
func (t *Tally) squares(f *fair) int64 {
	sum, parts := int64(0), int64(0)
	for i := range t.in.Servers {
		if f.share[i] > 0 {
			p := min(f.permille(root(f.square(t.settled[i], i)), i), 1<<30)
			sum, parts = load.Plus(sum, p*p), parts+1
		}
	}
	return root(sum / max(1, parts))
}
