package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/mem"
	"github.com/shirou/gopsutil/v3/net"

	"github.com/shardmanager/shardmanager/agent/host/cgroup"
	"github.com/shardmanager/shardmanager/internal/load"
)

// reading is what a source said of one scope, and what it could not say, by metric.
type reading struct {
	sample
	failed map[string]error
}

func newReading() reading {
	return reading{
		sample: sample{at: time.Now(), gauges: map[string]int64{}, counters: map[string]map[string]int64{}, limits: map[string]int64{}},
		failed: map[string]error{},
	}
}

// try takes a metric's part of a reading; gopsutil panics on files that are shorter than it expects.
func (r *reading) try(metric string, part func() error) {
	defer func() {
		if cause := recover(); cause != nil {
			r.failed[metric] = fmt.Errorf("unreadable: %v", cause)
		}
	}()
	if err := part(); err != nil {
		r.failed[metric] = err
	}
}

// kernel reads what the kernel knows at once: CPU, memory and network of the host.
func kernel(root fs.FS) func(context.Context) reading {
	cores := int64(0)
	return func(ctx context.Context) reading {
		r := newReading()
		r.try(load.CPUMilli, func() error {
			if cores == 0 { // once: it is the largest file, and cores hardly ever change
				n, err := cpu.CountsWithContext(ctx, true)
				if err != nil || n == 0 {
					return errors.Join(errors.New("number of cores: none found"), err)
				}
				cores = int64(n)
			}
			return r.takeCPU(ctx, cores)
		})
		r.try(load.MemoryBytes, func() error { return r.takeMemory(ctx) })
		r.try(network, func() error { return r.takeNetwork(ctx, root) })
		return r
	}
}

// network stands for both metrics of the network in errors.
const network = "network"

func (r *reading) takeCPU(ctx context.Context, cores int64) error {
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil || len(times) == 0 { // gopsutil has no error for a file that it does not understand
		return errors.Join(errors.New("no CPU times in /proc/stat"), err)
	}
	t := times[0]
	busy := t.User + t.Nice + t.System + t.Irq + t.Softirq // guests are in user; stolen time is no work of ours
	r.counters[load.CPUMilli] = map[string]int64{"": int64(busy * float64(time.Second))}
	r.limits[load.CPUMilli] = cores * 1000
	return nil
}

func (r *reading) takeMemory(ctx context.Context) error {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return err
	}
	if m.Total == 0 {
		return errors.New("no MemTotal in /proc/meminfo")
	}
	r.gauges[load.MemoryBytes] = integer(m.Total - min(m.Available, m.Total))
	r.limits[load.MemoryBytes] = integer(m.Total)
	return nil
}

func (r *reading) takeNetwork(ctx context.Context, root fs.FS) error {
	list, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	counted := interfaces(names, func(name string) bool {
		_, err := fs.Stat(root, "sys/class/net/"+name+"/device")
		return err == nil
	})
	received, sent := map[string]int64{}, map[string]int64{}
	for _, c := range list {
		if counted[c.Name] {
			received[c.Name], sent[c.Name] = integer(c.BytesRecv), integer(c.BytesSent)
		}
	}
	if len(received) > 0 {
		r.counters[load.NetworkReceive], r.counters[load.NetworkTransmit] = received, sent
	}
	return nil
}

// interfaces picks those whose bytes count: the ones with a device, since what bridges, bonds and tunnels carry passes one of those, too;
// where there is none, as in a namespace, all but loopback.
func interfaces(names []string, device func(string) bool) map[string]bool {
	devices, others := map[string]bool{}, map[string]bool{}
	for _, name := range names {
		switch {
		case device(name):
			devices[name] = true
		case name != "lo":
			others[name] = true
		}
	}
	if len(devices) > 0 {
		return devices
	}
	return others
}

// fileSystem reads the file system that a directory is on.
func fileSystem(directory string) func(context.Context) reading {
	return func(ctx context.Context) reading {
		r := newReading()
		r.try(load.DiskBytes, func() error {
			u, err := disk.UsageWithContext(ctx, directory)
			if err != nil {
				return fmt.Errorf("%s: %w", directory, err)
			}
			r.gauges[load.DiskBytes], r.limits[load.DiskBytes] = integer(u.Used), integer(u.Used+u.Free) // what is reserved for root is nobody's
			return nil
		})
		return r
	}
}

// group reads the control group that limits a process.
func group(reader *cgroup.Reader, pid int64) reading {
	r := newReading()
	g := reader.Read(pid)
	r.try(load.CPUMilli, func() error { return g.CPUErr })
	r.try(load.MemoryBytes, func() error { return g.MemoryErr })
	if g.CPU.Path != "" {
		r.counters[load.CPUMilli] = map[string]int64{g.CPU.Path: g.CPU.Used}
	}
	if g.Memory.Path != "" {
		r.gauges[load.MemoryBytes] = g.Memory.Used
	}
	if g.CPU.Limit > 0 {
		r.limits[load.CPUMilli] = g.CPU.Limit
	}
	if g.Memory.Limit > 0 {
		r.limits[load.MemoryBytes] = g.Memory.Limit
	}
	return r
}

func integer(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
