package main

import (
	"math"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/bench/rollout/figure"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

// counted is what became of requests in some time.
type counted struct {
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`
	Success  float64 `json:"success_percent"`
	Worst    float64 `json:"worst_second_percent"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// requested sorts requests by the second in which they were due, counted from an instant.
type requested struct {
	first   int
	all, ok []int
	times   [][]int64 // of every request, failed ones included
}

func bySecond(list []requests.Request, zero int64, wanted func(requests.Request) bool) *requested {
	r := &requested{}
	if len(list) == 0 {
		return r
	}
	first, last := math.MaxInt, math.MinInt
	second := func(q requests.Request) int { return int(math.Floor(float64(q.Start-zero) / float64(time.Second))) }
	for _, q := range list {
		first, last = min(first, second(q)), max(last, second(q))
	}
	n := last - first + 1
	r.first, r.all, r.ok, r.times = first, make([]int, n), make([]int, n), make([][]int64, n)
	for _, q := range list {
		if !wanted(q) {
			continue
		}
		i := second(q) - first
		r.all[i]++
		r.times[i] = append(r.times[i], q.End-q.Start)
		if q.Outcome == requests.OK {
			r.ok[i]++
		}
	}
	return r
}

func every(requests.Request) bool { return true }

// success is the share of the requests that were answered, in percent.
func (r *requested) success(name string) figure.Series {
	return r.series(name, func(i int) float64 { return 100 * float64(r.ok[i]) / float64(r.all[i]) })
}

// failures counts those that were not.
func (r *requested) failures(name string) figure.Series {
	return r.series(name, func(i int) float64 { return float64(r.all[i] - r.ok[i]) })
}

// latency is a percentile of each second, in milliseconds.
func (r *requested) latency(name string, percent int) figure.Series {
	return r.series(name, func(i int) float64 { return percentile(r.times[i], percent) })
}

func (r *requested) series(name string, of func(i int) float64) figure.Series {
	s := figure.Series{Name: name, First: r.first}
	for i := range r.all {
		if r.all[i] == 0 {
			s.Values = append(s.Values, math.NaN())
			continue
		}
		s.Values = append(s.Values, math.Round(of(i)*1000)/1000)
	}
	return s
}

// sum counts what was due in [from, to).
func (r *requested) sum(from, to int) counted {
	var c counted
	var times []int64
	ok := 0
	c.Worst = 100
	for i := max(from-r.first, 0); i < min(to-r.first, len(r.all)); i++ {
		c.Requests, ok = c.Requests+r.all[i], ok+r.ok[i]
		times = append(times, r.times[i]...)
		if r.all[i] > 0 {
			c.Worst = min(c.Worst, 100*float64(r.ok[i])/float64(r.all[i]))
		}
	}
	if c.Requests > 0 {
		c.Success = 100 * float64(ok) / float64(c.Requests)
	}
	c.Failed, c.P50, c.P99 = c.Requests-ok, percentile(times, 50), percentile(times, 99)
	return c
}

// percentile is the time that so many percent do not exceed, in milliseconds; 0 if there is none.
func percentile(times []int64, percent int) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return float64(times[(len(times)*percent+99)/100-1]) / float64(time.Millisecond)
}

// sampled is looked at every second.
type sampled struct {
	series []figure.Series
}

// add appends one value to the series of a name.
func (s *sampled) add(second int, name string, value float64) {
	i := slices.IndexFunc(s.series, func(f figure.Series) bool { return f.Name == name })
	if i < 0 {
		i = len(s.series)
		s.series = append(s.series, figure.Series{Name: name, First: second})
	}
	f := &s.series[i]
	for len(f.Values) < second-f.First {
		f.Values = append(f.Values, math.NaN())
	}
	f.Values = append(f.Values, value)
}
