package load

import (
	"math/bits"
	"time"
)

// halves[i] is 2^(-1/2^(i+1)) in 32 bits behind the point, rounded down: the factors for the binary digits of a fraction of a half-life.
var halves = [...]uint64{
	3037000499, 3611622602, 3938502375, 4112874773, 4202935003, 4248701964, 4271771996, 4283353945,
	4289156690, 4292061009, 4293513906, 4294240539, 4294603902, 4294785595, 4294876444, 4294921870,
}

// Decay is what is left of v after a time: v × 2^(-elapsed/halfLife), towards zero, exact to about one part in 10 000. A half-life of 0
// leaves nothing; an elapsed time below 0 counts as none.
func Decay(v int64, elapsed, halfLife time.Duration) int64 {
	switch {
	case elapsed <= 0 || v == 0:
		return v
	case halfLife <= 0:
		return 0
	case v < 0:
		return -decayed(uint64(-v), elapsed, halfLife)
	}
	return decayed(uint64(v), elapsed, halfLife)
}

func decayed(v uint64, elapsed, halfLife time.Duration) int64 {
	whole := uint64(elapsed / halfLife)
	if whole >= 64 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(elapsed%halfLife), 1<<len(halves))
	fraction, _ := bits.Div64(hi, lo, uint64(halfLife)) // below 2^16: the remainder is below the half-life
	v >>= whole
	for i, factor := range halves {
		if fraction&(1<<(len(halves)-1-i)) != 0 {
			hi, lo := bits.Mul64(v, factor)
			v = hi<<32 | lo>>32
		}
	}
	return int64(v)
}

// Smooth is the exponential average after a sample: what was known fades with the half-life, the sample takes its place.
func Smooth(known, sample int64, elapsed, halfLife time.Duration) int64 {
	return Plus(sample, Decay(sub(known, sample), elapsed, halfLife))
}
