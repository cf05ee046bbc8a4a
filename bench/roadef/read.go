package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// instance is one machine reassignment problem; everything is counted from 0.
type instance struct {
	resources, machines, services, processes int

	transient  []bool
	loadWeight []int64
	hood, site []int32  // [machines]: neighborhood, location
	capacity   []int64  // [machines × resources]
	safety     []int64  // [machines × resources]
	route      []uint32 // [machines × machines]: moving cost from the row's machine to the column's
	spreadMin  []int    // [services]
	depends    [][2]int // service, and one that it depends on
	service    []int32  // [processes]
	need       []int64  // [processes × resources]
	moveCost   []int64  // [processes]
	balances   []balance

	processWeight, serviceWeight, machineWeight int64
}

type balance struct {
	a, b           int
	target, weight int64
}

// numbers reads unsigned integers below 2³², which white space separates. The first error sticks.
type numbers struct {
	in  *bufio.Reader
	n   int // read so far
	err error
}

func (f *numbers) next(what string, below int64) int64 {
	if f.err != nil {
		return 0
	}
	c, err := f.in.ReadByte()
	for err == nil && (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
		c, err = f.in.ReadByte()
	}
	v, digits := int64(0), 0
	for ; err == nil && c >= '0' && c <= '9' && digits < 11; digits++ {
		v = v*10 + int64(c-'0')
		c, err = f.in.ReadByte()
	}
	space := err == nil && (c == ' ' || c == '\n' || c == '\r' || c == '\t')
	f.n++
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		f.err = err
	case digits == 0 && err != nil:
		f.err = fmt.Errorf("ends before number %d, %s", f.n, what)
	case digits == 0 || !space && err == nil:
		f.err = fmt.Errorf("number %d, %s: expected an unsigned integer", f.n, what)
	case v >= below:
		f.err = fmt.Errorf("number %d, %s: %d is not below %d", f.n, what, v, below)
	}
	if f.err != nil {
		return 0
	}
	return v
}

func (f *numbers) end() error {
	if f.err != nil {
		return f.err
	}
	for {
		switch c, err := f.in.ReadByte(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			return fmt.Errorf("something follows the last number, number %d", f.n)
		}
	}
}

const (
	anyNumber = math.MaxUint32 + 1
	maxOfKind = 1 << 20 // machines, services, processes
)

func open(path string, read func(*numbers)) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n := &numbers{in: bufio.NewReaderSize(f, 1<<20)}
	read(n)
	if err := n.end(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readModel reads an instance. What its parts mean is in the benchmark's description of the format.
func readModel(path string) (*instance, error) {
	in := &instance{}
	err := open(path, func(f *numbers) {
		in.readResources(f)
		in.readMachines(f)
		in.readServices(f)
		in.readProcesses(f)
		in.readGoals(f)
	})
	return in, err
}

func (in *instance) readResources(f *numbers) {
	in.resources = int(f.next("the number of resources", 1<<10))
	for range in.resources {
		in.transient = append(in.transient, f.next("a transient flag", 2) == 1)
		in.loadWeight = append(in.loadWeight, f.next("a load weight", anyNumber))
	}
}

func (in *instance) readMachines(f *numbers) {
	in.machines = int(f.next("the number of machines", maxOfKind))
	for range in.machines {
		if f.err != nil {
			return
		}
		in.hood = append(in.hood, int32(f.next("a neighborhood", maxOfKind)))
		in.site = append(in.site, int32(f.next("a location", maxOfKind)))
		for range in.resources {
			in.capacity = append(in.capacity, f.next("a capacity", anyNumber))
		}
		for range in.resources {
			in.safety = append(in.safety, f.next("a safety capacity", anyNumber))
		}
		for range in.machines {
			if f.err != nil {
				return
			}
			in.route = append(in.route, uint32(f.next("a moving cost", anyNumber)))
		}
	}
}

func (in *instance) readServices(f *numbers) {
	in.services = int(f.next("the number of services", maxOfKind))
	for s := range in.services {
		if f.err != nil {
			return
		}
		in.spreadMin = append(in.spreadMin, int(f.next("a least spread", maxOfKind)))
		for range f.next("a number of dependencies", maxOfKind) {
			if f.err != nil {
				return
			}
			in.depends = append(in.depends, [2]int{s, int(f.next("a dependency", int64(in.services)))})
		}
	}
}

func (in *instance) readProcesses(f *numbers) {
	in.processes = int(f.next("the number of processes", maxOfKind))
	for range in.processes {
		if f.err != nil {
			return
		}
		in.service = append(in.service, int32(f.next("a service", int64(in.services))))
		for range in.resources {
			in.need = append(in.need, f.next("a requirement", anyNumber))
		}
		in.moveCost = append(in.moveCost, f.next("a cost of moving", anyNumber))
	}
}

func (in *instance) readGoals(f *numbers) {
	for range f.next("the number of balance objectives", 1<<10) {
		in.balances = append(in.balances, balance{
			a: int(f.next("a resource", int64(in.resources))), b: int(f.next("a resource", int64(in.resources))),
			target: f.next("a target", anyNumber), weight: f.next("a weight", anyNumber),
		})
	}
	in.processWeight = f.next("the weight of process moves", anyNumber)
	in.serviceWeight = f.next("the weight of service moves", anyNumber)
	in.machineWeight = f.next("the weight of machine moves", anyNumber)
}

// readAssignment reads the machine of each process.
func (in *instance) readAssignment(path string) ([]int32, error) {
	places := make([]int32, in.processes)
	err := open(path, func(f *numbers) {
		for i := range places {
			places[i] = int32(f.next("a machine", int64(in.machines)))
		}
	})
	return places, err
}
