package evidence

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Hold is what a leader makes of many losses at once (PROTOCOL R15, promise 9). While it is on, nobody is fenced for being silent: leases run
// out by themselves, and whoever returns resumes. Nothing of it is durable: a new leader gathers its own evidence. The zero Hold is off.
type Hold struct {
	On     bool
	Why    string // it is on
	Extent Extent // of the losses, as weighed last

	since shard.Instant // when the extent became unclear; zero: it is not
	told  string        // of a zone or region that is lost, until nobody is
}

// Forbids reports whether nobody may be fenced for silence now: servers are held, or a moment will tell whether they must be.
func (h *Hold) Forbids() bool { return h.On || h.Extent == Unclear }

// Weigh judges all losses together. What stays unclear for longer than patience is as good as a mass failure. It returns what changed, and why;
// empty: nothing that anybody needs to know.
func (h *Hold) Weigh(now shard.Instant, losses *Losses, fraction float64, patience time.Duration) (what, why string) {
	h.Extent, why = losses.Extent(fraction)
	if h.Extent != Unclear {
		h.since = shard.Instant{}
	} else if h.since.IsZero() {
		h.since = now
	}
	mass := h.Extent == Mass || h.Extent == Unclear && h.since.WaitAge(now) >= patience
	switch {
	case mass && !h.On:
		h.On, h.Why = true, why
		return "hold", why
	case mass:
		h.Why = why
	case h.On && h.Extent != Unclear:
		h.On, h.Why = false, ""
		back := fmt.Sprintf("%d of %d servers are lost", losses.all.missing(), losses.all.total)
		if why != "" {
			back += "; " + why
		}
		return "hold ended", back
	case h.Extent == Domain && why != h.told:
		h.told = why
		return "zone or region lost", why
	case losses.all.missing() == 0:
		h.told = ""
	}
	return "", ""
}
