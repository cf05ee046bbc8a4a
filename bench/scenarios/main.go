// Command scenarios plays `shardmanager dev --scenario` several times and prints, as a Markdown table, the median of each figure with its
// least and greatest value: how the tables of docs/benchmarks.md are made.
//
//	go run ./bench/scenarios -runs 3 -- --scenario all
//	go run ./bench/scenarios -saved first.json second.json third.json
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// line is what the figures need of a scenario's JSON line.
type line struct {
	Scenario   string   `json:"scenario"`
	Mode       string   `json:"mode"`
	Requests   float64  `json:"requests"`
	Failed     float64  `json:"failed"`
	P50        float64  `json:"p50_ms"`
	P99        float64  `json:"p99_ms"`
	P99Before  float64  `json:"p99_before_ms"`
	Failover   *float64 `json:"failover_ms"`
	Settled    *float64 `json:"settled_ms"`
	Trials     float64  `json:"trials"`
	Moves      float64  `json:"moves"`
	Overlap    float64  `json:"overlap_ms"`
	LostWrites float64  `json:"lost_writes"`
	Ok         bool     `json:"ok"`
}

func main() {
	binary := flag.String("binary", ".bin/shardmanager", "the shardmanager binary")
	times := flag.Int("runs", 3, "how often everything is played")
	saved := flag.Bool("saved", false, "read the JSON lines of earlier runs from the files given, and play nothing")
	flag.Parse()
	runs := func(n int) ([]line, error) {
		if *saved {
			return read(flag.Arg(n))
		}
		return play(*binary, flag.Args())
	}
	if *saved {
		*times = flag.NArg()
	}
	if err := run(*times, runs); err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		os.Exit(1)
	}
}

func run(times int, lines func(int) ([]line, error)) error {
	if times < 1 {
		return errors.New("-runs, or files with -saved: expected at least 1")
	}
	var order []string
	byName := map[string][]line{}
	for n := range times {
		lines, err := lines(n)
		if err != nil {
			return err
		}
		for _, l := range lines {
			name := l.Scenario
			if l.Mode != "" && l.Mode != "primary-only" {
				name += ", " + l.Mode
			}
			if _, known := byName[name]; !known {
				order = append(order, name)
			}
			byName[name] = append(byName[name], l)
		}
	}
	fmt.Println("| scenario | runs ok | requests | failed | overlap ms | lost writes | p50 ms | p99 ms before | p99 ms during | ratio | failover ms, worst | settled s, worst | trials a run | moves |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, name := range order {
		fmt.Println(row(name, byName[name]))
	}
	return nil
}

// play runs the binary once and reads its JSON lines; a broken promise is a figure, not an error.
func play(binary string, args []string) ([]line, error) {
	cmd := exec.Command(binary, append([]string{"dev", "--json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return parse(binary, out)
}

// read takes the JSON lines of an earlier run.
func read(file string) ([]line, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parse(file, content)
}

func parse(from string, content []byte) ([]line, error) {
	var lines []line
	for s := bufio.NewScanner(bytes.NewReader(content)); s.Scan(); {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", from, s.Text(), err)
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: no result in it", from)
	}
	return lines, nil
}

func row(name string, lines []line) string {
	ok := 0
	for _, l := range lines {
		if l.Ok {
			ok++
		}
	}
	cells := []string{
		name, fmt.Sprintf("%d of %d", ok, len(lines)),
		figure(lines, func(l line) float64 { return l.Requests }, "%.0f"),
		figure(lines, func(l line) float64 { return l.Failed }, "%.0f"),
		figure(lines, func(l line) float64 { return l.Overlap }, "%.0f"),
		figure(lines, func(l line) float64 { return l.LostWrites }, "%.0f"),
		figure(lines, func(l line) float64 { return l.P50 }, "%.1f"),
		figure(lines, func(l line) float64 { return l.P99Before }, "%.1f"),
		figure(lines, func(l line) float64 { return l.P99 }, "%.1f"),
		figure(lines, func(l line) float64 { return l.P99 / l.P99Before }, "%.1f"),
		measured(lines, func(l line) *float64 { return l.Failover }, 1, "%.0f"),
		measured(lines, func(l line) *float64 { return l.Settled }, 1000, "%.1f"),
		figure(lines, func(l line) float64 { return l.Trials }, "%.0f"),
		figure(lines, func(l line) float64 { return l.Moves }, "%.0f"),
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// measured is a figure that some scenarios do not have, in its unit.
func measured(lines []line, of func(line) *float64, unit float64, format string) string {
	if of(lines[0]) == nil {
		return "–"
	}
	return figure(lines, func(l line) float64 {
		if of(l) == nil {
			return 0
		}
		return *of(l) / unit
	}, format)
}

// figure is the median, and the range behind it where there is one.
func figure(lines []line, of func(line) float64, format string) string {
	values := make([]float64, len(lines))
	for i, l := range lines {
		values[i] = of(l)
	}
	slices.Sort(values)
	text := func(v float64) string { return fmt.Sprintf(format, v) }
	median := text(values[len(values)/2])
	low, high := text(values[0]), text(values[len(values)-1])
	if low == high {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, low, high)
}
