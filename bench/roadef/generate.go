package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// size of an instance that is made up.
type size struct {
	processes, machines, resources, services, locations, neighborhoods, balances int
}

// sized is an instance of a given number of processes and machines, everything else as large in proportion as the challenge's limits are to its 50 000
// processes and 5 000 machines: 20 resources, 1 000 locations and neighborhoods, 10 balance objectives, and a service for five processes.
func sized(processes, machines int) (size, error) {
	if processes < 1 || machines < 1 || processes > maxOfKind || machines > maxOfKind {
		return size{}, fmt.Errorf("%d processes on %d machines: not between 1 and %d of each", processes, machines, maxOfKind)
	}
	return size{
		processes: processes, machines: machines, resources: 20, services: max(1, processes/5), locations: max(1, machines/5),
		neighborhoods: max(1, machines/5), balances: 10,
	}, nil
}

// generate writes an instance and an initial assignment of it, which is feasible: processes are placed first, and capacities, spreads and dependencies
// are such that it fits. What is drawn depends on the seed only.
func generate(z size, seed uint64, model, initial io.Writer) error {
	g := &generator{size: z, random: rand.New(rand.NewPCG(seed, 1)), model: bufio.NewWriter(model), initial: bufio.NewWriter(initial)}
	g.place()
	g.writeResources()
	g.writeMachines()
	g.writeServices()
	g.writeProcesses()
	g.writeGoals()
	return errors.Join(g.model.Flush(), g.initial.Flush())
}

type generator struct {
	size
	random         *rand.Rand
	model, initial *bufio.Writer

	service, machine []int   // by process
	site, hood       []int   // by machine
	need             []int64 // [processes × resources]
	use              []int64 // [machines × resources]
}

func (g *generator) say(w *bufio.Writer, numbers ...any) {
	_, _ = fmt.Fprintln(w, numbers...) // Flush says what failed
}

// place draws where processes are. Those of a service begin at a machine of their own choice and go on at the next ones, so that they never share one; a
// service with more processes than there are machines would have to.
func (g *generator) place() {
	for m := range g.machines {
		g.site, g.hood = append(g.site, m%g.locations), append(g.hood, m/((g.machines+g.neighborhoods-1)/g.neighborhoods))
	}
	first, members := make([]int, g.services), make([]int, g.services)
	for s := range first {
		first[s] = g.random.IntN(g.machines)
	}
	g.use = make([]int64, g.machines*g.resources)
	for range g.processes {
		s := g.random.IntN(g.services)
		for members[s] == g.machines {
			s = (s + 1) % g.services
		}
		m := (first[s] + members[s]) % g.machines
		members[s]++
		g.service, g.machine = append(g.service, s), append(g.machine, m)
		scale := int64(1) << g.random.IntN(6)
		for r := range g.resources {
			need := scale * (100 + g.random.Int64N(900))
			g.need = append(g.need, need)
			g.use[m*g.resources+r] += need
		}
		g.say(g.initial, m)
	}
}

func (g *generator) writeResources() {
	g.say(g.model, g.resources)
	for r := range g.resources {
		g.say(g.model, r%3/2, 10) // every third is transient
	}
}

// writeMachines gives each machine a little more than it uses, or than the mean of all, of which four fifths are safe.
func (g *generator) writeMachines() {
	mean := make([]int64, g.resources)
	for i, u := range g.use {
		mean[i%g.resources] += u / int64(g.machines)
	}
	g.say(g.model, g.machines)
	for m := range g.machines {
		g.say(g.model, g.hood[m], g.site[m])
		capacity := make([]any, g.resources)
		safety := make([]any, g.resources)
		for r := range capacity {
			c := max(g.use[m*g.resources+r]*21/20, mean[r]*(100+g.random.Int64N(30))/100)
			capacity[r], safety[r] = c, c*4/5
		}
		g.say(g.model, capacity...)
		g.say(g.model, safety...)
		for to := range g.machines {
			cost := byte('2')
			switch {
			case to == m:
				cost = '0'
			case g.hood[to] == g.hood[m]:
				cost = '1'
			}
			_ = g.model.WriteByte(cost) // Flush says what failed
			_ = g.model.WriteByte(' ')
		}
		g.say(g.model)
	}
}

// writeServices lets each service spread over no more locations than it does, and every fourth depend on another one that is wherever it is, if there is
// one among a few.
func (g *generator) writeServices() {
	type set = map[int]bool
	sites, hoods := make([]set, g.services), make([]set, g.services)
	for s := range g.services {
		sites[s], hoods[s] = set{}, set{}
	}
	for p, s := range g.service {
		sites[s][g.site[g.machine[p]]], hoods[s][g.hood[g.machine[p]]] = true, true
	}
	g.say(g.model, g.services)
	for s := range g.services {
		least, on := g.random.IntN(len(sites[s])+1), -1
		for tries := 0; s%4 == 0 && tries < 200 && on < 0; tries++ {
			if other := g.random.IntN(g.services); other != s && within(hoods[s], hoods[other]) {
				on = other
			}
		}
		if on < 0 {
			g.say(g.model, least, 0)
		} else {
			g.say(g.model, least, 1, on)
		}
	}
}

func within(a, b map[int]bool) bool {
	for x := range a {
		if !b[x] {
			return false
		}
	}
	return true
}

func (g *generator) writeProcesses() {
	g.say(g.model, g.processes)
	for p, s := range g.service {
		numbers := []any{s}
		for _, need := range g.need[p*g.resources:][:g.resources] {
			numbers = append(numbers, need)
		}
		g.say(g.model, append(numbers, 1+g.random.IntN(10))...)
	}
}

func (g *generator) writeGoals() {
	g.say(g.model, g.balances)
	for b := range g.balances {
		g.say(g.model, b%g.resources, (b+1)%g.resources, 1, 10)
	}
	g.say(g.model, 1, 10, 100)
}

// generateFiles is generate into files.
func generateFiles(processes, machines int, seed uint64, model, initial string) (err error) {
	z, err := sized(processes, machines)
	if err != nil {
		return err
	}
	m, err := os.Create(model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	i, err := os.Create(initial)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	return generate(z, seed, m, i)
}
