package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/load"
)

// Group is one resource as the group sees it that limits a process most tightly.
type Group struct {
	Path  string // of the group, as far as it is visible; empty: nothing is known of what is used
	Used  int64
	Limit int64 // 0: none
}

// Reading is what is known of a process's groups at one moment. What could not be read is zero, and its error says why.
type Reading struct {
	CPU       Group // Used: nanoseconds since the group was made; Limit: thousandths of a core
	CPUErr    error
	Memory    Group // bytes; Used: without file contents that were not used lately, which the kernel gives back first
	MemoryErr error
}

// Reader reads the groups of processes. It remembers what is mounted where, until something cannot be read. One goroutine may use it.
type Reader struct {
	fsys   fs.FS
	mounts []mount
}

// NewReader reads through fsys, whose root is that of the file system.
func NewReader(fsys fs.FS) *Reader { return &Reader{fsys: fsys} }

// Self is the pid of whoever reads.
const Self = 0

// ErrNoProcess says that there is no process with the pid any more.
var ErrNoProcess = errors.New("no such process")

// Read reads the groups of a process.
func (r *Reader) Read(pid int64) Reading {
	memberships, err := r.memberships(pid)
	if err == nil {
		err = r.findMounts()
	}
	if err != nil {
		return Reading{CPUErr: err, MemoryErr: err}
	}
	var out Reading
	out.CPU, out.CPUErr = r.cpu(memberships)
	out.Memory, out.MemoryErr = r.memory(memberships)
	if out.CPUErr != nil || out.MemoryErr != nil {
		r.mounts = nil
	}
	return out
}

func (r *Reader) memberships(pid int64) ([]membership, error) {
	name := "self"
	if pid != Self {
		name = strconv.FormatInt(pid, 10)
	}
	file := "proc/" + name + "/cgroup"
	text, err := fs.ReadFile(r.fsys, file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH):
		return nil, fmt.Errorf("%w: %w", ErrNoProcess, err)
	case err != nil:
		return nil, err
	}
	list, err := parseMemberships(string(text))
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", file, err)
	}
	return list, nil
}

func (r *Reader) findMounts() error {
	if r.mounts != nil {
		return nil
	}
	text, err := fs.ReadFile(r.fsys, "proc/self/mountinfo")
	if err != nil {
		return err
	}
	r.mounts = parseMounts(string(text))
	return nil
}

// read hands the text of a group's file to parse; false if the group has no such file.
func (r *Reader) read(m mount, group, name string, parse func(string) (int64, error)) (int64, bool, error) {
	text, err := fs.ReadFile(r.fsys, m.file(group, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	n, err := parse(string(text))
	if err != nil {
		return 0, false, fmt.Errorf("/%s: %w", m.file(group, name), err)
	}
	return n, true, nil
}

// tightest finds the group with the smallest limit, the lowest among equals; limit 0: none has one.
func tightest(p place, limit func(mount, string) (int64, bool, error)) (group string, smallest int64, err error) {
	smallest = math.MaxInt64
	for _, level := range levels(p.path) {
		n, ok, err := limit(p.mount, level)
		if err != nil {
			return "", 0, err
		}
		if ok && n > 0 && n < smallest {
			group, smallest = level, n
		}
	}
	if group == "" {
		smallest = 0
	}
	return group, smallest, nil
}

func (r *Reader) memory(memberships []membership) (Group, error) {
	p, ok, err := locate(r.mounts, memberships, "memory")
	if !ok || err != nil {
		return Group{}, err
	}
	limitFile, usedFile, inactive, parse := "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", parseMemoryLimit
	if p.mount.unified {
		limitFile, usedFile, inactive, parse = "memory.max", "memory.current", "inactive_file", parseMemoryMax
	}
	group, limit, err := tightest(p, func(m mount, level string) (int64, bool, error) { return r.read(m, level, limitFile, parse) })
	if err != nil {
		return Group{}, err
	}
	used := func(level string) (int64, bool, error) {
		n, ok, err := r.read(p.mount, level, usedFile, number)
		if !ok || err != nil {
			return 0, false, err
		}
		idle, _, err := r.read(p.mount, level, "memory.stat", func(text string) (int64, error) {
			n, _, err := field(text, inactive)
			return n, err
		})
		return max(n-idle, 0), err == nil, err
	}
	return r.complete(p, group, limit, used)
}

func (r *Reader) cpu(memberships []membership) (Group, error) {
	p, ok, err := locate(r.mounts, memberships, "cpu")
	if !ok || err != nil {
		return Group{}, err
	}
	if p.mount.unified {
		group, limit, err := tightest(p, func(m mount, level string) (int64, bool, error) { return r.read(m, level, "cpu.max", parseCPUMax) })
		if err != nil {
			return Group{}, err
		}
		return r.complete(p, group, limit, func(level string) (int64, bool, error) { return r.read(p.mount, level, "cpu.stat", parseUsage) })
	}
	group, limit, err := tightest(p, r.quota)
	if err != nil {
		return Group{}, err
	}
	accounts, ok, err := locate(r.mounts, memberships, "cpuacct")
	if err != nil || !ok {
		return Group{Limit: limit}, err
	}
	if accounts.path != p.path { // of two hierarchies with different groups only the process's own one is comparable
		group = ""
	}
	return r.complete(accounts, group, limit, func(level string) (int64, bool, error) { return r.read(accounts.mount, level, "cpuacct.usage", number) })
}

// quota reads the two files of version 1.
func (r *Reader) quota(m mount, level string) (int64, bool, error) {
	period, ok, err := r.read(m, level, "cpu.cfs_period_us", number)
	if !ok || err != nil {
		return 0, false, err
	}
	return r.read(m, level, "cpu.cfs_quota_us", func(text string) (int64, error) { return parseQuota(text, strconv.FormatInt(period, 10)) })
}

// parseUsage reads cpu.stat (version 2), in nanoseconds.
func parseUsage(text string) (int64, error) {
	n, ok, err := field(text, "usage_usec")
	if err == nil && !ok {
		err = errors.New("expected a line usage_usec")
	}
	return load.MulDiv(n, int64(time.Microsecond), 1), err
}

// complete adds what is used: of the group that limits, else of the lowest that is accounted for. The top of a hierarchy is the host, or as
// good as that.
func (r *Reader) complete(p place, group string, limit int64, used func(string) (int64, bool, error)) (Group, error) {
	candidates := []string{group}
	if group == "" {
		candidates = levels(p.path)
		candidates = candidates[:len(candidates)-1]
	}
	for _, level := range candidates {
		n, ok, err := used(level)
		if err != nil {
			return Group{}, err
		}
		if ok {
			return Group{Path: "/" + p.mount.file(level, ""), Used: n, Limit: limit}, nil
		}
	}
	return Group{Limit: limit}, nil
}
