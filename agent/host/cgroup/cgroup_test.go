package cgroup_test

import (
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/agent/host/cgroup"
)

// tree is a file system of texts.
type tree map[string]string

func (t tree) fs() fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range t {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// with is the tree with changed files; an empty text takes one away.
func (t tree) with(changes tree) tree {
	out := maps.Clone(t)
	for name, text := range changes {
		out[name] = text
		if text == "" {
			delete(out, name)
		}
	}
	return out
}

const (
	mounts1 = "23 1 0:21 / /proc rw,relatime - proc proc rw\n" +
		"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
		"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
	mounts2   = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	unlimited = "9223372036854771712\n"
)

// v1 is a service in a slice, in version 1, with nothing limited.
var v1 = tree{
	"proc/self/mountinfo":                                        mounts1,
	"proc/7/cgroup":                                              "5:memory:/app.slice/kv\n4:cpu,cpuacct:/app.slice/kv\n1:name=systemd:/\n",
	"sys/fs/cgroup/memory/memory.limit_in_bytes":                 unlimited,
	"sys/fs/cgroup/memory/memory.usage_in_bytes":                 "9000000\n",
	"sys/fs/cgroup/memory/app.slice/memory.limit_in_bytes":       unlimited,
	"sys/fs/cgroup/memory/app.slice/memory.usage_in_bytes":       "5000\n",
	"sys/fs/cgroup/memory/app.slice/memory.stat":                 "cache 7\ninactive_file 1\ntotal_inactive_file 1000\n",
	"sys/fs/cgroup/memory/app.slice/kv/memory.limit_in_bytes":    unlimited,
	"sys/fs/cgroup/memory/app.slice/kv/memory.usage_in_bytes":    "3000\n",
	"sys/fs/cgroup/memory/app.slice/kv/memory.stat":              "total_inactive_file 500\n",
	"sys/fs/cgroup/cpu,cpuacct/cpuacct.usage":                    "99\n",
	"sys/fs/cgroup/cpu,cpuacct/app.slice/cpu.cfs_quota_us":       "-1\n",
	"sys/fs/cgroup/cpu,cpuacct/app.slice/cpu.cfs_period_us":      "100000\n",
	"sys/fs/cgroup/cpu,cpuacct/app.slice/cpuacct.usage":          "80\n",
	"sys/fs/cgroup/cpu,cpuacct/app.slice/kv/cpu.cfs_quota_us":    "-1\n",
	"sys/fs/cgroup/cpu,cpuacct/app.slice/kv/cpu.cfs_period_us":   "100000\n",
	"sys/fs/cgroup/cpu,cpuacct/app.slice/kv/cpuacct.usage":       "70\n",
	"sys/fs/cgroup/cpu,cpuacct/other.slice/cpu.cfs_quota_us":     "1000\n",
	"sys/fs/cgroup/cpu,cpuacct/other.slice/cpu.cfs_period_us":    "100000\n",
	"sys/fs/cgroup/memory/other.slice/memory.limit_in_bytes":     "1\n",
	"sys/fs/cgroup/memory/app.slice/kv/child/memory.usage_bytes": "1\n",
}

// v2 is the same in version 2.
var v2 = tree{
	"proc/self/mountinfo":                       mounts2,
	"proc/self/cgroup":                          "0::/\n",
	"proc/7/cgroup":                             "0::/app.slice/kv\n",
	"sys/fs/cgroup/cpu.stat":                    "usage_usec 99\n",
	"sys/fs/cgroup/memory.stat":                 "inactive_file 1\n",
	"sys/fs/cgroup/app.slice/cpu.max":           "max 100000\n",
	"sys/fs/cgroup/app.slice/cpu.stat":          "usage_usec 80\nuser_usec 50\n",
	"sys/fs/cgroup/app.slice/memory.max":        "max\n",
	"sys/fs/cgroup/app.slice/memory.current":    "5000\n",
	"sys/fs/cgroup/app.slice/memory.stat":       "anon 4000\ninactive_file 1000\n",
	"sys/fs/cgroup/app.slice/kv/cpu.max":        "max 100000\n",
	"sys/fs/cgroup/app.slice/kv/cpu.stat":       "usage_usec 70\n",
	"sys/fs/cgroup/app.slice/kv/memory.max":     "max\n",
	"sys/fs/cgroup/app.slice/kv/memory.current": "3000\n",
	"sys/fs/cgroup/app.slice/kv/memory.stat":    "inactive_file 500\n",
}

const (
	cpu1, memory1 = "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"
	top2          = "/sys/fs/cgroup"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tree        tree
		pid         int64
		cpu, memory cgroup.Group
	}{
		"v1, unlimited: the process's own group": {v1, 7, cgroup.Group{Path: cpu1 + "/app.slice/kv", Used: 70}, cgroup.Group{Path: memory1 + "/app.slice/kv", Used: 2500}},
		"v1, limited by its own group": {v1.with(tree{
			"sys/fs/cgroup/memory/app.slice/kv/memory.limit_in_bytes": "10000\n", "sys/fs/cgroup/cpu,cpuacct/app.slice/kv/cpu.cfs_quota_us": "150000\n",
		}), 7, cgroup.Group{Path: cpu1 + "/app.slice/kv", Used: 70, Limit: 1500}, cgroup.Group{Path: memory1 + "/app.slice/kv", Used: 2500, Limit: 10000}},
		"v1, limited from above": {v1.with(tree{
			"sys/fs/cgroup/memory/app.slice/kv/memory.limit_in_bytes": "10000\n", "sys/fs/cgroup/memory/app.slice/memory.limit_in_bytes": "8000\n",
			"sys/fs/cgroup/cpu,cpuacct/app.slice/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu,cpuacct/app.slice/cpu.cfs_period_us": "25000\n",
		}), 7, cgroup.Group{Path: cpu1 + "/app.slice", Used: 80, Limit: 2000}, cgroup.Group{Path: memory1 + "/app.slice", Used: 4000, Limit: 8000}},
		"v1, CPU time accounted elsewhere": {v1.with(tree{
			"proc/self/mountinfo": "1 1 0:1 / /cpu rw - cgroup cgroup rw,cpu\n2 1 0:2 / /acct rw - cgroup cgroup rw,cpuacct\n",
			"proc/7/cgroup":       "2:cpuacct:/other\n1:cpu:/kv\n", "cpu/kv/cpu.cfs_quota_us": "10000\n", "cpu/kv/cpu.cfs_period_us": "100000\n", "acct/other/cpuacct.usage": "5\n",
		}), 7, cgroup.Group{Path: "/acct/other", Used: 5, Limit: 100}, cgroup.Group{}},
		"v1, a container sees its own group as the top": {tree{
			"proc/self/mountinfo":                        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			"proc/7/cgroup":                              "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "1500\n",
			"sys/fs/cgroup/memory/memory.stat":           "total_inactive_file 1600\n",
		}, 7, cgroup.Group{}, cgroup.Group{Path: memory1, Used: 0, Limit: 2000}},
		"v2, unlimited: the process's own group": {v2, 7, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 70_000}, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 2500}},
		"v2, limited by its own group": {v2.with(tree{
			"sys/fs/cgroup/app.slice/kv/cpu.max": "50000 100000\n", "sys/fs/cgroup/app.slice/kv/memory.max": "10000\n",
		}), 7, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 70_000, Limit: 500}, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 2500, Limit: 10000}},
		"v2, each resource limited elsewhere": {v2.with(tree{
			"sys/fs/cgroup/app.slice/kv/cpu.max": "50000 100000\n", "sys/fs/cgroup/app.slice/cpu.max": "300000 100000\n", "sys/fs/cgroup/app.slice/memory.max": "8000\n",
		}), 7, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 70_000, Limit: 500}, cgroup.Group{Path: top2 + "/app.slice", Used: 4000, Limit: 8000}},
		"v2, equal limits: the lower group": {v2.with(tree{
			"sys/fs/cgroup/app.slice/kv/memory.max": "8000\n", "sys/fs/cgroup/app.slice/memory.max": "8000\n",
		}), 7, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 70_000}, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 2500, Limit: 8000}},
		"v2, the controller is on for the slice only": {v2.with(tree{
			"sys/fs/cgroup/app.slice/kv/memory.max": "", "sys/fs/cgroup/app.slice/kv/memory.current": "", "sys/fs/cgroup/app.slice/kv/memory.stat": "",
		}), 7, cgroup.Group{Path: top2 + "/app.slice/kv", Used: 70_000}, cgroup.Group{Path: top2 + "/app.slice", Used: 4000}},
		"v2, at the top nothing limits but the host": {v2, cgroup.Self, cgroup.Group{}, cgroup.Group{}},
		"v2, a namespace's top is a group":           {v2.with(tree{"sys/fs/cgroup/memory.max": "6000\n", "sys/fs/cgroup/memory.current": "4000\n"}), cgroup.Self, cgroup.Group{}, cgroup.Group{Path: top2, Used: 3999, Limit: 6000}},
		"hybrid: version 1 has the controllers": {v1.with(tree{
			"proc/self/mountinfo": mounts1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"proc/7/cgroup":       "5:memory:/app.slice/kv\n4:cpu,cpuacct:/app.slice\n0::/app.slice/kv\n",
			"sys/fs/cgroup/unified/app.slice/kv/memory.max": "1\n",
		}), 7, cgroup.Group{Path: cpu1 + "/app.slice", Used: 80}, cgroup.Group{Path: memory1 + "/app.slice/kv", Used: 2500}},
		"hybrid: version 2 has the memory": {v1.with(v2).with(tree{
			"proc/self/mountinfo":              "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" + "41 31 0:38 / /unified rw - cgroup2 cgroup2 rw\n",
			"proc/7/cgroup":                    "4:cpu,cpuacct:/app.slice\n0::/app.slice\n",
			"unified/app.slice/memory.max":     "7000\n",
			"unified/app.slice/memory.current": "600\n",
		}), 7, cgroup.Group{Path: cpu1 + "/app.slice", Used: 80}, cgroup.Group{Path: "/unified/app.slice", Used: 600, Limit: 7000}},
		"no cgroups": {tree{"proc/self/mountinfo": "23 1 0:21 / /proc rw - proc proc rw\n", "proc/7/cgroup": "0::/\n"}, 7, cgroup.Group{}, cgroup.Group{}},
		"a path with blanks": {tree{
			"proc/self/mountinfo": `30 23 0:26 / /my\040groups rw - cgroup2 cgroup2 rw` + "\n", "proc/7/cgroup": "0::/a:b c\n",
			"my groups/a:b c/memory.max": "18446744073709551615\n", "my groups/a:b c/memory.current": "1\n",
		}, 7, cgroup.Group{}, cgroup.Group{Path: "/my groups/a:b c", Used: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := cgroup.NewReader(c.tree.fs()).Read(c.pid)
			if got.CPUErr != nil || got.MemoryErr != nil {
				t.Fatalf("%v, %v", got.CPUErr, got.MemoryErr)
			}
			if diff := cmp.Diff(c.cpu, got.CPU); diff != "" {
				t.Errorf("CPU: %s", diff)
			}
			if diff := cmp.Diff(c.memory, got.Memory); diff != "" {
				t.Errorf("memory: %s", diff)
			}
		})
	}
}

