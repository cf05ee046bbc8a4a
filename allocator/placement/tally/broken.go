package tally

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Breach is a constraint that does not hold.
type Breach struct {
	Binds   string
	Count   int    // shards for which it does not, or, of a capacity, servers
	Example string // the first of them
}

// Broken lists the constraints that do not hold, by name. What moves is taken as arrived.
func (t *Tally) Broken() (list []Breach) {
	broken := func(name, example string) {
		at, known := slices.BinarySearchFunc(list, name, func(b Breach, name string) int {
			if b.Binds < name {
				return -1
			} else if b.Binds > name {
				return 1
			}
			return 0
		})
		if !known {
			list = slices.Insert(list, at, Breach{Binds: name, Example: example})
		}
		list[at].Count++
	}
	for i := range t.in.Shards {
		if s := &t.in.Shards[i]; s.Backoff && s.Pinned && len(s.Replicas) == 0 {
			continue // there is nothing to place
		}
		told := map[string]bool{}
		for _, name := range t.brokenOf(i) {
			if !told[name] {
				told[name] = true
				broken(name, string(t.in.Shards[i].ID))
			}
		}
	}
	for server := range t.in.Servers {
		for m, used := range t.settled[server] {
			if c := t.capacity[server][m]; c != load.Unlimited && used > c {
				broken(Capacity+t.metrics.Name(m), string(t.in.Servers[server].ID))
			}
		}
	}
	return list
}

// brokenOf names what does not hold for a shard, capacity aside.
func (t *Tally) brokenOf(i int) (names []string) {
	places := t.places(i, -1, -1)
	for _, s := range t.spreads(i) {
		if t.spreadBroken(s, places) {
			names = append(names, s.Name)
		}
	}
	for r := range t.where.Regions {
		region, n := &t.where.Regions[r], 0
		for _, p := range places {
			if t.where.InRegion[p] == r {
				n++
			}
		}
		if n < region.Least {
			names = append(names, Region+region.Name)
		}
	}
	c := t.class(i)
	if c == nil {
		return names
	}
	for _, p := range places {
		if f := c.Barred(p); f != nil {
			names = append(names, f.Name)
		}
		for r := range c.Relations {
			if d := &c.Relations[r]; t.beside(d, i, p) == d.Not {
				names = append(names, d.Name)
			}
		}
	}
	for _, p := range c.Pins {
		if slices.ContainsFunc(p.Servers, func(s int32) bool { return !slices.Contains(places, int(s)) }) {
			names = append(names, p.Name)
		}
	}
	return names
}

func (t *Tally) spreadBroken(s terms.Spread, places []int) bool {
	counts := map[int]int{}
	for _, p := range places {
		counts[t.domain(s.Over, p)]++
	}
	if s.AtMost == 0 {
		return len(counts) < min(s.AtLeast, len(places))
	}
	for _, n := range counts {
		if n > s.AtMost {
			return true
		}
	}
	return false
}

// Breaks names the first constraint that replica k of a shard breaks where it will be, with the numbers; empty: none.
func (t *Tally) Breaks(i, k int) (binds, why string) {
	at := t.at(i, k)
	if at < 0 {
		return "", ""
	}
	if s := &t.in.Servers[at]; s.Leaving {
		return Accepts, "it is being drained"
	}
	for _, look := range []func(i, k, server int) (binds, why string){t.barred, t.crowded, t.unrelated} {
		if binds, why := look(i, k, at); binds != "" {
			return binds, why
		}
	}
	for m, used := range t.settled[at] {
		if c := t.capacity[at][m]; c != load.Unlimited && used > c && t.load(i, t.role(i, k))[m] > 0 {
			return Capacity + t.metrics.Name(m), fmt.Sprintf("the server has %d of %s, more than its capacity of %d", used, t.metrics.Name(m), c)
		}
	}
	return "", ""
}

func (t *Tally) role(i, k int) shard.Role { return t.in.Shards[i].Replicas[k].Role }
