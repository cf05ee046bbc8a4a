package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/load"
)

type (
	values   = map[string]int64
	counters = map[string]map[string]int64
)

// At each step a sample comes a second after the one before, with a half-life of a second: half of the way to a new value is gone.
func TestMeter(t *testing.T) {
	t.Parallel()
	const core = int64(time.Second) // of CPU time
	for name, c := range map[string]struct {
		samples []sample
		want    []values // used after each
	}{
		"a gauge begins where it is, and is smoothed": {
			[]sample{{gauges: values{"m": 100}}, {gauges: values{"m": 200}}, {gauges: values{"m": 200}}, {gauges: values{"m": 0}}},
			[]values{{"m": 100}, {"m": 150}, {"m": 175}, {"m": 87}},
		},
		"CPU time becomes thousandths of a core": {
			[]sample{{counters: counters{load.CPUMilli: {"": 5 * core}}}, {counters: counters{load.CPUMilli: {"": 5*core + core/2}}}, {counters: counters{load.CPUMilli: {"": 7 * core}}}},
			[]values{{}, {load.CPUMilli: 500}, {load.CPUMilli: 1000}},
		},
		"bytes are summed over what was there before": {
			[]sample{{counters: counters{"n": {"a": 10, "b": 0}}}, {counters: counters{"n": {"a": 30, "b": 5, "new": 1 << 40}}}, {counters: counters{"n": {"a": 55, "new": 1 << 40}}}},
			[]values{{}, {"n": 25}, {"n": 25}},
		},
		"a counter that began anew says nothing": {
			[]sample{{counters: counters{"n": {"a": 10}}}, {counters: counters{"n": {"a": 3}}}, {counters: counters{"n": {"a": 5}}}},
			[]values{{}, {}, {"n": 2}},
		},
		"another group's counter is not compared": {
			[]sample{{counters: counters{"n": {"a": 10}}}, {counters: counters{"n": {"b": 90}}}},
			[]values{{}, {}},
		},
		"what goes missing is forgotten": {
			[]sample{{gauges: values{"m": 100}}, {}, {gauges: values{"m": 300}}},
			[]values{{"m": 100}, {}, {"m": 300}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := meter{halfLife: time.Second}
			at := time.Unix(1000, 0)
			for i, s := range c.samples {
				s.at = at.Add(time.Duration(i) * time.Second)
				if diff := cmp.Diff(c.want[i], m.take(s).Used); diff != "" {
					t.Errorf("sample %d: %s", i, diff)
				}
			}
		})
	}
}

func TestMeterClockStandsStill(t *testing.T) {
	t.Parallel()
	m := meter{halfLife: time.Second}
	s := sample{at: time.Unix(1000, 0), gauges: values{"m": 1}, counters: counters{"n": {"": 1}}, limits: values{"m": 9}}
	m.take(s)
	s.gauges, s.counters = values{"m": 50}, counters{"n": {"": 50}}
	if diff := cmp.Diff(load.Resources{Used: values{"m": 1}, Limit: values{"m": 9}}, m.take(s)); diff != "" {
		t.Errorf("two samples at one moment: %s", diff)
	}
}

func TestRateSaturates(t *testing.T) {
	t.Parallel()
	const most = 1<<63 - 1
	rate, ok := rateOf("n", values{"a": 0, "b": 0}, values{"a": most, "b": most}, time.Second)
	if !ok || rate != most {
		t.Errorf("rate %d, %v", rate, ok)
	}
}

func TestInterfaces(t *testing.T) {
	t.Parallel()
	device := func(name string) bool { return name == "eth0" || name == "eth1" }
	for name, c := range map[string]struct {
		names []string
		want  map[string]bool
	}{
		"bridges and tunnels are counted at the device": {[]string{"lo", "eth0", "eth1", "docker0", "veth1", "bond0"}, map[string]bool{"eth0": true, "eth1": true}},
		"a namespace has no device":                     {[]string{"lo", "veth1"}, map[string]bool{"veth1": true}},
		"loopback only":                                 {[]string{"lo"}, map[string]bool{}},
	} {
		if diff := cmp.Diff(c.want, interfaces(c.names, device)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	limits := values{load.CPUMilli: 2000, load.MemoryBytes: 1 << 30}
	for name, c := range map[string]struct {
		stated  values
		wanted  []string
		want    values
		missing []string
	}{
		"nothing wanted":            {values{"shards": 9}, nil, values{"shards": 9}, nil},
		"nothing at all":            {nil, nil, nil, nil},
		"measured":                  {nil, []string{load.CPUMilli}, values{load.CPUMilli: 2000}, nil},
		"beside what is stated":     {values{"shards": 9}, []string{load.MemoryBytes}, values{"shards": 9, load.MemoryBytes: 1 << 30}, nil},
		"what is stated wins":       {values{load.CPUMilli: 500}, []string{load.CPUMilli}, values{load.CPUMilli: 500}, nil},
		"even a 0":                  {values{load.DiskBytes: 0}, []string{load.DiskBytes}, values{load.DiskBytes: 0}, nil},
		"all, of which one is lost": {nil, []string{All}, limits, []string{load.DiskBytes}},
	} {
		got, missing := complete(c.stated, c.wanted, limits)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(c.missing, missing); diff != "" {
			t.Errorf("%s: missing: %s", name, diff)
		}
	}
}
