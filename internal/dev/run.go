package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/judge"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

// ErrBroken says that a promise broke; which, was told to Config.Progress.
var ErrBroken = errors.New("a promise broke")

// Run plays the scenarios of the configuration, each on a cluster of its own, and prints their results; without a scenario it runs the
// demo until ctx ends. Whatever happens, it leaves no process behind. The error is ErrBroken if a scenario ran and showed that a promise does
// not hold.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	base, remove, err := dataDir(cfg.DataDir)
	if err != nil {
		return err
	}
	console := newConsole(cfg.Progress, cfg.Colour)
	if cfg.Scenario == "" {
		cfg.Mode = cfg.modes()[0]
		err = demo(ctx, cfg, fresh(base, "demo"), console)
	} else {
		err = playAll(ctx, cfg, base, console)
	}
	console.end()
	return errors.Join(err, remove())
}

// dataDir makes the directory that was asked for, or a temporary one and how to remove it.
func dataDir(path string) (dir string, remove func() error, err error) {
	if path == "" {
		dir, err := os.MkdirTemp("", "shardmanager-dev-")
		if err != nil {
			return "", nil, fmt.Errorf("data directory: %w", err)
		}
		return dir, func() error { return os.RemoveAll(dir) }, nil
	}
	dir, err = filepath.Abs(path)
	if err != nil {
		return "", nil, fmt.Errorf("data directory: %w", err)
	}
	return dir, func() error { return nil }, os.MkdirAll(dir, 0o755)
}

// fresh names a directory for one run: what earlier runs left is neither used nor touched.
func fresh(base, name string) string {
	return filepath.Join(base, name+"-"+time.Now().Format("20060102T150405.000"))
}

func playAll(ctx context.Context, cfg Config, base string, console *console) error {
	var failed []error
	for _, p := range cfg.parts() {
		cfg.Mode = p.mode
		r, broken, err := playOne(ctx, p.scenario, cfg, fresh(base, p.name+"-"+p.mode), console)
		if err != nil {
			err = fmt.Errorf("scenario %s, %s: %w", p.name, p.mode, err)
			if ctx.Err() != nil {
				return err
			}
			console.say(red, "%v", err)
			failed = append(failed, err)
			continue
		}
		if err := report(cfg, r); err != nil {
			return err
		}
		if len(broken) > 0 {
			failed = append(failed, fmt.Errorf("scenario %s, %s: %w", p.name, p.mode, ErrBroken))
		}
		for _, b := range broken {
			console.say(red, "%s, %s: promise broken: %s", p.name, p.mode, b)
		}
	}
	return errors.Join(failed...)
}

// report prints a result, for programs or for people.
func report(cfg Config, r judge.Result) error {
	if cfg.JSON {
		_, err := fmt.Fprintln(cfg.Results, r)
		return err
	}
	failover := ""
	if r.FailoverMS != nil {
		failover = fmt.Sprintf(", failover %.0f ms at worst", *r.FailoverMS)
	}
	if r.SettledMS != nil {
		failover += fmt.Sprintf(", settled in %.1f s at worst", *r.SettledMS/1000)
	}
	verdict := "ok"
	if !r.OK {
		verdict = "BROKEN"
	}
	_, err := fmt.Fprintf(cfg.Results, "%-18s %-17s %-6s %d requests, %d failed, p99 %.1f ms (%.1f before)%s, %d trials, %d moves, overlap %d ms, %d writes lost\n",
		r.Scenario, r.Mode, verdict, r.Requests, r.Failed, r.P99MS, r.P99BeforeMS, failover, r.Trials, r.Moves, r.OverlapMS, r.LostWrites)
	return err
}

// playOne plays one scenario on a cluster of its own and judges it.
func playOne(ctx context.Context, sc scenario, cfg Config, dir string, console *console) (r judge.Result, broken []string, err error) {
	console.say(bold, "%s: starting the cluster, %s", sc.name, cfg.Mode)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c, err := newCluster(cfg, dir, func(err error) { cancel(err) })
	if err != nil {
		return r, nil, err
	}
	player := newPlayer(c.failed)
	player.close("This run is judged; nothing else is played.")
	defer c.openPage(player, console)()
	s := &stage{cluster: c, second: sc.second, tell: func(text string) { console.say(yellow, "%s: %s", sc.name, text) }}
	moves, err := s.perform(ctx, sc)
	if err := errors.Join(err, c.stop()); err != nil {
		return r, nil, err
	}
	e, err := s.collect()
	if err != nil {
		return r, nil, err
	}
	e.Moves = moves
	return judge.Judge(sc.expected(cfg), e)
}

// perform starts the cluster, waits for steady load, plays, and ends the load. It returns the moves since the first event.
func (s *stage) perform(ctx context.Context, sc scenario) (moves int, err error) {
	if err := s.start(ctx); err != nil {
		return 0, err
	}
	if err := s.startLoad(ctx); err != nil {
		return 0, err
	}
	s.tell(fmt.Sprintf("%d shards placed on %d servers, %d requests a second; waiting for %v", layout.Shards, len(s.servers), s.cfg.Rate, judge.Steady))
	if err := clock.Sleep(ctx, judge.Steady+time.Second); err != nil { // the first second is not steady
		return 0, err
	}
	before, _ := s.watch.Counted()
	if err := sc.play(ctx, s); err != nil {
		return 0, err
	}
	if err := clock.Sleep(ctx, judge.After+time.Second/2); err != nil {
		return 0, err
	}
	after, _ := s.watch.Counted()
	if err := s.stopLoad(); err != nil {
		return 0, err
	}
	return after - before, nil
}

// collect reads what the processes recorded; all of them have ended.
func (s *stage) collect() (e judge.Evidence, err error) {
	e = judge.Evidence{
		Kills: s.kills, Trials: s.trials, Played: s.played, First: s.first, Last: s.last, Broken: s.broken, Settled: s.took, Spared: s.spared,
	}
	e.Load, _, _ = s.lines.Now()
	if e.Requests, err = requests.ReadFile(s.layout.Requests()); err != nil {
		return e, err
	}
	for _, v := range slices.Concat(s.servers, s.former) {
		histories, err := overlap.Read(s.layout.History(v.place))
		if err != nil {
			return e, err
		}
		e.Histories = append(e.Histories, histories...)
	}
	return e, nil
}
