package report

// HistoryMost is how many finished moves are remembered; older ones are forgotten.
const HistoryMost = 1000

// History remembers the last HistoryMost moves. The zero History is empty.
type History struct {
	ring  []MoveStatus
	count uint64
}

// Add remembers a move, and returns it.
func (h *History) Add(m MoveStatus) MoveStatus {
	if len(h.ring) < HistoryMost {
		h.ring = append(h.ring, m)
	} else {
		h.ring[h.count%HistoryMost] = m
	}
	h.count++
	return m
}

// Count is how many moves there were, forgotten ones included.
func (h *History) Count() uint64 { return h.count }

// NewestFirst copies what is remembered.
func (h *History) NewestFirst() []MoveStatus {
	list := make([]MoveStatus, 0, len(h.ring))
	for i := range h.ring {
		list = append(list, h.ring[(h.count-1-uint64(i))%HistoryMost])
	}
	return list
}
