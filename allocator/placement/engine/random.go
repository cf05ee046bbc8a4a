package engine

import "math/bits"

// random is wyrand (Wang Yi, wyhash, 2019): 64 bits of state, fast, good enough to choose proposals. The zero value works.
type random uint64

func (r *random) next() uint64 {
	*r += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(uint64(*r), uint64(*r)^0xe7037ed1a0b428db)
	return hi ^ lo
}

// below is uniform in [0, n) but for a bias of n/2⁶⁴ (Lemire, "Fast random integer generation in an interval", 2019).
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}
