package main

import (
	"strings"
	"testing"
)

// TestSim: a seed is played with its trace, which is the same each time; many are summed up; what is wrong with flags is said.
func TestSim(t *testing.T) {
	small := " --duration 3m0s --servers 3 --shards 8"
	for line, c := range map[string]struct {
		code int
		want []string
	}{
		"sim --seed 3" + small:                  {exitOK, []string{"3: 3 servers, 8 shards", "application starts, pid 1", "all is calm now", "0 promises broken"}},
		"sim --seed 3 --quiet" + small:          {exitOK, []string{"seed 3:", "0 promises broken"}},
		"sim --seed 3 --keep 0 --quiet" + small: {exitOK, []string{"0 promises broken"}},
		"sim --seeds 3" + small:                 {exitOK, []string{"3 seeds, 0.2 simulated hours"}},
		"sim --seeds 3 -o json" + small:         {exitOK, []string{`"seeds":3`, `"broken_seeds":[]`}},
		"sim --seeds 0":                         {exitUsage, []string{"--seeds: expected 1 or more"}},
		"sim --workers 0":                       {exitUsage, []string{"--workers: expected 1 or more"}},
		"sim --servers 2":                       {exitUsage, []string{"servers: expected 3 to 1000, not 2"}},
		"sim --duration 10s":                    {exitUsage, []string{"duration: expected 3m0s to 24h, not 10s"}},
		"sim --seeds 2 --keep 1":                {exitUsage, []string{"--keep: its numbers are of one seed"}},
		"sim --seeds 2 -o yaml":                 {exitUsage, []string{"expected text or json"}},
		"sim seventeen":                         {exitUsage, []string{"unknown command"}},
	} {
		t.Run(line, func(t *testing.T) {
			code, out, errs := shell(t, strings.Fields(line)...)
			for _, want := range c.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("lacks %q:\n%s%s", want, out[:min(len(out), 2000)], errs)
				}
			}
			if code != c.code {
				t.Errorf("code %d, expected %d", code, c.code)
			}
		})
	}
}
