package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shirou/gopsutil/v3/common"

	"github.com/shardmanager/shardmanager/internal/load"
)

// troubles notes what is told.
type troubles struct {
	mu   sync.Mutex
	list []string
}

func (t *troubles) note(what string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		what += ": " + err.Error()
	}
	t.list = append(t.list, what)
}

func (t *troubles) told() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.list)
}

// fake is a source that says what it is set to.
type fake struct {
	mu     sync.Mutex
	gauges values
	failed map[string]error
	stuck  chan struct{} // not nil: it answers once this is closed
}

func (f *fake) set(gauges values, failed map[string]error, stuck chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gauges, f.failed, f.stuck = gauges, failed, stuck
}

func (f *fake) read(context.Context) map[string]reading {
	f.mu.Lock()
	gauges, failed, stuck := f.gauges, f.failed, f.stuck
	f.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	r := newReading()
	r.gauges, r.failed = gauges, failed
	return map[string]reading{"": r}
}

// sampling runs a Sampler over fakes in a bubble of virtual time.
func sampling(t *testing.T, body func(s *Sampler, quick, slow *fake, told *troubles)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		quick, slow, told := &fake{gauges: values{"q": 1}}, &fake{gauges: values{"s": 1}}, &troubles{}
		s := &Sampler{
			cfg: Config{Every: time.Second, HalfLife: time.Second}, trouble: told.note, watched: map[string]int64{}, known: map[*lane]map[string]load.Resources{},
			lanes: []*lane{newLane("quick", quick.read), newLane("slow", slow.read)},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		synctest.Wait()
		body(s, quick, slow, told)
		cancel()
		<-done
	})
}

// after is what is used after a time.
func after(s *Sampler, d time.Duration) values {
	<-time.After(d)
	synctest.Wait()
	u, _ := s.Usage("")
	return u.Host.Used
}

// A source that does not answer delays nobody, is told once, and comes back by itself.
func TestSilentSource(t *testing.T) {
	t.Parallel()
	sampling(t, func(s *Sampler, quick, slow *fake, told *troubles) {
		if diff := cmp.Diff(values{"q": 1, "s": 1}, after(s, 500*time.Millisecond)); diff != "" {
			t.Fatal(diff)
		}
		stuck := make(chan struct{})
		slow.set(values{"s": 7}, nil, stuck)
		quick.set(values{"q": 3}, nil, nil)
		if diff := cmp.Diff(values{"q": 2, "s": 1}, after(s, time.Second)); diff != "" {
			t.Errorf("while it is silent only now: %s", diff)
		}
		_, number := s.Usage("")
		if used := after(s, 10*time.Second); used["q"] == 0 || used["s"] != 0 {
			t.Errorf("long silent: %v", used)
		}
		if _, n := s.Usage(""); n <= number {
			t.Errorf("number %d, %d before", n, number)
		}
		want := []string{"slow: everything: does not answer for 3s: is it a file system on another machine?"}
		if diff := cmp.Diff(want, told.told()); diff != "" {
			t.Errorf("told: %s", diff)
		}
		slow.set(values{"s": 7}, nil, nil)
		close(stuck)
		if used := after(s, time.Second); used["s"] != 7 {
			t.Errorf("it answers again: %v", used)
		}
		if diff := cmp.Diff(append(want, "slow: everything"), told.told()); diff != "" {
			t.Errorf("told: %s", diff)
		}
	})
}

// The end does not wait for a reading that does not end.
func TestEndWhileSilent(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	l := newLane("slow", func(context.Context) map[string]reading { <-stuck; return nil })
	s := &Sampler{cfg: Config{Every: time.Millisecond}, trouble: func(string, error) {}, known: map[*lane]map[string]load.Resources{}, lanes: []*lane{l}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	if _, err := s.Limits(expired(t), 1); err == nil || !strings.Contains(err.Error(), "not measured yet") {
		t.Errorf("limits of a host that is not measured: error %v", err)
	}
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("Run waits")
	}
	close(stuck)
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A metric that fails is told when that begins and when it ends, however often it fails and whatever it says.
func TestTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	sampling(t, func(s *Sampler, quick, _ *fake, told *troubles) {
		quick.set(values{"other": 5}, map[string]error{"q": errors.New("broken")}, nil)
		if diff := cmp.Diff(values{"other": 5, "s": 1}, after(s, 1500*time.Millisecond)); diff != "" {
			t.Error(diff)
		}
		quick.set(values{"other": 5}, map[string]error{"q": errors.New("broken in another way")}, nil)
		after(s, 5*time.Second)
		quick.set(values{"q": 4}, nil, nil)
		if diff := cmp.Diff(values{"q": 4, "s": 1}, after(s, time.Second)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"quick: q: broken", "quick: q"}, told.told()); diff != "" {
			t.Errorf("told: %s", diff)
		}
	})
}

