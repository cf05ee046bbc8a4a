// Package wyrand is a generator of random numbers for searches: small, fast, and the same for a seed everywhere.
package wyrand

import "math/bits"

// Random is wyrand (Wang Yi, wyhash, 2019): 64 bits of state, fast, good enough to choose proposals. The zero value works.
type Random uint64

// Next is uniform in all of 64 bits.
func (r *Random) Next() uint64 {
	*r += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(uint64(*r), uint64(*r)^0xe7037ed1a0b428db)
	return hi ^ lo
}

// Below is uniform in [0, n) but for a bias of n/2⁶⁴ (Lemire, "Fast random integer generation in an interval", 2019).
func (r *Random) Below(n int) int {
	hi, _ := bits.Mul64(r.Next(), uint64(n))
	return int(hi)
}
