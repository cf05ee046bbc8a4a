package ledger

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/evidence"
)

// weighLosses judges all losses together, once a tick and before any of them is judged by itself (PROTOCOL R15).
func (l *Ledger) weighLosses() {
	if !l.evidence.Passed(l.now) || l.hold.On && !l.after(l.evidence, 2*l.s.Interval) {
		return // what is silent now may be so because this loop was late: a hold goes on until evidence is whole again
	}
	var losses evidence.Losses
	losses.Expect(len(l.order))
	for _, id := range l.order {
		if f := l.servers[id].present(); f != nil {
			if health := l.healthOf(f); health != 0 {
				losses.Add(placeOf(f.server), health)
			}
		}
	}
	patience := 2*l.s.Interval + 2*(l.s.ProbeTimeout+answerSlack) // for silence, and two rounds of probes
	held := l.hold.On
	if what, why := l.hold.Weigh(l.now, &losses, l.s.HoldFraction, patience); what != "" {
		l.trace(Decision{What: what, Why: why})
	}
	if held && !l.hold.On && l.hold.Extent == evidence.Few {
		l.restartEvidence(l.now) // those that are still missing may be on their way back, too
	}
}

// healthOf is one server's part in the losses; 0: none. A server that holds nothing is no loss, and one that was fenced for another reason
// than its silence, or that an operator gave up, says nothing about this leader's own view.
func (l *Ledger) healthOf(f *life) evidence.Health {
	s := &f.suspicion
	switch {
	case f.over || f.fencing && !f.silenced || s.released || f.resting && !f.rest.Passed(l.now):
		return 0
	case f.fencing:
		return evidence.Gone
	case l.heardLately(f):
		return evidence.Well
	case len(f.refs) == 0:
		return 0
	case !s.lost:
		return evidence.Doubtful
	}
	return s.verdict.Health()
}

// heardLately reports whether a server was heard of within an interval. Whoever died at the same moment as one that is lost by now was not.
func (l *Ledger) heardLately(f *life) bool {
	return !f.suspicion.suspect && !(f.reset && f.stream == 0) && !l.silent(f, l.s.Interval)
}

// releaseHold lets those that are held now be judged one by one, on an operator's word. It returns how many.
func (l *Ledger) releaseHold() (int, *RequestError) {
	if !l.hold.On {
		return 0, &RequestError{Conflict, "hold", "a hold: no server is held now"}
	}
	n := 0
	for _, id := range l.order {
		if f := l.servers[id].present(); f != nil && f.suspicion.lost {
			f.suspicion.released = true
			n++
		}
	}
	l.trace(Decision{What: "hold released", Why: fmt.Sprintf("an operator gave up %d servers", n)})
	l.hold = evidence.Hold{}
	return n, nil
}
