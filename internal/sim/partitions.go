package sim

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// networkFaults are partitions, one-way and partial ones too, and a network that loses and delays.
func networkFaults() []kind {
	return []kind{
		{name: "host cut off from the store", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			return w.net.part(f.B, []place{w.host(f).at}, []place{theStore})
		}},
		{name: "host cut off from allocators", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			return w.net.part(f.B, []place{w.host(f).at}, w.placesOfAllocators())
		}},
		{name: "host cut off from other hosts", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			return w.net.part(f.B, []place{h.at}, without(w.placesOfHosts(), h.at))
		}},
		{name: "host isolated", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			return w.net.part(0, []place{h.at}, without(w.everywhere(), h.at))
		}},
		{name: "zone isolated", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			var inside []place
			for _, h := range w.hosts {
				if h.where.Zone == w.host(f).where.Zone {
					inside = append(inside, h.at)
				}
			}
			return w.net.part(0, inside, without(w.everywhere(), inside...))
		}},
		{name: "allocator cut off from the store", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			return w.net.part(f.B, []place{w.allocator(f).at}, []place{theStore})
		}},
		{name: "allocator isolated", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			at := w.allocator(f).at
			return w.net.part(0, []place{at}, without(w.everywhere(), at))
		}},
		{name: "most servers vanish", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			hosts := w.placesOfHosts()
			virtual.NewChance(w.opt.Seed, uint64(f.At)).Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
			gone := hosts[:len(hosts)*2/3+f.B%max(1, len(hosts)/3)]
			return w.net.part(0, gone, append(w.placesOfAllocators(), without(w.placesOfHosts(), gone...)...))
		}},
		{name: "network loses messages", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			w.net.lossy += f.B / 5
			return func() { w.net.lossy -= f.B / 5 }
		}},
		{name: "network delays messages", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			w.net.jumpy += f.B / 5
			return func() { w.net.jumpy -= f.B / 5 }
		}},
		{name: "host far away", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			return w.net.delays(w.host(f).at, time.Duration(f.B)*time.Millisecond/2)
		}},
		{name: "commands come again", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			w.repeats += f.B / 2
			return func() { w.repeats -= f.B / 2 }
		}},
	}
}

// storeFaults are those of the coordination store, and keys that are lost.
func storeFaults() []kind {
	return []kind{
		{name: "store down", most: 45 * time.Second, begin: func(w *World, _ Fault) func() { return halt(w.store.process) }},
		{name: "store slow", most: 45 * time.Second, begin: func(w *World, f Fault) func() {
			return w.net.delays(theStore, time.Duration(f.B)*3*time.Millisecond/2)
		}},
		{name: "store full", most: 30 * time.Second, begin: func(w *World, _ Fault) func() {
			w.store.full++
			return func() { w.store.full-- }
		}},
		{name: "server's key lost", most: time.Second, begin: func(w *World, f Fault) func() {
			delete(w.store.keys, w.host(f).id)
			return nil
		}},
		{name: "server's session lost", most: time.Second, begin: func(w *World, f Fault) func() {
			w.store.destroy(w.store.keys[w.host(f).id].Session)
			return nil
		}},
		{name: "leader's session lost", most: time.Second, begin: func(w *World, _ Fault) func() {
			w.store.destroy(w.store.lock.session)
			return nil
		}},
		{name: "answers of the store lost", most: 20 * time.Second, begin: func(w *World, f Fault) func() {
			return w.net.part(2, []place{w.allocator(f).at}, []place{theStore})
		}},
	}
}

// part cuts two sides off from each other: how%3 = 1: only what the first says is lost, 2: only what it would hear, 0: both.
func (n *network) part(how int, a, b []place) (end func()) {
	var cuts [][2]place
	for _, x := range a {
		for _, y := range b {
			if x == y {
				continue
			}
			if how%3 != 2 {
				cuts = append(cuts, [2]place{x, y})
			}
			if how%3 != 1 {
				cuts = append(cuts, [2]place{y, x})
			}
		}
	}
	cuts = slices.DeleteFunc(cuts, func(c [2]place) bool { return n.cut[c] })
	for _, c := range cuts {
		n.cut[c] = true
	}
	return func() {
		for _, c := range cuts {
			delete(n.cut, c)
		}
	}
}

func (n *network) delays(at place, by time.Duration) (end func()) {
	n.late[at] += by
	return func() { n.late[at] -= by }
}

func (w *World) placesOfAllocators() (list []place) {
	for _, a := range w.allocators {
		list = append(list, a.at)
	}
	return list
}

func (w *World) placesOfHosts() (list []place) {
	for _, h := range w.hosts {
		list = append(list, h.at)
	}
	return list
}

func (w *World) everywhere() []place {
	return append(append([]place{theStore}, w.placesOfAllocators()...), w.placesOfHosts()...)
}

func without(list []place, these ...place) []place {
	return slices.DeleteFunc(slices.Clone(list), func(p place) bool { return slices.Contains(these, p) })
}
