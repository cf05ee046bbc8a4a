// Command play plays seeds of internal/sim until one breaks a promise, and says which: one line of JSON. It is built by internal/sim/mutation, once
// for each deliberate defect.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/shardmanager/shardmanager/internal/sim"
)

func main() {
	first := flag.Uint64("seed", 1, "the first seed")
	seeds := flag.Uint64("seeds", 1000, "how many seeds to play at most")
	workers := flag.Int("workers", 1, "seeds played at once")
	flag.Parse()
	debug.SetGCPercent(400) // seeds leave much behind, and little of it stays
	ctx, enough := context.WithCancel(context.Background())
	defer enough()
	var found struct {
		Played  int    `json:"played"`
		Seed    uint64 `json:"seed"`
		Promise int    `json:"promise"` // 0: none was broken
		What    string `json:"what"`
	}
	_ = sim.Sweep(ctx, sim.Options{Seed: *first}, *seeds, *workers, func(r sim.Result) { // it ends early when one is broken
		found.Played++
		if len(r.Breaches) > 0 && found.Promise == 0 {
			found.Seed, found.Promise, found.What = r.Options.Seed, r.Breaches[0].Promise, r.Breaches[0].What
			enough()
		}
	})
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
