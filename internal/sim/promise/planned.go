package promise

import (
	"fmt"
	"time"
)

// capsHold is promise 6: no piece of a planned event is approved beyond its app's caps, counting what is down already.
type capsHold struct{}

func (capsHold) see(_ time.Duration, o Observation) string {
	if a, ok := o.(Approved); ok && a.Down > a.Most {
		return fmt.Sprintf("event %s: with %v approved %d servers are down, and %d may be", a.Event, a.Servers, a.Down, a.Most)
	}
	return ""
}

// stability is promise 7: nothing stops because allocators do. A lease whose application and agent live and reach the store goes on, and what is held
// is not given up because nobody can be asked (PROTOCOL R31).
type stability struct{}

func (stability) see(_ time.Duration, o Observation) string {
	if l, ok := o.(Lapsed); ok && l.Sound > l.Limit {
		return fmt.Sprintf("server %s: its lease ran out although application, agent and store had been there and within reach for %.1f s", l.Owner.Server, l.Sound.Seconds())
	}
	if g, ok := o.(GaveUp); ok && !g.Proven {
		return fmt.Sprintf("server %s gave up incarnation %s, which nobody had ended: %s", g.Owner.Server, g.Owner.Incarnation, g.Why)
	}
	return ""
}

// noStampede is promise 9: when most servers vanish at once, nobody is fenced for that.
type noStampede struct{}

func (noStampede) see(_ time.Duration, o Observation) string {
	f, ok := o.(Fenced)
	if !ok || f.Released || f.Domain || f.Lost < 3 || 2*f.Lost <= f.Servers {
		return ""
	}
	return fmt.Sprintf("server %s was fenced (%s) while %d of %d servers were lost", f.Fence.Owner.Server, f.Fence.Reason, f.Lost, f.Servers)
}