// proc makes a /proc for gopsutil.
func proc(t *testing.T, files map[string]string) context.Context {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return context.WithValue(t.Context(), common.EnvKey, common.EnvMap{common.HostProcEnvKey: dir})
}

var goodProc = map[string]string{
	"stat":    "cpu  100 20 30 1000 5 6 7 50 40 0\ncpu0 100 20 30 1000 5 6 7 50 40 0\n",
	"cpuinfo": "processor : 0\n\nprocessor : 1\n",
	"meminfo": "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\nBuffers: 1 kB\nCached: 2 kB\n",
	"net/dev": "Inter-| Receive | Transmit\n face |bytes packets\n" +
		"    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0\n  eth0: 111 1 0 0 0 0 0 0 222 1 0 0 0 0 0 0\n  tun0: 50 1 0 0 0 0 0 0 60 1 0 0 0 0 0 0\n",
}

func TestKernel(t *testing.T) {
	t.Parallel()
	sys := fstest.MapFS{"sys/class/net/eth0/device": &fstest.MapFile{Mode: fs.ModeDir}}
	r := kernel(sys)(proc(t, goodProc))
	if len(r.failed) > 0 {
		t.Fatalf("failed: %v", r.failed)
	}
	const tick = int64(10 * time.Millisecond)
	want := sample{
		at: r.at, gauges: values{load.MemoryBytes: 400 << 10}, limits: values{load.MemoryBytes: 1000 << 10, load.CPUMilli: 2000},
		counters: counters{load.CPUMilli: {"": 163 * tick}, load.NetworkReceive: {"eth0": 111}, load.NetworkTransmit: {"eth0": 222}},
	}
	if diff := cmp.Diff(want, r.sample, cmp.AllowUnexported(sample{})); diff != "" {
		t.Error(diff)
	}
}

// Whatever is broken in /proc is an error of its metric, and the others are there.
func TestKernelBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, text, metric string }{
		"no stat":       {"stat", "", load.CPUMilli},
		"foreign stat":  {"stat", "nonsense\n", load.CPUMilli},
		"no meminfo":    {"meminfo", "", load.MemoryBytes},
		"short meminfo": {"meminfo", "MemTotal:\n", load.MemoryBytes},
		"no net/dev":    {"net/dev", "", network},
		"short net/dev": {"net/dev", "a\nb\n eth0: 1 2\n", network},
		"empty net/dev": {"net/dev", "\n", network},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for file, text := range goodProc {
				if file != c.file {
					files[file] = text
				} else if c.text != "" {
					files[file] = c.text
				}
			}
			r := kernel(fstest.MapFS{})(proc(t, files))
			if r.failed[c.metric] == nil || len(r.failed) != 1 {
				t.Errorf("failed %v, expected %s", r.failed, c.metric)
			}
			known := len(r.gauges) + len(r.counters)
			if want := map[string]int{load.CPUMilli: 3, load.MemoryBytes: 3, network: 2}[c.metric]; known != want {
				t.Errorf("%d metrics are known, expected %d: %+v", known, want, r.sample)
			}
		})
	}
}

func TestFileSystem(t *testing.T) {
	t.Parallel()
	r := fileSystem(t.TempDir())(t.Context())
	if used, size := r.gauges[load.DiskBytes], r.limits[load.DiskBytes]; used <= 0 || size <= used {
		t.Errorf("%d of %d bytes used, %v", used, size, r.failed)
	}
	if r := fileSystem("/nowhere")(t.Context()); r.failed[load.DiskBytes] == nil || len(r.gauges) > 0 {
		t.Errorf("a missing directory: %+v", r)
	}
}

const groupMounts = "30 23 0:26 / /groups rw - cgroup2 cgroup2 rw\n"

