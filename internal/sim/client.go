package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// Times of clients.
const (
	requestEvery    = 250 * time.Millisecond // of each client, on average
	requestDeadline = 10 * time.Second
	attemptTimeout  = 5 * time.Second
	firstPause      = 20 * time.Millisecond
	longestPause    = 500 * time.Millisecond
	mapEvery        = 3 * time.Second
)

// client is a process with a router: it follows the shard map, and sends writes to whoever has the shard by it.
type client struct {
	w       *World
	name    string
	at      place
	process *virtual.Process
	maps    *shard.Map
	calm    bool // sends nothing more
}

func (c *client) start() {
	c.process = virtual.Start(&c.w.queue)
	c.w.queue.After(c.w.chance.UpTo(requestEvery), c.send)
	c.process.Every(mapEvery, c.refresh)
}

// learn takes a map if it is newer (PROTOCOL R23).
func (c *client) learn(m *shard.Map) {
	if m != nil && (c.maps == nil || m.Version.Compare(c.maps.Version) > 0) {
		c.maps = m
	}
}

// refresh asks any allocator for its map, in case news of it was lost.
func (c *client) refresh() {
	a := virtual.Pick(c.w.chance, c.w.allocators)
	call[*shard.Map]{from: c.at, to: a.at, timeout: callTimeout,
		serve: func(answer func(*shard.Map)) { a.process.Do(func() { answer(a.maps) }) },
		done:  func(m *shard.Map, _ bool) { c.learn(m) },
	}.make(c.w, c.process)
}

// send begins a request, and the next one after a while.
func (c *client) send() {
	if !c.calm {
		at := c.w.chance.IntN(len(c.w.ids))
		t := &trial{c: c, index: shard.Index(at), id: c.w.ids[at], begun: c.w.queue.Now(), pause: firstPause}
		t.try()
	}
	c.process.After(c.w.chance.UpTo(2*requestEvery), c.send)
}

// trial is a request that is tried until it is executed or its time is over.
type trial struct {
	c     *client
	index shard.Index
	id    shard.ID
	begun time.Duration
	pause time.Duration
	hint  shard.ServerID
	why   string
}

func (t *trial) left() time.Duration { return requestDeadline - (t.c.w.queue.Now() - t.begun) }

func (t *trial) try() {
	if t.left() <= 0 {
		t.c.w.observe(promise.Failed{Shard: t.id, Planned: t.c.w.planned, Why: t.why})
		t.c.w.failed++
		return
	}
	to := t.hint
	t.hint = ""
	if to == "" && t.c.maps != nil {
		if s, _ := t.c.maps.Lookup(t.index); s != nil {
			to = s.ID
		}
	}
	if to == "" {
		t.again("nobody has it by the map")
		return
	}
	h := t.c.w.hostOf(to)
	call[response]{from: t.c.at, to: h.at, timeout: min(attemptTimeout, t.left()),
		serve: func(answer func(response)) {
			if app := h.app; app.lives() {
				app.process.Do(func() { app.request(request{shard: t.id, patience: t.left(), answer: answer}) })
			} else if h.up {
				answer(response{verdict: notExecuted, why: "connection refused"})
			}
		},
		done: t.answered,
	}.make(t.c.w, t.c.process)
}

func (t *trial) answered(p response, ok bool) {
	switch {
	case !ok:
		t.again("no answer")
	case p.verdict == executed:
		t.c.w.served++
		t.c.w.observe(promise.Acknowledged{Shard: t.id, Term: p.term, Write: p.write})
	default: // the application deduplicates: what is unknown may be sent again
		t.hint = p.hint
		t.again(p.why)
	}
}

func (t *trial) again(why string) {
	t.why = why
	t.c.process.After(t.pause, t.try)
	t.pause = min(2*t.pause, longestPause)
}
