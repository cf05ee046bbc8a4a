package probation

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// aftermath is how long after a shard was taken on a death is still put down to it: its first requests belong to that.
	aftermath = 3 * time.Second
	// absolvedAfter is how long a suspect must be served before earlier deaths are no longer held against it.
	absolvedAfter = 10 * time.Second
	// tieMost is how many shards with equal evidence are convicted together; more have something else in common than being poison.
	tieMost = 3
)

// Quarantine is what is durable about a shard that is not placed any more (PROTOCOL R30).
type Quarantine struct {
	App   shard.App
	Shard shard.ID
	Why   string
}

// Limits say when a shard is poison.
type Limits struct {
	Deaths int           // so many servers died of it; default 3
	Window time.Duration // within this time; default 5 min
}

// Suspect names a shard.
type Suspect struct {
	App   shard.App
	Index shard.Index
}

// Charge is a shard in one role: to take it on as a secondary is another callback than to become its primary, and one may kill where the other
// does not.
type Charge struct {
	Suspect
	Role shard.Role
}

// blame remembers which shards servers died of, as far as can be told: of a callback that was under way, or of what came right after one. A
// shard that a dead server merely held is no suspect: servers that are killed one after the other, for whatever reason, have shards in
// common that moved along. The zero blame remembers none. It forgets a shard when its last strike is older than the window.
type blame struct {
	records map[Charge]*record
	taken   map[Charge]shard.Instant // when shards were taken on, within the aftermath
}

type record struct {
	strikes []shard.Instant
	served  shard.Instant // since when it is served, after its last strike; zero: it is not
	loading bool          // the last strike was in a callback
}

// served notes that a shard was taken on, and is served from now on.
func (b *blame) served(now shard.Instant, who Charge) {
	if b.taken == nil {
		b.taken = map[Charge]shard.Instant{}
	}
	b.taken[who] = now
	if r := b.records[who]; r != nil {
		r.served = now
	}
}

// clear forgets what is held against a shard.
func (b *blame) clear(who Suspect) {
	maps.DeleteFunc(b.records, func(c Charge, _ *record) bool { return c.Suspect == who })
	maps.DeleteFunc(b.taken, func(c Charge, _ shard.Instant) bool { return c.Suspect == who })
}

// strikes is how many deaths are held against a shard.
func (b *blame) strikes(who Charge) int {
	if r := b.records[who]; r != nil {
		return len(r.strikes)
	}
	return 0
}

// suspected reports whether a server died in a callback of a shard that went well nowhere since, and when that was.
func (b *blame) suspected(who Charge) (struck shard.Instant, suspected bool) {
	r := b.records[who]
	if r == nil || !r.loading || !r.served.IsZero() {
		return shard.Instant{}, false
	}
	return r.strikes[len(r.strikes)-1], true
}

// death counts the proven death of a server against the shards with a callback under way there; if there are none, against those that it took
// on just before.
// Whoever is convicted by that is returned in order: it has as many strikes as Limits say, and no other shard has more.
func (b *blame) death(now shard.Instant, inCallback, held []Charge, l Limits) []Charge {
	b.prune(now, l.Window)
	for _, who := range inCallback {
		if r := b.records[who]; r != nil && !r.served.IsZero() {
			r.strikes = nil // the same callback went well meanwhile
		}
	}
	struck := b.struck(now, inCallback, held)
	most := 0
	for _, who := range struck {
		most = max(most, b.strike(now, who))
		b.records[who].loading = len(inCallback) > 0
	}
	var convicted []Charge
	for _, who := range struck {
		if n := len(b.records[who].strikes); n == most && n >= l.Deaths {
			convicted = append(convicted, who)
		}
	}
	if len(convicted) > tieMost && most < 2*l.Deaths {
		return nil // the next death tells them apart
	}
	slices.SortFunc(convicted, func(a, b Charge) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Role, b.Role))
	})
	return convicted
}

// struck are those that a death is put down to.
func (b *blame) struck(now shard.Instant, inCallback, held []Charge) []Charge {
	if len(inCallback) > 0 {
		return inCallback
	}
	var list []Charge
	for _, who := range held {
		if at, ok := b.taken[who]; ok && at.WaitAge(now) < aftermath {
			list = append(list, who)
		}
	}
	return list
}

// strike counts a death against a shard. One that was served long enough meanwhile begins anew.
func (b *blame) strike(now shard.Instant, who Charge) int {
	if b.records == nil {
		b.records = map[Charge]*record{}
	}
	r := b.records[who]
	if r == nil {
		r = &record{}
		b.records[who] = r
	}
	if !r.served.IsZero() && r.served.WaitAge(now) >= absolvedAfter {
		r.strikes = nil
	}
	r.strikes, r.served = append(r.strikes, now), shard.Instant{}
	return len(r.strikes)
}

// prune forgets strikes that are older than the window, and what was taken on before the aftermath.
func (b *blame) prune(now shard.Instant, window time.Duration) {
	maps.DeleteFunc(b.taken, func(_ Charge, at shard.Instant) bool { return at.WaitAge(now) >= aftermath })
	for who, r := range b.records {
		r.strikes = slices.DeleteFunc(r.strikes, func(at shard.Instant) bool { return at.WaitAge(now) > window })
		if len(r.strikes) == 0 {
			delete(b.records, who)
		}
	}
}
