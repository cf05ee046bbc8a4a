package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// Fault is something that happens to a cluster: a failure, or something that people do.
type Fault struct {
	At, For time.Duration
	Kind    string
	A, B    int // whom it is about, and how, as the kind takes them
}

// String is one line.
func (f Fault) String() string {
	return fmt.Sprintf("at %7.2f s for %6.2f s  %s (%d, %d)", f.At.Seconds(), f.For.Seconds(), f.Kind, f.A, f.B)
}

// kind is a kind of faults. begin makes one happen and returns what ends it; nil: it ends by itself.
type kind struct {
	name    string
	planned bool          // people do it on purpose, and it must not be felt
	most    time.Duration // how long it lasts at most
	begin   func(w *World, f Fault) (end func())
}

// Times of faults.
const (
	firstFault  = 22 * time.Second // the cluster has come to rest by then
	leastPause  = time.Second
	leastLength = 200 * time.Millisecond
)

// draw is the seed's faults: which kinds there are in this run, and then when they happen to whom (swarm testing: a run in which everything
// happens hardly ever shows what two things do together).
func (w *World) draw() []Fault {
	c := virtual.NewChance(w.opt.Seed, purposeFaults)
	kinds := kinds()
	w.planned = c.IntN(5) == 0
	if w.planned {
		kinds = slices.DeleteFunc(kinds, func(k kind) bool { return !k.planned })
	}
	c.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = kinds[:1+c.IntN(min(len(kinds), 9))]
	pause := c.Span(3*time.Second, 25*time.Second)
	var list []Fault
	for at := firstFault; at < w.opt.Duration-w.calmFor(); at += leastPause + c.UpTo(2*pause) {
		k := virtual.Pick(c, kinds)
		f := Fault{At: at, For: c.Span(leastLength, k.most), Kind: k.name, A: c.IntN(w.opt.Servers), B: c.IntN(1000)}
		if c.Half() {
			f.For /= 8
		}
		list = append(list, f)
	}
	return append(list, w.drawRestore()...)
}

func kinds() []kind {
	return slices.Concat(processFaults(), machineFaults(), networkFaults(), storeFaults(), callbackFaults(), plannedEvents(), operatorFaults(), splits())
}

// begin makes a fault happen; it is over when its time is, or when calm begins.
func (w *World) begin(number int, f Fault, calm time.Duration) {
	list := append(kinds(), restores()...)
	i := slices.IndexFunc(list, func(k kind) bool { return k.name == f.Kind })
	w.say("FAULT", "%d: %s", number, f)
	if end := list[i].begin(w, f); end != nil {
		w.queue.After(min(f.For, calm-w.queue.Now()-time.Millisecond), func() {
			w.say("FAULT", "%d is over: %s", number, f.Kind)
			end()
		})
	}
}

func (w *World) host(f Fault) *host { return w.hosts[f.A%len(w.hosts)] }

// allocator of a fault: mostly the one that leads.
func (w *World) allocator(f Fault) *allocator {
	if a := w.allocatorAt(w.store.lock.holder); a != nil && f.B%4 > 0 {
		return a
	}
	return w.allocators[f.A%len(w.allocators)]
}
