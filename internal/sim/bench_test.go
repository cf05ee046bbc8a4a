package sim_test

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/sim"
)

// BenchmarkSeed plays seeds of the usual size, one after the other, and tells how many simulated hours a minute of one core plays.
func BenchmarkSeed(b *testing.B) {
	var simulated time.Duration
	seed := uint64(0)
	for b.Loop() {
		seed++
		r, err := sim.Run(sim.Options{Seed: seed})
		if err != nil || len(r.Breaches) > 0 {
			b.Fatal(seed, err, r.Breaches)
		}
		simulated += r.Options.Duration
	}
	b.ReportMetric(simulated.Hours()/b.Elapsed().Minutes(), "hours/min")
}
