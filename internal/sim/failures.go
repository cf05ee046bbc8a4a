package sim

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// processFaults are processes that die or stand still.
func processFaults() []kind {
	return []kind{
		{name: "agent killed", most: 20 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			h.agent.kill("killed")
			return func() { h.agentBack() }
		}},
		{name: "application killed", most: 10 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			h.app.kill("killed")
			return func() { h.appBack() }
		}},
		{name: "agent stands still", most: 40 * time.Second, begin: func(w *World, f Fault) func() { return halt(w.host(f).agent.process) }},
		{name: "application stands still", most: 40 * time.Second, begin: func(w *World, f Fault) func() { return halt(w.host(f).app.process) }},
		{name: "application cut off from its agent", most: 20 * time.Second, begin: func(w *World, f Fault) func() {
			app := w.host(f).app
			app.cut = true
			return func() { app.cut = false }
		}},
		{name: "allocator killed", most: 20 * time.Second, begin: func(w *World, f Fault) func() {
			a := w.allocator(f)
			a.kill()
			return a.back
		}},
		{name: "allocator stands still", most: 30 * time.Second, begin: func(w *World, f Fault) func() { return halt(w.allocator(f).process) }},
		{name: "all allocators down", most: 45 * time.Second, begin: func(w *World, _ Fault) func() {
			for _, a := range w.allocators {
				a.kill()
			}
			return func() {
				for _, a := range w.allocators {
					a.back()
				}
			}
		}},
		{name: "all agents stand still", most: 8 * time.Second, begin: func(w *World, _ Fault) func() {
			var ends []func()
			for _, h := range w.hosts {
				ends = append(ends, halt(h.agent.process))
			}
			return all(ends)
		}},
	}
}

func halt(p *virtual.Process) (end func()) {
	p.Halt()
	return p.Continue
}

func all(ends []func()) func() {
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

// agentBack starts an agent where there is none.
func (h *host) agentBack() {
	if h.up && !h.agent.process.Alive() {
		h.startAgent()
	}
}

func (h *host) appBack() {
	if h.up && !h.app.lives() {
		h.startApp()
	}
}

func (a *allocator) back() {
	if !a.process.Alive() {
		a.start()
	}
}

// machineFaults are hosts that crash or sleep, their clocks and their disks.
func machineFaults() []kind {
	return []kind{
		{name: "host crashes", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			h.crash(f.B%2 == 0)
			return h.returns
		}},
		{name: "host sleeps", most: 30 * time.Second, begin: func(w *World, f Fault) func() { return w.host(f).sleep() }},
		{name: "region lost", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			var ends []func()
			region := w.host(f).where.Region
			for _, h := range w.hosts {
				if h.where.Region == region {
					h.crash(false)
					ends = append(ends, h.returns)
				}
			}
			return all(ends)
		}},
		{name: "disk full", most: 40 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			h.disk.full++
			return func() { h.disk.full-- }
		}},
		{name: "host overloaded", most: 30 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			h.overloaded++
			return func() { h.overloaded-- }
		}},
		{name: "state file lost", most: time.Second, begin: func(w *World, f Fault) func() {
			w.host(f).file = nil
			return nil
		}},
		{name: "disk slow", most: 40 * time.Second, begin: func(w *World, f Fault) func() {
			h := w.host(f)
			by := time.Duration(f.B) * time.Millisecond
			h.disk.slow += by
			return func() { h.disk.slow -= by }
		}},
		{name: "clocks drift", most: time.Second, begin: func(w *World, f Fault) func() {
			c := virtual.NewChance(w.opt.Seed, uint64(f.At))
			h := w.host(f)
			h.clock.Slew(w.queue.Now(), driftOf(c))
			h.app.clocksChanged()
			w.allocator(f).clock.Slew(w.queue.Now(), driftOf(c))
			return nil
		}},
		{name: "boot clock jumps", most: time.Second, begin: func(w *World, f Fault) func() {
			h, by := w.host(f), time.Duration(f.B)*20*time.Millisecond
			h.clock.Skip(w.queue.Now(), by)
			h.app.clocksChanged()
			h.sound, h.had = w.queue.Now(), nil // a lease that is over by that is none that should have gone on
			if f.B%3 == 0 {
				w.allocator(f).clock.Skip(w.queue.Now(), by)
			}
			return nil
		}},
	}
}

func (h *host) returns() {
	if !h.up {
		h.boot()
	}
}

// sleep suspends the machine: nothing runs, the raw clock stands still, the boot clock goes on.
func (h *host) sleep() (end func()) {
	from, asleep := h.w.queue.Now(), h.processes()
	var ends []func()
	for _, p := range asleep {
		ends = append(ends, halt(p))
	}
	return func() {
		if slices.ContainsFunc(asleep, (*virtual.Process).Alive) { // else it crashed, and woke up then
			h.clock.Sleep(from, h.w.queue.Now())
			h.app.clocksChanged()
		}
		all(ends)()
	}
}

// callbackFaults are applications that are slow, fail, hang, or die of a shard.
func callbackFaults() []kind {
	change := func(w *World, f Fault, change func(*temper)) func() {
		app := w.host(f).app
		change(&app.temper)
		return func() {
			app.temper = w.temper
			app.comeBack()
		}
	}
	some := []roster.CallKind{roster.CallActivate, roster.CallAddShard, roster.CallDropShard, roster.CallPrepareAdd}
	return []kind{
		{name: "callbacks slow", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			return change(w, f, func(t *temper) { t.slow = time.Duration(f.B) * 10 * time.Millisecond })
		}},
		{name: "callbacks fail", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			return change(w, f, func(t *temper) { t.fails = map[roster.CallKind]int{some[f.B%len(some)]: 600} })
		}},
		{name: "callbacks hang", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			return change(w, f, func(t *temper) { t.stuck = map[roster.CallKind]int{some[f.B%len(some)]: 300} })
		}},
		{name: "shard is poison", most: 60 * time.Second, begin: func(w *World, f Fault) func() {
			id := w.ids[f.B%len(w.ids)]
			poison := func(on bool) {
				crash := map[shard.ID]bool{id: on}
				w.temper.crash = crash
				for _, h := range w.hosts {
					h.app.temper.crash = crash
				}
			}
			poison(true)
			return func() {
				poison(false)
				for _, h := range w.hosts {
					h.appBack()
				}
			}
		}},
	}
}