// What is broken says where, and leaves alone what is not.
func TestReadBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tree   tree
		cpu    string // part of the error; empty: none
		memory string
	}{
		"no such process":     {v2.with(tree{"proc/7/cgroup": ""}), cgroup.ErrNoProcess.Error(), cgroup.ErrNoProcess.Error()},
		"nothing of groups":   {v2.with(tree{"proc/7/cgroup": "\n"}), "/proc/7/cgroup: line", "/proc/7/cgroup: line"},
		"no mounts":           {v2.with(tree{"proc/self/mountinfo": ""}), "mountinfo", "mountinfo"},
		"a limit":             {v2.with(tree{"sys/fs/cgroup/app.slice/memory.max": "lots\n"}), "", `/sys/fs/cgroup/app.slice/memory.max: "lots": expected a number`},
		"usage":               {v2.with(tree{"sys/fs/cgroup/app.slice/kv/cpu.stat": "nr_periods 0\n"}), "usage_usec", ""},
		"a quota":             {v2.with(tree{"sys/fs/cgroup/app.slice/kv/cpu.max": "1 2 3\n"}), "expected a quota and a period", ""},
		"statistics":          {v1.with(tree{"sys/fs/cgroup/memory/app.slice/kv/memory.stat": "total_inactive_file x\n"}), "", "memory.stat"},
		"a group not visible": {v2.with(tree{"proc/7/cgroup": "0::/../elsewhere\n"}), "/../elsewhere lies outside", "/../elsewhere lies outside"},
		"a group beside the mount": {v2.with(tree{
			"proc/self/mountinfo": "30 23 0:26 /docker/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "proc/7/cgroup": "0::/docker/ab\n",
		}), "/docker/ab lies outside", "/docker/ab lies outside"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := cgroup.NewReader(c.tree.fs()).Read(7)
			about(t, "CPU", got.CPUErr, c.cpu)
			about(t, "memory", got.MemoryErr, c.memory)
			if (got.CPUErr == nil) != (got.CPU != cgroup.Group{}) || (got.MemoryErr == nil) != (got.Memory != cgroup.Group{}) {
				t.Errorf("read %+v: expected either a group or an error", got)
			}
		})
	}
}

