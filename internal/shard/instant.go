package shard

import "time"

// Instant is a moment on this machine, on two of its clocks, in nanoseconds: CLOCK_BOOTTIME counts while the machine sleeps and is
// slewed by time daemons, CLOCK_MONOTONIC_RAW is neither. Instants of two machines are never compared (PROTOCOL R8).
type Instant struct {
	Boot int64
	Raw  int64
}

// Add returns the instant d later on both clocks.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{Boot: i.Boot + int64(d), Raw: i.Raw + int64(d)}
}

// IsZero reports whether i is the zero instant: no moment at all.
func (i Instant) IsZero() bool { return i == Instant{} }

// PermissionAge is how old a permission given at i is at now: the larger of the two ages, so that it ends early rather than late.
func (i Instant) PermissionAge(now Instant) time.Duration {
	return time.Duration(max(now.Boot-i.Boot, now.Raw-i.Raw))
}

// WaitAge is how long a wait that began at i has lasted at now: the smaller of the two ages, so that it ends late rather than early.
func (i Instant) WaitAge(now Instant) time.Duration {
	return time.Duration(min(now.Boot-i.Boot, now.Raw-i.Raw))
}

// Allows reports whether a permission that ends at i still holds at now, on both clocks.
func (i Instant) Allows(now Instant) bool { return now.Boot < i.Boot && now.Raw < i.Raw }

// Remaining is how long a permission that ends at i still holds at now; negative when it is over.
func (i Instant) Remaining(now Instant) time.Duration {
	return time.Duration(min(i.Boot-now.Boot, i.Raw-now.Raw))
}

// Passed reports whether a wait until i is over at now, on both clocks.
func (i Instant) Passed(now Instant) bool { return now.Boot >= i.Boot && now.Raw >= i.Raw }

// LaterOf is the later of two ends of a wait, on each clock.
func LaterOf(a, b Instant) Instant {
	return Instant{Boot: max(a.Boot, b.Boot), Raw: max(a.Raw, b.Raw)}
}

// DriftPermille is the drift d between two clocks that waits cover: 10 ‰ = 1 %.
const DriftPermille = 10

// CoverDrift stretches a wait so that it outlasts a permission of length d although both clocks may err: d × (1+δ)/(1−δ) (PROTOCOL
// R8), plus one nanosecond: a permission is valid through its last instant.
func CoverDrift(d time.Duration) time.Duration {
	return (d*(1000+DriftPermille)+(1000-DriftPermille)-1)/(1000-DriftPermille) + 1
}
