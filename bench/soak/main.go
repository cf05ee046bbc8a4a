// Command soak runs a cluster for long under load and faults, which chance chooses by a seed, and judges what its processes recorded: real allocators,
// agents and applications, each a process, and three servers of a real Consul.
//
//	go run ./bench/soak -t 30m
//	make soak T=30m
//
// Faults come one after another, some seconds apart, and overlap: kills, pauses, partitions, slow stores, full disks (as root), elections. After every
// fifteenth the cluster comes to rest for one planned event. It prints a line per fault, and at the end a line of JSON on the standard output and tables on
// the standard error; Ctrl-C ends it early with the report of what there is. It exits with 1 if a promise broke: two owners of a shard at once, a write lost
// or repeated, a stale read, a shard that is not served again, a request that a planned event drops, a program that ends by itself, a process that grows.
// Every process ends with this one. Were it killed, small disks of full-disk faults would stay mounted under the temporary directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
)

// config of a run.
type config struct {
	binary, consul, dir string
	length, every       time.Duration
	seed                uint64
	mode, profile       string
	rate                int
	deadline            time.Duration
	keep                bool
	out, progress       io.Writer
}

// errBroken says that a promise broke; which, has been told.
var errBroken = errors.New("a promise broke")

func main() {
	c := config{out: os.Stdout, progress: os.Stderr}
	flag.DurationVar(&c.length, "t", 30*time.Minute, "how long faults are played")
	flag.DurationVar(&c.every, "every", 6*time.Second, "mean time between faults")
	flag.Uint64Var(&c.seed, "seed", rand.Uint64(), "of what happens to whom (default random)")
	flag.StringVar(&c.mode, "mode", layout.PrimaryOnly, "of the example: "+layout.PrimaryOnly+", or "+layout.PrimarySecondary+", where faults wait until all replicas are in sync")
	flag.StringVar(&c.profile, "profile", "default", "times of leases: default or fast")
	flag.IntVar(&c.rate, "rate", 400, "requests a second")
	flag.DurationVar(&c.deadline, "deadline", 10*time.Second, "of a request, from the instant at which it is due")
	flag.StringVar(&c.binary, "binary", "", "the shardmanager binary (default: built from ./cmd/shardmanager, with its invariants checked)")
	flag.BoolVar(&c.keep, "keep", false, "keep logs and histories also if no promise broke")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := measure(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// validate says which setting is wrong.
func (c config) validate() error {
	switch {
	case c.length <= 0 || c.every <= 0:
		return fmt.Errorf("-t %v, -every %v: expected more than 0", c.length, c.every)
	case c.mode != layout.PrimaryOnly && c.mode != layout.PrimarySecondary:
		return fmt.Errorf("-mode %q: expected %s or %s", c.mode, layout.PrimaryOnly, layout.PrimarySecondary)
	case c.rate < 1:
		return fmt.Errorf("-rate %d: expected 1 or more", c.rate)
	}
	return nil
}

// measure builds what is missing, runs, and reports.
func measure(ctx context.Context, c config) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	if c.consul, err = consulserver.Find(os.Getenv, ".bin"); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "soak"); err != nil {
		return err
	}
	defer func() {
		if c.keep || errors.Is(err, errBroken) {
			_, _ = fmt.Fprintln(c.progress, "logs and histories:", c.dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(c.dir))
	}()
	if c.binary == "" {
		c.binary = filepath.Join(c.dir, "shardmanager")
		if said, err := exec.CommandContext(ctx, "go", "build", "-tags", "invariants", "-o", c.binary, "./cmd/shardmanager").CombinedOutput(); err != nil {
			return fmt.Errorf("build ./cmd/shardmanager: %w: %s", err, said)
		}
	}
	r, err := newRun(c)
	if err != nil {
		return err
	}
	soaked := r.soak(ctx)
	if err := r.stop(); err != nil {
		r.say("not in order: %v", err)
	}
	if soaked != nil {
		return soaked
	}
	p, err := r.judge()
	if err != nil {
		return err
	}
	if err := p.write(c.out, c.progress); err != nil {
		return err
	}
	if !p.OK {
		return errBroken
	}
	return nil
}
