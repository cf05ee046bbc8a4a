package dev

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/page"
)

// told says in few words what scenarios do, for the buttons of the page.
var told = map[string]string{
	"drain":              "empty a server and take it back",
	"rolling-restart":    "replace every server, one by one",
	"rolling-upgrade":    "replace every server when the leader says so",
	"crash":              "kill -9 an application",
	"host-crash":         "kill -9 an agent and its application",
	"pause":              "stop a whole server for 15 s",
	"agent-restart":      "restart agents under living applications",
	"allocator-loss":     "kill -9 the leader",
	"add-server":         "add two servers",
	"load-shift":         "make six shards of one server hot",
	"partial-partition":  "cut a server off from the leader",
	"slow-callback":      "let a callback hang",
	"leader-pause":       "stop the leader for 20 s",
	"app-pause":          "stop an application under a living agent",
	"region-loss":        "kill a region without the leader",
	"region-loss-leader": "kill the leader's region",
	"poison-shard":       "let a shard kill whoever loads it",
}

// settleAfter is how long failures are still counted after a scenario: the load generator tells them once a second.
const settleAfter = 1500 * time.Millisecond

// player plays scenarios on a running demo, one at a time: those of the tour, then whatever is asked for. Its methods are safe for
// concurrent use.
type player struct {
	failed func() int64 // requests, so far
	wanted chan scenario

	mu     sync.Mutex
	now    page.Play
	since  time.Time
	before int64
}

func newPlayer(failed func() int64) *player {
	p := &player{failed: failed, wanted: make(chan scenario, 1), now: page.Play{Closed: "The cluster is starting."}}
	for _, s := range scenarios() {
		p.now.List = append(p.now.List, page.Scenario{Name: s.name, What: told[s.name]})
	}
	return p
}

// Play implements page.Player.
func (p *player) Play(name string) error {
	list := named(name)
	if name == All || len(list) == 0 {
		return page.ErrUnknown
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now.Closed != "" || p.now.Running != "" {
		return page.ErrBusy
	}
	p.begin(name)
	p.wanted <- list[0] // has room: nothing was running
	return nil
}

// begin notes what is played from here on; the caller holds the lock.
func (p *player) begin(name string) {
	p.now.Running, p.now.Said = name, ""
	p.since, p.before = time.Now(), p.failed()
}

// Now implements page.Player.
func (p *player) Now() page.Play {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now
	now.List = slices.Clone(now.List)
	if now.Running != "" {
		now.For, now.Failed = time.Since(p.since), p.failed()-p.before
	}
	return now
}

// said notes what just happened.
func (p *player) said(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Said = text
}

// perform plays one scenario and notes how it went.
func (p *player) perform(ctx context.Context, s *stage, name string, do play) error {
	p.mu.Lock()
	if p.now.Running != name { // of the tour: nobody asked for it
		p.begin(name)
	}
	p.mu.Unlock()
	began := time.Now()
	err := do(ctx, s)
	took := time.Since(began)
	if waited := clock.Sleep(ctx, settleAfter); err == nil {
		err = waited
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.now.List {
		if o := &p.now.List[i]; o.Name == name {
			o.Played, o.Took, o.Failed, o.Err = true, took, p.failed()-p.before, ""
			if err != nil {
				o.Err = err.Error()
			}
		}
	}
	p.now.Running = ""
	return err
}

// close says why nothing can be asked for; no reason: everything can.
func (p *player) close(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Closed = why
}

// serve plays what is asked for until ctx ends. A scenario that fails is told, and the demo goes on.
func (p *player) serve(ctx context.Context, s *stage, console *console) error {
	p.close("")
	s.cfg.Trials = max(1, s.cfg.Trials) // somebody watches: once is enough
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case sc := <-p.wanted:
			console.say(bold, "%s: asked for on the page", sc.name)
			err := p.perform(ctx, s, sc.name, sc.play)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				console.say(red, "%s: not to its end: %v", sc.name, err)
			}
		}
	}
}