// The limits for a process are its group's where that is tighter; what the group may limit and cannot be read is left out.
func TestLimits(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"proc/self/mountinfo": groupMounts, "proc/self/cgroup": "0::/\n", "proc/7/cgroup": "0::/kv\n", "proc/8/cgroup": "0::/broken\n",
		"groups/kv/memory.max": "4096\n", "groups/kv/memory.current": "99\n", "groups/kv/cpu.max": "1000000000000 100000\n", "groups/kv/cpu.stat": "usage_usec 1\n",
		"groups/broken/memory.max": "x\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	told := &troubles{}
	s, err := New(Config{Directory: t.TempDir()}, Deps{Root: files, Trouble: told.note})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(proc(t, goodProc))
	defer cancel()
	go s.Run(ctx)
	limits, err := s.Limits(t.Context(), 7)
	if err != nil || limits[load.MemoryBytes] != 4096 || limits[load.CPUMilli] != 2000 || limits[load.DiskBytes] <= 0 {
		t.Errorf("limits %v, %v", limits, err)
	}
	limits, err = s.Limits(t.Context(), 8)
	if _, ok := limits[load.MemoryBytes]; ok || limits[load.CPUMilli] != 2000 || err == nil || !strings.Contains(err.Error(), "process 8: memory_bytes: /groups/broken/memory.max") {
		t.Errorf("limits of a broken group: %v, %v", limits, err)
	}
	if limits, err := s.Limits(t.Context(), 9); err == nil || limits[load.DiskBytes] <= 0 || len(limits) != 1 {
		t.Errorf("limits of no process: %v, %v", limits, err)
	}
	stated := values{load.MemoryBytes: 5}
	if c, err := s.Capacity(t.Context(), stated, []string{All}, 8); err != nil || c[load.MemoryBytes] != 5 || c[load.CPUMilli] != 2000 || len(stated) != 1 {
		t.Errorf("capacity where the broken metric is stated: %v, %v", c, err)
	}
	if c, err := s.Capacity(t.Context(), nil, []string{All}, 8); err == nil || len(c) != 2 || !strings.Contains(err.Error(), "memory.max") || !strings.Contains(err.Error(), "state them by capacity") {
		t.Errorf("capacity with a broken group: %v, %v", c, err)
	}
}

// What is watched has its group's usage; nobody's is that of the agent's group. A process that is gone is no trouble.
func TestWatch(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"proc/self/mountinfo": groupMounts, "proc/self/cgroup": "0::/agent\n", "proc/7/cgroup": "0::/kv\n",
		"groups/kv/memory.max": "4096\n", "groups/kv/memory.current": "99\n", "groups/agent/memory.current": "11\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	told := &troubles{}
	s, err := New(Config{Directory: t.TempDir(), Every: time.Millisecond}, Deps{Root: files, Trouble: told.note})
	if err != nil {
		t.Fatal(err)
	}
	s.Watch("kv", 7)
	s.Watch("gone", 9)
	ctx, cancel := context.WithCancel(proc(t, goodProc))
	defer cancel()
	go s.Run(ctx)
	if _, err := s.Limits(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	of := func(name string) load.Resources {
		u, _ := s.Usage(name)
		return u.Cgroup
	}
	if diff := cmp.Diff(load.Resources{Used: values{load.MemoryBytes: 99}, Limit: values{load.MemoryBytes: 4096}}, of("kv")); diff != "" {
		t.Error(diff)
	}
	if got := of("other").Used[load.MemoryBytes]; got != 11 {
		t.Errorf("of nobody: %d", got)
	}
	if got := of("gone"); len(got.Used)+len(got.Limit) > 0 {
		t.Errorf("of a process that is gone: %v", got)
	}
	s.Forget("kv")
	if got := of("kv").Used[load.MemoryBytes]; got != 11 {
		t.Errorf("after it was forgotten: %d", got)
	}
	if list := told.told(); len(list) > 0 {
		t.Errorf("told %q", list)
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, directory := range []string{"/nowhere", file} {
		if _, err := New(Config{Directory: directory}, Deps{}); err == nil || !strings.Contains(err.Error(), directory) || !strings.Contains(err.Error(), "name a directory") {
			t.Errorf("%s: error %v", directory, err)
		}
	}
}
