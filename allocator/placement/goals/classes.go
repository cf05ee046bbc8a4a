package goals

import "slices"

// Confines are the regions and servers that a replica stays within. Two that are alike are one class.
type Confines struct {
	Region int // position of Server.InRegion; -1: any
	Rank   int // the largest Server.Rank; -1: any
	Exact  bool
	Terms  int // class whose fences hold; -1: none
	Pin    int // position of the server in the terms that it belongs on; -1: none
	Left   int // position in Left; -1: none
}

// Class is the position in Eligible of a replica's confines.
func (t *Task) Class(c Confines) int32 {
	if class, known := t.classes[c]; known {
		return class
	}
	if t.classes == nil {
		t.classes = map[Confines]int32{}
	}
	class := int32(len(t.Eligible))
	t.classes[c] = class
	bits := make([]uint64, (len(t.Servers)+63)/64)
	for i := range t.Servers {
		if t.within(&t.Servers[i], c) {
			bits[i/64] |= 1 << (i % 64)
		}
	}
	t.Eligible = append(t.Eligible, bits)
	return class
}

func (t *Task) within(s *Server, c Confines) bool {
	switch {
	case !s.Accepts, c.Region >= 0 && s.InRegion != c.Region, c.Rank >= 0 && s.Rank > c.Rank, c.Exact && s.Rank != c.Rank, c.Pin >= 0 && s.Position != c.Pin:
		return false
	case c.Left >= 0 && slices.Contains(t.Left[c.Left], int32(s.Position)):
		return false
	case c.Terms < 0:
		return true
	}
	return t.Terms.Classes[c.Terms].Barred(s.Position) == nil
}

// dense relabels domains 0, 1, … in the order of their appearance.
func dense(labels []int32) []int32 {
	known, list := map[int32]int32{}, make([]int32, len(labels))
	for i, label := range labels {
		if _, ok := known[label]; !ok {
			known[label] = int32(len(known))
		}
		list[i] = known[label]
	}
	return list
}
