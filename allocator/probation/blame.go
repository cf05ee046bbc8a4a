package probation

import (
	"cmp"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// aftermath is how long after a callback of a suspect a death is still put down to it.
	aftermath = 3 * time.Second
	// absolvedAfter is how long a suspect must be served before earlier deaths are no longer held against it.
	absolvedAfter = 30 * time.Second
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

// blame remembers which shards were on servers that died. The zero blame remembers none. It forgets a shard when its last strike is older than the
// window, so it holds no more than the shards of servers that died within it.
type blame struct{ records map[Suspect]*record }

type record struct {
	strikes []shard.Instant
	served  shard.Instant // since when it is served, after its last strike; zero: it is not
}

// served notes that a shard is served from now on; only of a suspect it matters.
func (b *blame) served(now shard.Instant, who Suspect) {
	if r := b.records[who]; r != nil {
		r.served = now
	}
}

// clear forgets what is held against a shard.
func (b *blame) clear(who Suspect) { delete(b.records, who) }

// strikes is how many deaths are held against a shard.
func (b *blame) strikes(who Suspect) int {
	if r := b.records[who]; r != nil {
		return len(r.strikes)
	}
	return 0
}

// death counts the proven death of a server. Shards with a callback under way there, or just after one, are struck; only if there are none, all that
// it held are. Whoever is convicted by that is returned in order: it has as many strikes as Limits say, and no other shard has more.
func (b *blame) death(now shard.Instant, inCallback, held []Suspect, l Limits) []Suspect {
	b.prune(now, l.Window)
	struck := slices.Clone(inCallback)
	for _, who := range held {
		if r := b.records[who]; r != nil && !r.served.IsZero() && r.served.WaitAge(now) < aftermath {
			struck = append(struck, who)
		}
	}
	if len(struck) == 0 {
		struck = held
	}
	most := 0
	for _, who := range struck {
		most = max(most, b.strike(now, who))
	}
	var convicted []Suspect
	for _, who := range struck {
		if n := len(b.records[who].strikes); n == most && n >= l.Deaths {
			convicted = append(convicted, who)
		}
	}
	if len(convicted) > tieMost && most < 2*l.Deaths {
		return nil // the next death tells them apart
	}
	slices.SortFunc(convicted, func(a, b Suspect) int { return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Index, b.Index)) })
	return convicted
}

// strike counts a death against a shard. One that was served long enough meanwhile begins anew.
func (b *blame) strike(now shard.Instant, who Suspect) int {
	if b.records == nil {
		b.records = map[Suspect]*record{}
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

// prune forgets strikes that are older than the window.
func (b *blame) prune(now shard.Instant, window time.Duration) {
	for who, r := range b.records {
		r.strikes = slices.DeleteFunc(r.strikes, func(at shard.Instant) bool { return at.WaitAge(now) > window })
		if len(r.strikes) == 0 {
			delete(b.records, who)
		}
	}
}
