package virtual

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// ppm is a clock's whole rate: it gains as much as there is true time.
const ppm = 1_000_000

// Clock is the two clocks of one machine, each with a rate of its own. They only go forward.
type Clock struct {
	since     time.Duration // true instant from which the rates hold
	boot, raw time.Duration // at since
	rates     Rates
}

// Rates are what two clocks gain in excess of true time, in millionths. Promises hold within ± 10 000 (PROTOCOL R8).
type Rates struct{ Boot, Raw int64 }

// NewClock is a machine's clocks that show these times at the beginning of the run.
func NewClock(boot, raw time.Duration, rates Rates) *Clock {
	return &Clock{boot: boot, raw: raw, rates: rates}
}

func gained(since, now time.Duration, rate int64) time.Duration {
	true_ := int64(now - since)
	return time.Duration(true_ + true_/ppm*rate + true_%ppm*rate/ppm)
}

// At is what the clocks show at a true instant, which is never before the last change of rate.
func (c *Clock) At(now time.Duration) shard.Instant {
	return shard.Instant{Boot: int64(c.boot + gained(c.since, now, c.rates.Boot)), Raw: int64(c.raw + gained(c.since, now, c.rates.Raw))}
}

// Slew changes the rates from now on.
func (c *Clock) Slew(now time.Duration, rates Rates) {
	at := c.At(now)
	c.since, c.boot, c.raw, c.rates = now, time.Duration(at.Boot), time.Duration(at.Raw), rates
}

// Skip lets the boot clock jump ahead, as it does by the time in which a machine slept.
func (c *Clock) Skip(now, by time.Duration) {
	c.Slew(now, c.rates)
	c.boot += by
}

// Sleep takes back what the raw clock gained while a machine slept: it stands still then.
func (c *Clock) Sleep(from, now time.Duration) {
	before, after := c.At(from).Raw, c.At(now).Raw
	c.Slew(now, c.rates)
	c.raw -= time.Duration(after - before)
}

// Until is the true instant at which a permission that ends at end is over by these clocks: not before it, and less than a microsecond after
// it, if the rates stay.
func (c *Clock) Until(now time.Duration, end shard.Instant) time.Duration {
	here := c.At(now)
	left := func(remaining, rate int64) time.Duration {
		return time.Duration(remaining/(ppm+rate)*ppm + remaining%(ppm+rate)*ppm/(ppm+rate) + 1)
	}
	return now + max(0, min(left(end.Boot-here.Boot, c.rates.Boot), left(end.Raw-here.Raw, c.rates.Raw)))
}
