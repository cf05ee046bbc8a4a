package kvload

import "time"

// Bounds of what is remembered of a key's past: enough for the staleness that secondaries state while all is well, and for a while after
// that. A read that is further behind is only checked against what was ever sent.
const (
	maxPast = 64
	pastAge = 30 * time.Second
)

// known is what was known of a key at an instant: value was acknowledged, or read at a primary, before it.
type known struct {
	at    time.Time
	value int64
}

// past remembers when what was known grew, oldest first.
type past []known

func (p *past) learn(now time.Time, value int64) {
	list := *p
	for len(list) > 0 && (len(list) >= maxPast || now.Sub(list[0].at) > pastAge) {
		list = list[1:]
	}
	*p = append(list, known{now, value})
}

// before is the highest value that is known to have been acknowledged by an instant; 0 if that is too long ago.
func (p past) before(at time.Time) (value int64) {
	for _, k := range p {
		if !k.at.After(at) {
			value = max(value, k.value)
		}
	}
	return value
}

// readNearest ends a read at a secondary that began at an instant. The answer may be as far behind as it says, and may be of a write that
// is not acknowledged yet or never will be; it cannot be of one that was never sent.
func (c *counter) readNearest(began time.Time, staleness time.Duration, value int64) (v violations) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value < c.past.before(began.Add(-staleness)) || value > max(c.highest, c.low+c.pending) {
		v.Nearest = 1
	}
	return v
}

// NearestCounts are the reads that any replica might answer, since the start; they are among the requests too.
type NearestCounts struct {
	NearestReads      int64   `json:"nearest_reads"`       // answered
	SecondaryReads    int64   `json:"secondary_reads"`     // of those, by secondaries
	WrongNearestReads int64   `json:"wrong_nearest_reads"` // of those, older than their staleness allows, or never written
	StalenessMSMax    float64 `json:"staleness_ms_max"`    // the greatest that was stated
}

// answeredNearest counts an answer.
func (s *stats) answeredNearest(secondary bool, staleness time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nearest.NearestReads++
	if secondary {
		s.nearest.SecondaryReads++
		s.nearest.StalenessMSMax = max(s.nearest.StalenessMSMax, milliseconds(staleness))
	}
}

// nearestSoFar is the counts since the start.
func (s *stats) nearestSoFar() NearestCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nearest
	n.WrongNearestReads = s.violations.Nearest
	return n
}
