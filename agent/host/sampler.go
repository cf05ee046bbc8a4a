package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/agent/host/cgroup"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// DefaultEvery is how often everything is read, and DefaultHalfLife is after what time half of what was known before is forgotten.
	DefaultEvery    = 2 * time.Second
	DefaultHalfLife = 5 * time.Second
	// missedReadings is how many readings of a source may come to nothing, because an earlier one does not end, before its metrics are
	// forgotten and this is told.
	missedReadings = 3
)

// Config is what a Sampler measures.
type Config struct {
	Directory string        // on the file system that counts as the disk
	Every     time.Duration // 0: DefaultEvery
	HalfLife  time.Duration // 0: DefaultHalfLife
}

// Deps is what a Sampler works with.
type Deps struct {
	Root fs.FS // whose proc and sys are read for control groups; nil: the host's
	// Trouble is told what cannot be read, once until it can be again: then err is nil. It must not call the Sampler.
	Trouble func(what string, err error)
}

// Sampler measures. Make it with New, Run it once; everything else may be called at any time and never waits for a reading.
type Sampler struct {
	cfg     Config
	root    fs.FS
	trouble func(string, error)
	lanes   []*lane

	mu      sync.Mutex
	watched map[string]int64 // pid by name
	known   map[*lane]map[string]load.Resources
	number  uint64 // of the newest sample
}

// lane is one source with a goroutine of its own. Its fields belong to that goroutine.
type lane struct {
	name    string
	read    func(context.Context) map[string]reading // by scope: "" is the host, others are watched
	meters  map[string]*meter
	failing map[string]bool
	first   chan struct{} // closed after the first reading
}

// self is the scope of the agent's own process.
const self = "the agent"

// New makes a Sampler. The error says what is wrong with the directory.
func New(cfg Config, deps Deps) (*Sampler, error) {
	info, err := os.Stat(cfg.Directory)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: not a directory", cfg.Directory)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: name a directory on the file system with the applications' data", err)
	}
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.HalfLife == 0 {
		cfg.HalfLife = DefaultHalfLife
	}
	if deps.Root == nil {
		deps.Root = os.DirFS("/")
	}
	s := &Sampler{cfg: cfg, root: deps.Root, trouble: deps.Trouble, watched: map[string]int64{self: cgroup.Self}, known: map[*lane]map[string]load.Resources{}}
	host := func(read func(context.Context) reading) func(context.Context) map[string]reading {
		return func(ctx context.Context) map[string]reading { return map[string]reading{"": read(ctx)} }
	}
	s.lanes = []*lane{newLane("host", host(kernel(deps.Root))), newLane("disk", host(fileSystem(cfg.Directory))), newLane("cgroup", s.groups())}
	return s, nil
}

func newLane(name string, read func(context.Context) map[string]reading) *lane {
	return &lane{name: name, read: read, meters: map[string]*meter{}, failing: map[string]bool{}, first: make(chan struct{})}
}

// groups reads the groups of all that is watched.
func (s *Sampler) groups() func(context.Context) map[string]reading {
	reader := cgroup.NewReader(s.root)
	return func(context.Context) map[string]reading {
		s.mu.Lock()
		watched := maps.Clone(s.watched)
		s.mu.Unlock()
		out := map[string]reading{}
		for name, pid := range watched {
			r := group(reader, pid)
			maps.DeleteFunc(r.failed, func(_ string, err error) bool { return errors.Is(err, cgroup.ErrNoProcess) }) // it will be forgotten soon
			out[name] = r
		}
		return out
	}
}

// Watch measures the group of a process from now on, under a name that is used for no other one.
func (s *Sampler) Watch(name string, pid int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[name] = pid
}

// Forget ends what Watch began.
func (s *Sampler) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watched, name)
}

// Usage is what is known now of the host, and of the group of the process watched under a name; of the agent's own group if none is. The
// number grows with each sample; 0: there was none yet.
func (s *Sampler) Usage(name string) (load.Usage, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.watched[name]; !ok {
		name = self
	}
	var u load.Usage
	for _, l := range s.lanes {
		u.Host = together(u.Host, s.known[l][""])
		u.Cgroup = together(u.Cgroup, s.known[l][name])
	}
	return u, s.number
}

// Run measures until ctx ends. It does not wait for a reading that does not end.
func (s *Sampler) Run(ctx context.Context) {
	var lanes sync.WaitGroup
	for _, l := range s.lanes {
		lanes.Go(func() { s.follow(ctx, l) })
	}
	lanes.Wait()
}

// follow reads a source again and again, never twice at once.
func (s *Sampler) follow(ctx context.Context, l *lane) {
	ticker := time.NewTicker(s.cfg.Every)
	defer ticker.Stop()
	readings := make(chan map[string]reading, 1)
	begin := func() { go func() { readings <- l.read(ctx) }() }
	begin()
	for missed, under := 0, true; ; {
		select {
		case <-ctx.Done():
			return
		case r := <-readings:
			s.take(l, r)
			missed, under = 0, false
		case <-ticker.C:
			if !under {
				under = true
				begin()
				continue
			}
			if missed++; missed == missedReadings {
				s.lose(l, time.Duration(missed)*s.cfg.Every)
			}
		}
	}
}

// take publishes what a reading says.
func (s *Sampler) take(l *lane, readings map[string]reading) {
	known, failing := map[string]load.Resources{}, map[string]bool{}
	for _, scope := range shard.SortedKeys(readings) {
		m := l.meters[scope]
		if m == nil {
			m = &meter{halfLife: s.cfg.HalfLife}
			l.meters[scope] = m
		}
		known[scope] = m.take(readings[scope].sample)
		for _, metric := range shard.SortedKeys(readings[scope].failed) {
			what := strings.TrimSpace(scope + " " + metric)
			failing[what] = true
			if !l.failing[what] {
				s.trouble(l.name+": "+what, readings[scope].failed[metric])
			}
		}
	}
	for _, what := range shard.SortedKeys(l.failing) {
		if !failing[what] {
			s.trouble(l.name+": "+what, nil)
		}
	}
	l.failing = failing
	maps.DeleteFunc(l.meters, func(scope string, _ *meter) bool {
		_, there := readings[scope]
		return !there
	})
	s.publish(l, known)
	select {
	case <-l.first:
	default:
		close(l.first)
	}
}

// errSilent: a reading has not ended.
var errSilent = errors.New("does not answer")

// lose forgets what a silent source said.
func (s *Sampler) lose(l *lane, after time.Duration) {
	const what = "everything"
	l.failing[what] = true
	clear(l.meters)
	s.trouble(l.name+": "+what, fmt.Errorf("%w for %s: is it a file system on another machine?", errSilent, after))
	s.publish(l, nil)
}

func (s *Sampler) publish(l *lane, known map[string]load.Resources) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[l] = known
	s.number++
}
