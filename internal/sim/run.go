package sim

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/sim/promise"
)

// Options say what to run. The same options give the same run.
type Options struct {
	Seed       uint64
	Servers    int           // default 9
	Shards     int           // default 64
	Allocators int           // default 3
	Clients    int           // default 3
	Duration   time.Duration // of simulated time, the calm at the end included; default 5 minutes
	Keep       []int         // play only these of the seed's faults, by number; nil: all
	Trace      io.Writer     // gets a line for each event; nil: nobody does
}

// Limits of what can be simulated.
const (
	serversMost = 1000
	shardsMost  = 8192
	calmFor     = 75 * time.Second // at the end of every run there are no faults; twice as long where leases are long
	leastRun    = 2*calmFor + 30*time.Second
)

// WithDefaults fills what is zero.
func (o Options) WithDefaults() Options {
	fill := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	fill(&o.Servers, 9)
	fill(&o.Shards, 64)
	fill(&o.Allocators, 3)
	fill(&o.Clients, 3)
	if o.Duration == 0 {
		o.Duration = 5 * time.Minute
	}
	return o
}

// Validate says everything that is wrong.
func (o Options) Validate() error {
	var wrong []error
	need := func(ok bool, field, expected string, got any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("sim: %s: expected %s, not %v", field, expected, got))
		}
	}
	need(o.Servers >= 3 && o.Servers <= serversMost, "servers", fmt.Sprintf("3 to %d", serversMost), o.Servers)
	need(o.Shards >= 1 && o.Shards <= shardsMost, "shards", fmt.Sprintf("1 to %d", shardsMost), o.Shards)
	need(o.Allocators >= 1 && o.Allocators <= 9, "allocators", "1 to 9", o.Allocators)
	need(o.Clients >= 0 && o.Clients <= 100, "clients", "0 to 100", o.Clients)
	need(o.Duration >= leastRun && o.Duration <= 24*time.Hour, "duration", fmt.Sprintf("%s to 24h", leastRun), o.Duration)
	return errors.Join(wrong...)
}

// Result is what came of a run.
type Result struct {
	Options  Options
	Faults   []Fault // that the seed drew, all of them
	Breaches []promise.Breach
	Events   uint64 // things that happened
	Served   int    // requests
	Failed   int    // requests whose whole deadline passed
	Planned  bool   // nothing but planned events happened
}

// Run plays one seed, until its time is over or a promise is broken.
func Run(o Options) (Result, error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	w := newWorld(o)
	faults := w.draw()
	w.describe(faults)
	w.boot()
	calm := o.Duration - w.calmFor()
	for i, f := range faults {
		if o.keeps(i) {
			w.queue.After(f.At, func() { w.begin(i, f, calm) })
		}
	}
	broken := func() bool { return len(w.watch.Breaches()) > 0 }
	w.queue.Run(calm, broken)
	if !broken() {
		w.calm()
		w.queue.Run(o.Duration, broken)
	}
	if !broken() {
		w.leftOver()
	}
	for _, b := range w.watch.Breaches() {
		w.say("BROKEN", "%s", b)
	}
	return Result{Options: o, Faults: faults, Breaches: w.watch.Breaches(), Events: w.queue.Done(), Served: w.served, Failed: w.failed, Planned: w.planned}, nil
}

// calmFor is long enough for a fence of a leader that took over from a dead one.
func (w *World) calmFor() time.Duration {
	if w.settings.Validity > longLease/2 {
		return 2 * calmFor
	}
	return calmFor
}

func (o Options) keeps(i int) bool { return o.Keep == nil || slices.Contains(o.Keep, i) }

// describe writes down what the seed drew.
func (w *World) describe(faults []Fault) {
	kind := "storage that checks terms"
	if !w.shared {
		kind = fmt.Sprintf("memory, %d replicas", max(1, w.store.spec.Replicas))
	}
	w.say("seed", "%d: %d servers, %d shards, %d allocators; %s; lease %s, leader %s; only planned events: %t", w.opt.Seed, w.opt.Servers, w.opt.Shards,
		w.opt.Allocators, kind, w.settings.Validity, w.settings.LeaderValidity, w.planned)
	for i, f := range faults {
		w.say("seed", "fault %d: %s", i, f)
	}
}
