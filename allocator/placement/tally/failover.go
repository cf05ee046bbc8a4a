package tally

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// takeovers counts who takes over from whom when a domain fails, of all shards of the classes that a goal is said for.
type takeovers struct {
	over    terms.Over
	classes map[int]bool // whether only primaries are taken over: there are some
	pairs   map[[2]int]int64
	fair    map[int]int64 // by domain: so much one other may take over
}

// takenOver adds a class to those of which a goal counts fail-overs; one that is said of several classes is one.
func (t *Tally) takenOver(c int, g terms.Goal) {
	at := slices.IndexFunc(t.ofServers, func(a aim) bool {
		return a.takeovers != nil && a.takeovers.over == g.Spread.Over && a.Tier == g.Tier && a.Weight == g.Weight
	})
	if at < 0 {
		at = len(t.ofServers)
		t.ofServers = append(t.ofServers, aim{Goal: g, unit: TakeOvers, takeovers: &takeovers{over: g.Spread.Over, classes: map[int]bool{}}})
	}
	led := false
	for i := range t.in.Shards {
		led = led || t.classAt(i) == c && slices.ContainsFunc(t.spots(i, -1, -1, 0), func(s spot) bool { return s.role == shard.Primary })
	}
	t.ofServers[at].takeovers.classes[c] = led
}

// pairUp counts all pairs, and says what part of them is fair.
func (t *Tally) pairUp(f *takeovers) {
	f.pairs, f.fair = map[[2]int]int64{}, map[int]int64{}
	for i := range t.in.Shards {
		list := t.spots(i, -1, -1, 0)
		for k, s := range list {
			t.pair(f, f.pairs, i, s, list[:k], 1)
		}
	}
	from, total := map[int]int64{}, int64(0)
	for p, n := range f.pairs {
		from[p[0]] += n
		total += n
	}
	open := map[int]bool{}
	for i := range t.in.Servers {
		if t.in.Servers[i].Accepts {
			open[t.domain(f.over, i)] = true
		}
	}
	mean := ceil(total, int64(len(open)))
	for i := range t.in.Servers {
		d := t.domain(f.over, i)
		others := int64(len(open))
		if open[d] {
			others--
		}
		f.fair[d] = max(1, ceil(max(from[d], mean), others))
	}
}

func ceil(n, by int64) int64 { return (n + max(by, 1) - 1) / max(by, 1) }

// pair counts so often what a replica of a shard has to do with others of it: one that is taken over, and another one elsewhere that takes over.
func (t *Tally) pair(f *takeovers, pairs map[[2]int]int64, i int, s spot, others []spot, by int64) {
	primaries, counted := f.classes[t.classAt(i)]
	leads := func(s spot) bool { return counted && (!primaries || s.role == shard.Primary) }
	a := t.domain(f.over, s.server)
	for _, o := range others {
		b := t.domain(f.over, o.server)
		if a != b && leads(s) {
			pairs[[2]int{a, b}] += by
		}
		if a != b && leads(o) {
			pairs[[2]int{b, a}] += by
		}
	}
}

// tooMany is what it costs that a domain's failure brings another so many.
func (f *takeovers) tooMany(from int, pairs int64) int64 {
	u := min(max(0, pairs-f.fair[from]), mostUnit)
	return u * u
}

func (f *takeovers) total() (sum int64) {
	for p, n := range f.pairs {
		sum += f.tooMany(p[0], n)
	}
	return sum
}

// moreTakenOver is what a replica of a shard costs more on another server; from -1 is from nowhere.
func (t *Tally) moreTakenOver(f *takeovers, i, k int, role shard.Role, from, to int) (sum int64) {
	others, changed := t.spots(i, k, -1, role), map[[2]int]int64{}
	if from >= 0 {
		t.pair(f, changed, i, spot{from, role}, others, -1)
	}
	t.pair(f, changed, i, spot{to, role}, others, 1)
	for p, by := range changed {
		sum += f.tooMany(p[0], f.pairs[p]+by) - f.tooMany(p[0], f.pairs[p])
	}
	return sum
}
