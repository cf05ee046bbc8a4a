package latency

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const ms = time.Millisecond

func at(x, y time.Duration) Coordinate {
	return Coordinate{Vector: []time.Duration{x, y}, Height: ms / 2, Error: 100}
}

func TestDistance(t *testing.T) {
	for name, c := range map[string]struct {
		a, b Coordinate
		want time.Duration // 0: none
	}{
		"straight, and both heights": {at(0, 0), at(3*ms, 4*ms), 6 * ms},
		"the same place":             {at(7*ms, 0), at(7*ms, 0), ms},
		"adjusted":                   {Coordinate{Vector: []time.Duration{0}, Adjustment: -2 * ms}, Coordinate{Vector: []time.Duration{10 * ms}, Adjustment: 5 * ms}, 13 * ms},
		"never adjusted below 0":     {Coordinate{Vector: []time.Duration{0}, Adjustment: -20 * ms}, Coordinate{Vector: []time.Duration{10 * ms}}, 10 * ms},
		"of two spaces":              {at(0, 0), Coordinate{Vector: []time.Duration{0}}, 0},
		"of none":                    {Coordinate{}, Coordinate{}, 0},
	} {
		got, ok := Distance(c.a, c.b)
		back, _ := Distance(c.b, c.a)
		if got != c.want || ok != (c.want != 0) || back != got {
			t.Errorf("%s: %s, %t, back %s; want %s", name, got, ok, back, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := at(-MaxExtent, MaxExtent)
	if err := good.Check(); err != nil {
		t.Errorf("the farthest place: %v", err)
	}
	for name, spoil := range map[string]func(*Coordinate){
		"no dimension":        func(c *Coordinate) { c.Vector = nil },
		"too many dimensions": func(c *Coordinate) { c.Vector = make([]time.Duration, MaxDimensions+1) },
		"too far":             func(c *Coordinate) { c.Vector[1]++ },
		"what NaN becomes":    func(c *Coordinate) { c.Vector[0] = math.MinInt64 },
		"negative height":     func(c *Coordinate) { c.Height = -1 },
		"too high":            func(c *Coordinate) { c.Height = MaxExtent + 1 },
		"too much adjusted":   func(c *Coordinate) { c.Adjustment = -MaxExtent - 1 },
		"negative error":      func(c *Coordinate) { c.Error = -1 },
		"too wrong":           func(c *Coordinate) { c.Error = Unknown + 1 },
	} {
		c := at(-MaxExtent, MaxExtent)
		if spoil(&c); c.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFold(t *testing.T) {
	sample := func(agent, region string, x time.Duration, age time.Duration) Sample {
		return Sample{Agent: agent, Region: region, At: at(x, 0), Age: age}
	}
	impossible := sample("e4", "eu", 900*ms, 0)
	impossible.At.Error = Unknown + 1
	broken := sample("e5", "eu", 900*ms, 0)
	broken.At.Height = -1
	other := Sample{Agent: "e6", Region: "eu", At: Coordinate{Vector: []time.Duration{0}, Error: 0}}
	got := Fold([]Sample{
		sample("u1", "us", 100*ms, time.Second), sample("u2", "us", 102*ms, 2*time.Second),
		sample("e1", "eu", 0, 3*time.Second), sample("e2", "eu", 2*ms, 0), sample("e3", "eu", 500*ms, MaxAge+1),
		impossible, broken, other, sample("x1", "", 0, 0), sample("a1", "ap", 0, 0),
	})
	// eu–us: 101, 103, 99 and 101 ms, of which the older coordinates are 3, 3, 1 and 2 s old.
	want := []Pair{
		{"ap", "eu", Estimate{Median: 2 * ms, Error: 500, Age: 1500 * ms, Pairs: 2}},
		{"ap", "us", Estimate{Median: 102 * ms, Error: 10, Age: 1500 * ms, Pairs: 2}},
		{"eu", "eu", Estimate{Median: 3 * ms, Error: 100, Age: 3 * time.Second, Pairs: 1}},
		{"eu", "us", Estimate{Median: 101 * ms, Error: 20, Age: 2500 * ms, Pairs: 4}},
		{"us", "us", Estimate{Median: 3 * ms, Error: 100, Age: 2 * time.Second, Pairs: 1}},
	}
	if diff := cmp.Diff(want, got.Pairs()); diff != "" {
		t.Error(diff)
	}
	if e, ok := got.Between("us", "eu"); !ok || e.Median != 101*ms {
		t.Errorf("us–eu is %+v, %t", e, ok)
	}
	if _, ok := got.Between("ap", "ap"); ok {
		t.Error("one agent tells the latency inside its region")
	}
	if diff := cmp.Diff([]string{"ap", "eu", "us"}, got.Regions()); diff != "" {
		t.Error(diff)
	}
}

// The surest agents count, and no more of them than there is time for.
func TestFoldIsBounded(t *testing.T) {
	samples := []Sample{{Agent: "u", Region: "us", At: at(0, 0)}}
	for i := range 10 * MaxSamples {
		s := Sample{Agent: fmt.Sprintf("e%03d", i), Region: "eu", At: at(50*ms, 0)}
		if i >= 9*MaxSamples {
			s.At = at(80*ms, 0)
			s.At.Error = 1
		}
		samples = append(samples, s)
	}
	e, ok := Fold(samples).Between("eu", "us")
	if !ok || e.Pairs != MaxSamples || e.Median != 81*ms {
		t.Errorf("%+v, %t: want the %d surest", e, ok, MaxSamples)
	}
	samples = nil
	for i := range MaxRegions + 1 {
		samples = append(samples, Sample{Agent: fmt.Sprint(i), Region: fmt.Sprintf("r%03d", i), At: at(time.Duration(i)*ms, 0)})
	}
	if got := len(Fold(samples).Regions()); got != MaxRegions {
		t.Errorf("%d regions, want %d", got, MaxRegions)
	}
}

// Whatever the samples and their order, a matrix is the same both ways and knows only valid agents' regions.
func TestFoldProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.Int64Range(int64(-200*ms), int64(200*ms))
		samples := make([]Sample, rapid.IntRange(0, 30).Draw(t, "n"))
		for i := range samples {
			samples[i] = Sample{Agent: fmt.Sprint(i), Region: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "region"), Age: time.Duration(rapid.Int64Range(0, int64(2*MaxAge)).Draw(t, "age")),
				At: Coordinate{Vector: []time.Duration{time.Duration(part.Draw(t, "x")), time.Duration(part.Draw(t, "y"))}, Error: rapid.IntRange(-1, 600).Draw(t, "error")}}
		}
		m := Fold(samples)
		shuffled := Fold(rapid.Permutation(samples).Draw(t, "order"))
		if diff := cmp.Diff(m.Pairs(), shuffled.Pairs()); diff != "" {
			t.Fatalf("another order, another matrix: %s", diff)
		}
		for _, p := range m.Pairs() {
			forth, ok := m.Between(p.From, p.To)
			back, _ := m.Between(p.To, p.From)
			if !ok || forth != back || forth != p.Estimate || p.Median <= 0 || p.Pairs == 0 || p.Age > MaxAge || p.Error > Unknown || p.From == "" {
				t.Fatalf("%+v: forth %+v, back %+v", p, forth, back)
			}
		}
	})
}

func pair(from, to string, median time.Duration) Pair {
	return Pair{From: from, To: to, Estimate: Estimate{Median: median, Pairs: 1}}
}

func TestRanks(t *testing.T) {
	m := Of([]Pair{
		pair("eu", "eu", ms), pair("us", "eu", 90*ms), pair("eu", "sa", 200*ms), pair("ap", "eu", 181*ms), pair("af", "eu", 70*ms), pair("ap", "us", 150*ms),
	})
	// 90 ms is more than a tenth above 70; 200 is alike to 181.
	if diff := cmp.Diff(map[string]int{"af": 0, "us": 1, "ap": 2, "sa": 2}, m.Ranks("eu")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{}, m.Ranks("nowhere")); diff != "" {
		t.Error(diff)
	}
}

func TestOf(t *testing.T) {
	m := Of([]Pair{pair("us", "eu", 90*ms), pair("eu", "us", 10*ms), pair("", "eu", ms), pair("ap", "eu", 0)})
	if diff := cmp.Diff([]Pair{pair("eu", "us", 90*ms)}, m.Pairs()); diff != "" {
		t.Error(diff)
	}
}

func TestAlike(t *testing.T) {
	m := Of([]Pair{pair("eu", "us", 100*ms), pair("eu", "eu", ms)})
	for name, c := range map[string]struct {
		pairs []Pair
		want  bool
	}{
		"the same":                 {[]Pair{pair("eu", "us", 100*ms), pair("eu", "eu", ms)}, true},
		"a tenth more":             {[]Pair{pair("eu", "us", 110*ms), pair("eu", "eu", ms)}, true},
		"a fifth more":             {[]Pair{pair("eu", "us", 120*ms), pair("eu", "eu", ms)}, false},
		"twice as much, but small": {[]Pair{pair("eu", "us", 100*ms), pair("eu", "eu", 2*ms)}, true},
		"one less":                 {[]Pair{pair("eu", "us", 100*ms)}, false},
		"others":                   {[]Pair{pair("eu", "us", 100*ms), pair("ap", "ap", ms)}, false},
	} {
		if got := m.Alike(Of(c.pairs)); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestOr(t *testing.T) {
	aged := func(p Pair, age time.Duration) Pair { p.Age = age; return p }
	old := Of([]Pair{aged(pair("eu", "us", 90*ms), time.Second), aged(pair("ap", "us", 150*ms), time.Second), aged(pair("ap", "eu", 200*ms), time.Minute)})
	m := Of([]Pair{pair("eu", "us", 95*ms)}).Or(old, time.Second, time.Minute)
	want := []Pair{aged(pair("ap", "us", 150*ms), 2*time.Second), pair("eu", "us", 95*ms)}
	if diff := cmp.Diff(want, m.Pairs()); diff != "" {
		t.Error(diff)
	}
}

func TestConfigured(t *testing.T) {
	m, err := Configured("setting", []string{"us:eu=80ms", " eu-west-1 : ap = 1.5s ", "a:b=10s"})
	want := []Pair{
		{"a", "b", Estimate{Median: 10 * time.Second, Configured: true}}, {"ap", "eu-west-1", Estimate{Median: 1500 * ms, Configured: true}},
		{"eu", "us", Estimate{Median: 80 * ms, Configured: true}},
	}
	if diff := cmp.Diff(want, m.Pairs()); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if m, err := Configured("setting", nil); len(m.Pairs()) != 0 || err != nil {
		t.Errorf("nothing: %+v, %v", m, err)
	}
	var many []string
	for i := range MaxRegions {
		many = append(many, fmt.Sprintf("eu:r%d=1ms", i))
	}
	if _, err := Configured("setting", many[1:]); err != nil {
		t.Errorf("%d regions: %v", MaxRegions, err)
	}
	for name, c := range map[string]struct {
		texts []string
		want  string
	}{
		"no time":           {[]string{"eu:us"}, `such as eu:us=80ms, not "eu:us"`},
		"no unit":           {[]string{"eu:us=80"}, "such as eu:us=80ms"},
		"one region":        {[]string{"eu=80ms"}, "such as eu:us=80ms"},
		"three regions":     {[]string{"eu:us:ap=80ms"}, "such as eu:us=80ms"},
		"no name":           {[]string{":us=80ms"}, "such as eu:us=80ms"},
		"empty":             {[]string{""}, "such as eu:us=80ms"},
		"the same region":   {[]string{"eu:eu=1ms"}, "two different regions"},
		"nothing":           {[]string{"eu:us=0s"}, "above 0"},
		"negative":          {[]string{"eu:us=-80ms"}, "above 0"},
		"absurd":            {[]string{"eu:us=10.001s"}, "at most 10s"},
		"twice":             {[]string{"eu:us=80ms", "us:eu=80ms"}, `once, not "eu:us" again`},
		"too many":          {many, "at most 64 regions, not 65"},
		"the second of two": {[]string{"eu:us=80ms", "eu:ap=x"}, `not "eu:ap=x"`},
	} {
		if _, err := Configured("setting", c.texts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Configured("setting", []string{"eu", "us"}); err == nil || strings.Count(err.Error(), "setting: expected two regions") != 2 {
		t.Errorf("two wrong ones: %v", err)
	}
}

func TestElse(t *testing.T) {
	configured, err := Configured("setting", []string{"a:b=1s", "a:c=2s", "a:d=3s", "c:d=4s"})
	if err != nil {
		t.Fatal(err)
	}
	good, atLimit := Estimate{Median: ms, Error: 10, Age: time.Second, Pairs: 4}, Estimate{Median: 2 * ms, Error: MaxError, Age: MaxAge, Pairs: 4}
	old, uncertain := good, good
	old.Age, uncertain.Error = MaxAge+1, MaxError+1
	got := Of([]Pair{{"a", "b", good}, {"a", "c", old}, {"a", "d", uncertain}, {"b", "c", old}, {"b", "d", uncertain}, {"c", "d", atLimit}}).Else(configured)
	want := []Pair{ // what nobody configured is better old and uncertain than not at all
		{"a", "b", good}, {"a", "c", Estimate{Median: 2 * time.Second, Configured: true}}, {"a", "d", Estimate{Median: 3 * time.Second, Configured: true}},
		{"b", "c", old}, {"b", "d", uncertain}, {"c", "d", atLimit},
	}
	if diff := cmp.Diff(want, got.Pairs()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(configured.Pairs(), Matrix{}.Else(configured).Pairs()); diff != "" {
		t.Error(diff)
	}
}
