package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// load is what Consul had to do while nothing changed.
type load struct {
	Seconds  float64            `json:"seconds"`
	Requests float64            `json:"requests_per_second"`      // answered over HTTP (consul_api_http_count), by all servers together
	Most     float64            `json:"requests_per_second_most"` // in any ten seconds
	Writes   float64            `json:"writes_per_second"`        // entries of the Raft log
	By       map[string]float64 `json:"requests_by_kind"`         // per second
}

// keptFor makes Consul keep counts that grow for as long as anybody measures.
const keptFor = "1h"

// counts are the requests that were answered since the servers began, by method and path, and the last index of the Raft log.
type counts struct {
	at    time.Time
	by    map[string]float64
	total float64
	index uint64
}

func countsOf(ctx context.Context, addresses []string) (counts, error) {
	c := counts{at: time.Now(), by: map[string]float64{}}
	for _, address := range addresses {
		if err := c.add(ctx, address); err != nil {
			return c, err
		}
	}
	var self struct{ Stats map[string]map[string]string }
	err := get(ctx, "http://"+addresses[0]+"/v1/agent/self", func(r io.Reader) error { return json.NewDecoder(r).Decode(&self) })
	if err != nil {
		return c, err
	}
	c.index, err = strconv.ParseUint(self.Stats["raft"]["applied_index"], 10, 64)
	return c, err
}

// add reads lines like consul_api_http_count{method="PUT",path="v1_session_renew_"} 7.
func (c *counts) add(ctx context.Context, address string) error {
	return get(ctx, "http://"+address+"/v1/agent/metrics?format=prometheus", func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), "} ")
			kind, ours := strings.CutPrefix(name, "consul_api_http_count{")
			if !ours {
				continue
			}
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("telemetry: %q: %w", lines.Text(), err)
			}
			c.by[kind] += n
			c.total += n
		}
		return lines.Err()
	})
}

// window is how often is looked for the busiest time.
const window = 10 * time.Second

// measureConsul compares counts before and after a time at rest.
func measureConsul(ctx context.Context, addresses []string, rest time.Duration) (load, error) {
	l := load{By: map[string]float64{}}
	first, err := countsOf(ctx, addresses)
	if err != nil {
		return l, err
	}
	last := first
	for time.Since(first.at) < rest {
		select {
		case <-time.After(min(window, rest)):
		case <-ctx.Done():
			return l, ctx.Err()
		}
		next, err := countsOf(ctx, addresses)
		if err != nil {
			return l, err
		}
		l.Most = max(l.Most, (next.total-last.total)/next.at.Sub(last.at).Seconds())
		last = next
	}
	l.Seconds = last.at.Sub(first.at).Seconds()
	l.Requests, l.Writes = (last.total-first.total)/l.Seconds, float64(last.index-first.index)/l.Seconds
	for kind, n := range last.by {
		if grown := n - first.by[kind]; grown > 0 {
			l.By[kind] = grown / l.Seconds
		}
	}
	if l.Requests == 0 {
		return l, errors.New("telemetry: no request was counted")
	}
	return l, nil
}

func get(ctx context.Context, url string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it has been read
	if answer.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		return fmt.Errorf("%s: %s: %s", url, answer.Status, said)
	}
	return read(answer.Body)
}
