package evidence

import (
	"cmp"
	"fmt"
	"slices"
)

// lossesLeast is the least number of servers whose loss at once can be a mass failure (PROTOCOL R15).
const lossesLeast = 3

// strayFactor is how many times more a lost domain must account for than is lost elsewhere: another server may fail by chance.
const strayFactor = 4

// Health of a server, as the leader sees it.
type Health uint8

// Healths, from best to worst.
const (
	Well     Health = iota + 1 // heard of within an interval
	Doubtful                   // not heard of for an interval: it may turn out to be lost at the same moment as others
	Lost                       // and nothing more is known
	Reached                    // lost to the leader, but others reach it
	Gone                       // lost, and probes confirm that nobody reaches it
)

// Losses counts servers by place and health at one moment. The zero Losses has counted none.
type Losses struct {
	all  tally
	each []counted
}

type counted struct {
	at     Place
	health Health
}

// Expect makes room for so many servers.
func (l *Losses) Expect(n int) { l.each = slices.Grow(l.each, n) }

type tally struct{ total, doubtful, lost, reached, gone int }

func (t *tally) add(h Health) {
	t.total++
	switch h {
	case Well:
	case Doubtful:
		t.doubtful++
	case Lost:
		t.lost++
	case Reached:
		t.reached++
	case Gone:
		t.gone++
	}
}

// missing are the lost, confirmed or not.
func (t *tally) missing() int { return t.lost + t.reached + t.gone }

// Add counts a server.
func (l *Losses) Add(p Place, h Health) {
	l.all.add(h)
	l.each = append(l.each, counted{p, h})
}

// Missing is how many are lost, of how many.
func (l *Losses) Missing() (missing, total int) { return l.all.missing(), l.all.total }

// Extent is what the losses amount to.
type Extent uint8

// Extents.
const (
	Few     Extent = iota + 1 // servers failed, each by itself
	Unclear                   // it depends on servers that are doubtful, or not probed yet: a moment will tell
	Domain                    // one whole zone or region is gone, the rest is well
	Mass                      // too many at once, and no zone or region explains it: it may be the leader that is cut off
)

// Extent judges the losses; fraction is the part of all servers beyond which they are a mass failure (PROTOCOL R15). The reason is for people.
func (l *Losses) Extent(fraction float64) (Extent, string) {
	beyond := func(n int) bool { return n >= lossesLeast && float64(n) > fraction*float64(l.all.total) }
	missing := l.all.missing()
	if !beyond(missing + l.all.doubtful) {
		return Few, ""
	}
	name, certain := l.domain()
	switch {
	case name != "" && certain:
		return Domain, fmt.Sprintf("%s is gone: %d of %d servers, and probes by others confirm it", name, missing, l.all.total)
	case name != "":
		return Unclear, fmt.Sprintf("%s may be gone", name)
	case !beyond(missing):
		return Unclear, fmt.Sprintf("%d of %d servers are lost, and %d more may be", missing, l.all.total, l.all.doubtful)
	default:
		return Mass, fmt.Sprintf("%d of %d servers are lost at once, and no zone or region explains it: this leader may be cut off", missing, l.all.total)
	}
}

// domain finds the smallest zone or region that is gone, or may be, while the rest is well. It is certain once probes confirm each of its servers.
func (l *Losses) domain() (name string, certain bool) {
	type candidate struct {
		name string
		t    *tally
	}
	zones, regions := map[Place]*tally{}, map[string]*tally{}
	for _, c := range l.each {
		addTo(zones, c.at, c.health)
		addTo(regions, c.at.Region, c.health)
	}
	var all []candidate
	for p, t := range zones {
		all = append(all, candidate{fmt.Sprintf("zone %s of region %s", orUnnamed(p.Zone), orUnnamed(p.Region)), t})
	}
	for r, t := range regions {
		all = append(all, candidate{"region " + orUnnamed(r), t})
	}
	all = slices.DeleteFunc(all, func(c candidate) bool { return !l.explains(c.t) })
	if len(all) == 0 {
		return "", false
	}
	best := slices.MinFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.t.total, b.t.total), cmp.Compare(b.name, a.name)) // of equals the zone
	})
	return best.name, best.t.gone == best.t.total
}

func addTo[K comparable](tallies map[K]*tally, key K, h Health) {
	if tallies[key] == nil {
		tallies[key] = &tally{}
	}
	tallies[key].add(h)
}

// explains reports whether one domain accounts for the losses: all of it is missing, or doubtful, and hardly anything is elsewhere.
func (l *Losses) explains(t *tally) bool {
	rest := l.all.total - t.total
	elsewhere := l.all.missing() - t.missing()
	return rest > 0 && t.reached == 0 && t.missing()+t.doubtful == t.total && t.missing() > 0 &&
		elsewhere < lossesLeast && elsewhere*strayFactor <= t.missing()
}

func orUnnamed(s string) string {
	if s == "" {
		return "without a name"
	}
	return s
}