func about(t *testing.T, what string, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		t.Errorf("%s: error %v, expected %q in it", what, err, part)
	}
}

// A hierarchy that was mounted elsewhere meanwhile is found again after one failure.
func TestReadAfterRemount(t *testing.T) {
	t.Parallel()
	files := v2.with(tree{"sys/fs/cgroup/app.slice/kv/memory.max": "8000\n"}).fs()
	reader := cgroup.NewReader(files)
	if got := reader.Read(7).Memory.Limit; got != 8000 {
		t.Fatalf("limit %d", got)
	}
	files["proc/self/mountinfo"].Data = []byte(strings.ReplaceAll(mounts2, "/sys/fs/cgroup", "/groups"))
	files["groups/app.slice/kv/memory.max"] = &fstest.MapFile{Data: []byte("4000\n")}
	files["sys/fs/cgroup/app.slice/kv/memory.max"].Data = []byte("gone\n")
	if err := reader.Read(7).MemoryErr; err == nil {
		t.Error("no error of a broken file")
	}
	if got := reader.Read(7); got.Memory.Limit != 4000 || got.MemoryErr != nil {
		t.Errorf("after the remount: %+v", got)
	}
}

// FuzzRead: whatever the kernel or a forger writes, there is no panic, and nothing is negative.
func FuzzRead(f *testing.F) {
	f.Add(mounts1, "5:memory:/a\n4:cpu,cpuacct:/a\n", "100\n", "7 8")
	f.Add(mounts2, "0::/a\n", "max\n", "max 100000")
	f.Add(mounts2, "0::/a\n", "18446744073709551615", "usage_usec 18446744073709551615")
	f.Add(`1 1 0:1 /x\ /y\040 rw - cgroup2 x y`, "0::/x/../..\n", "-1", "-1 0")
	f.Fuzz(func(t *testing.T, mounts, groups, bytes, quota string) {
		files := tree{"proc/self/mountinfo": mounts, "proc/7/cgroup": groups}
		for _, dir := range []string{"sys/fs/cgroup/memory/a/", "sys/fs/cgroup/cpu,cpuacct/a/", "sys/fs/cgroup/a/"} {
			for _, name := range []string{"memory.max", "memory.current", "memory.stat", "memory.limit_in_bytes", "memory.usage_in_bytes", "cpuacct.usage"} {
				files[dir+name] = bytes
			}
			for _, name := range []string{"cpu.max", "cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us"} {
				files[dir+name] = quota
			}
		}
		got := cgroup.NewReader(files.fs()).Read(7)
		for _, g := range []cgroup.Group{got.CPU, got.Memory} {
			if g.Used < 0 || g.Limit < 0 {
				t.Errorf("negative: %+v", g)
			}
		}
	})
}

// TestReadReal: the kernel's own files can be read.
func TestReadReal(t *testing.T) {
	t.Parallel()
	root := os.DirFS("/")
	if _, err := fs.Stat(root, "proc/self/cgroup"); err != nil {
		t.Skipf("no cgroups here: %v", err)
	}
	reader := cgroup.NewReader(root)
	got := reader.Read(cgroup.Self)
	if got.CPUErr != nil || got.MemoryErr != nil {
		t.Fatalf("CPU: %v; memory: %v", got.CPUErr, got.MemoryErr)
	}
	if diff := cmp.Diff(got.Memory.Path, reader.Read(int64(os.Getpid())).Memory.Path); diff != "" {
		t.Errorf("by its pid the process is in another group: %s", diff)
	}
}
