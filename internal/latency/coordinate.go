package latency

import (
	"fmt"
	"math"
	"time"
)

// Limits of a coordinate; Check refuses what is beyond.
const (
	MaxDimensions = 16
	// MaxExtent bounds every part of a coordinate: no round trip that is worth routing by is longer.
	MaxExtent = 10 * time.Second
	// Unknown is the error of a coordinate that nothing is known of yet, per mille.
	Unknown = 1500
)

// Coordinate is a place in the space of round trips.
type Coordinate struct {
	Vector     []time.Duration // all coordinates of one cluster have the same number of dimensions
	Height     time.Duration   // part of every round trip, such as the way out of the building; not negative
	Adjustment time.Duration   // what estimates from here were off by lately; may be negative
	Error      int             // how far its owner trusts it: relative error of estimates, per mille; 0 is best
}

// Check says what no coordinate can be.
func (c Coordinate) Check() error {
	if len(c.Vector) == 0 || len(c.Vector) > MaxDimensions {
		return fmt.Errorf("coordinate: expected 1 to %d dimensions, not %d", MaxDimensions, len(c.Vector))
	}
	for _, part := range c.Vector {
		if part < -MaxExtent || part > MaxExtent {
			return fmt.Errorf("coordinate: expected at most %s from the origin, not %s", MaxExtent, part)
		}
	}
	switch {
	case c.Height < 0 || c.Height > MaxExtent:
		return fmt.Errorf("coordinate: expected a height of 0 to %s, not %s", MaxExtent, c.Height)
	case c.Adjustment < -MaxExtent || c.Adjustment > MaxExtent:
		return fmt.Errorf("coordinate: expected an adjustment of at most %s, not %s", MaxExtent, c.Adjustment)
	case c.Error < 0 || c.Error > Unknown:
		return fmt.Errorf("coordinate: expected an error of 0 to %d per mille, not %d", Unknown, c.Error)
	}
	return nil
}

// Distance estimates the round trip between two places; false if they are of different spaces.
func Distance(a, b Coordinate) (time.Duration, bool) {
	if len(a.Vector) != len(b.Vector) || len(a.Vector) == 0 {
		return 0, false
	}
	sum := 0.0
	for i := range a.Vector {
		d := float64(a.Vector[i] - b.Vector[i])
		sum += d * d
	}
	distance := time.Duration(math.Sqrt(sum)) + a.Height + b.Height
	if adjusted := distance + a.Adjustment + b.Adjustment; adjusted > 0 {
		distance = adjusted
	}
	return distance, true
}
