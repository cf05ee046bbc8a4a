package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// load is what Consul had to do while nothing changed.
type load struct {
	Seconds  float64            `json:"seconds"`
	Requests float64            `json:"requests_per_second"` // answered over HTTP (telemetry consul.api.http), all servers together
	Most     float64            `json:"requests_per_second_most"`
	Writes   float64            `json:"writes_per_second"` // entries of the Raft log
	By       map[string]float64 `json:"requests_by_kind"`  // per second
}

// telemetry is what a server says of one interval of ten seconds.
type telemetry struct {
	Timestamp string
	Samples   []sample
}

type sample struct {
	Name   string
	Count  int
	Labels map[string]string
}

// requestsIn counts the HTTP requests that were answered in an interval.
func (t telemetry) requestsIn(by map[string]float64) float64 {
	var n float64
	for _, s := range t.Samples {
		if s.Name == "consul.api.http" {
			n += float64(s.Count)
			by[s.Labels["method"]+" "+s.Labels["path"]] += float64(s.Count)
		}
	}
	return n
}

// interval is how often Consul begins to count anew.
const interval = 10 * time.Second

// measureConsul adds up whole intervals for a time at rest.
func measureConsul(ctx context.Context, addresses []string, rest time.Duration) (load, error) {
	l := load{By: map[string]float64{}}
	before, err := raftIndex(ctx, addresses[0])
	if err != nil {
		return l, err
	}
	began, seen := time.Now(), make([]string, len(addresses))
	if err := skip(ctx, addresses, seen); err != nil {
		return l, err
	}
	totals := map[string]float64{} // by interval
	for time.Since(began) < rest+interval {
		for i, address := range addresses {
			var t telemetry
			if err := get(ctx, "http://"+address+"/v1/agent/metrics", &t); err != nil {
				return l, err
			}
			if t.Timestamp == seen[i] {
				continue
			}
			seen[i] = t.Timestamp
			totals[t.Timestamp] += t.requestsIn(l.By)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return l, ctx.Err()
		}
	}
	after, err := raftIndex(ctx, addresses[0])
	if err != nil {
		return l, err
	}
	if len(totals) == 0 {
		return l, errors.New("telemetry: no interval")
	}
	l.Writes = float64(after-before) / time.Since(began).Seconds()
	l.Seconds = interval.Seconds() * float64(len(totals))
	for _, n := range totals {
		l.Requests += n / l.Seconds
	}
	l.Most = slices.Max(slices.Collect(maps.Values(totals))) / interval.Seconds()
	for kind := range l.By {
		l.By[kind] /= l.Seconds
	}
	return l, nil
}

// skip notes the intervals that were over before.
func skip(ctx context.Context, addresses []string, seen []string) error {
	for i, address := range addresses {
		var t telemetry
		if err := get(ctx, "http://"+address+"/v1/agent/metrics", &t); err != nil {
			return err
		}
		seen[i] = t.Timestamp
	}
	return nil
}

// raftIndex is that of the last entry that a server applied.
func raftIndex(ctx context.Context, address string) (uint64, error) {
	var self struct{ Stats map[string]map[string]string }
	if err := get(ctx, "http://"+address+"/v1/agent/self", &self); err != nil {
		return 0, err
	}
	return strconv.ParseUint(self.Stats["raft"]["applied_index"], 10, 64)
}

func get(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
