package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
)

// Times of a leader's loop.
const (
	leaderTick   = 100 * time.Millisecond
	clockEvery   = 10 * time.Second
	seenEvery    = 2 * time.Second // how old the watch of servers may be
	solvesWithin = 20 * time.Millisecond
	stopWithin   = 5 * time.Second
)

// midnight is the time of day at which every run begins.
var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// tenure is one leadership around the real ledger: what allocator/tenure.go and allocator/loop.go do.
type tenure struct {
	a       *allocator
	w       *World
	epoch   shard.Epoch
	session string
	core    *ledger.Ledger
	out     ledger.Effects
	over    bool

	writer   writer
	streams  map[ledger.StreamID]*attachment
	last     ledger.StreamID
	requests uint64
	replies  map[uint64]func(ledger.Reply)
}

// attachment is the leader's end of a stream.
type attachment struct {
	stream *stream
	agent  *agent
	owner  ledger.Owner
}

func newTenure(a *allocator, l lock, clean bool) *tenure {
	t := &tenure{
		a: a, w: a.w, epoch: shard.Epoch{Generation: l.generation, Index: l.acquire}, session: l.session, core: ledger.New(a.w.settings),
		streams: map[ledger.StreamID]*attachment{}, replies: map[uint64]func(ledger.Reply){},
	}
	acquired := a.now()
	t.w.say(a.name, "holds the lock at epoch %s, clean %t", t.epoch, clean)
	t.load(acquired, clean)
	return t
}

// load reads everything consistently, after the acquire and before anything is granted (PROTOCOL R12).
func (t *tenure) load(acquired shard.Instant, clean bool) {
	type contents struct {
		loaded   ledger.Loaded
		lock     lock
		sequence uint64
	}
	s, asked := t.w.store, t.a.now()
	call[contents]{from: t.a.at, to: theStore, timeout: 10 * time.Second,
		serve: func(answer func(contents)) {
			s.process.Do(func() { answer(contents{s.load(), s.lock, s.sequence.modify}) })
		},
		done: func(c contents, ok bool) {
			if t.over {
				return
			}
			if !ok || c.lock.session != t.session || c.lock.acquire != t.epoch.Index {
				t.a.stepDown("it could not load")
				return
			}
			t.writer = writer{t: t, sequence: c.sequence}
			c.loaded.Epoch, c.loaded.Acquired, c.loaded.Clean, c.loaded.Confirmed = t.epoch, acquired, clean, asked
			t.step(c.loaded)
			t.step(ledger.ClockRead{Wall: t.w.wall()})
			t.confirm()
			t.a.process.Every(leaderTick, t.tick)
			t.a.process.Every(clockEvery, func() { t.step(ledger.ClockRead{Wall: t.w.wall()}) })
			t.a.process.Every(seenEvery, t.see)
		},
	}.make(t.w, t.a.process)
}

// see asks for the keys of servers; what arrives may be old by then.
func (t *tenure) see() {
	s := t.w.store
	if t.over {
		return
	}
	call[[]ledger.Registration]{from: t.a.at, to: theStore, timeout: callTimeout,
		serve: func(answer func([]ledger.Registration)) { s.process.Do(func() { answer(s.registrations()) }) },
		done: func(list []ledger.Registration, ok bool) {
			if ok {
				t.step(ledger.RegistrationsSeen{Keys: list})
			}
		},
	}.make(t.w, t.a.process)
}

// confirm proves again and again that the lock is ours, by consistent reads.
func (t *tenure) confirm() {
	s, asked := t.w.store, t.a.now()
	call[lock]{from: t.a.at, to: theStore, timeout: confirmWithin,
		serve: func(answer func(lock)) { s.process.Do(func() { answer(s.lock) }) },
		done: func(l lock, ok bool) {
			switch {
			case t.over:
				return
			case !ok:
				t.a.process.After(confirmRetry, t.confirm)
				return
			case l.session != t.session || l.generation != t.epoch.Generation:
				t.a.stepDown("the lock is lost")
				return
			}
			t.step(ledger.LockConfirmed{Asked: asked})
			t.a.process.After(confirmEvery, t.confirm)
		},
	}.make(t.w, t.a.process)
}

func (t *tenure) tick() {
	if !t.over {
		t.core.Tick(t.a.now(), &t.out)
		t.perform()
	}
}

// step gives the ledger an event, with an instant read after the event was received (PROTOCOL R7).
func (t *tenure) step(ev ledger.Event) {
	if !t.over {
		t.core.Step(t.a.now(), ev, &t.out)
		t.perform()
	}
}

// ask passes an operator's wish on.
func (t *tenure) ask(w wish.Wish, answered func(ledger.Reply)) {
	t.requests++
	t.replies[t.requests] = answered
	t.step(ledger.Request{ID: t.requests, Wish: w})
}

// perform does what the ledger wants, in the order of the fields.
func (t *tenure) perform() {
	out := t.out
	t.out = ledger.Effects{}
	for _, d := range out.Trace {
		t.w.decided(t.a.name, d)
	}
	for _, wr := range out.Writes {
		t.writer.write(wr)
	}
	for _, m := range out.Messages {
		t.send(m)
	}
	for _, p := range out.Publish {
		t.publish(p)
	}
	for _, in := range out.Solve {
		t.a.process.After(t.w.chance.UpTo(solvesWithin), func() { t.step(ledger.PlanReady{Plan: t.w.planner.Solve(in)}) })
	}
	for _, r := range out.Reads {
		t.read(r.Server)
	}
	for _, id := range out.Sessions {
		t.w.net.carry(t.a.at, theStore, func() { t.w.store.process.Do(func() { t.w.store.destroy(id) }) })
	}
	for _, r := range out.Replies {
		if answered := t.replies[r.ID]; answered != nil {
			delete(t.replies, r.ID)
			answered(r)
		}
	}
	if out.Stop != nil && !t.over {
		t.stop(*out.Stop)
	}
}

func (t *tenure) stop(s ledger.Stop) {
	t.w.say(t.a.name, "stops leading, clean %t: %s", s.Clean, s.Reason)
	a := t.a
	a.tenure = nil
	t.drop(false)
	if s.Clean {
		a.release(t.session)
		return
	}
	a.stepDown("stopped")
}

// drop ends the leadership: nothing of what it might still say is done. dead: its process is, and its machine resets the streams.
func (t *tenure) drop(dead bool) {
	t.over = true
	for _, id := range shard.SortedKeys(t.streams) {
		t.streams[id].stream.close(dead)
	}
}

func (t *tenure) read(id shard.ServerID) {
	type key struct {
		r     ledger.Registration
		found bool
	}
	s, asked := t.w.store, t.a.now()
	call[key]{from: t.a.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(key)) {
			s.process.Do(func() {
				r, found := s.keys[id]
				answer(key{r, found})
			})
		},
		done: func(k key, ok bool) {
			read := ledger.RegistrationRead{Server: id, Asked: asked, Found: k.found, Key: k.r}
			if !ok {
				read.Err = "the store does not answer"
			}
			t.step(read)
		},
	}.make(t.w, t.a.process)
}

// publish gives a map to who follows.
func (t *tenure) publish(p ledger.Publication) {
	a := t.a
	switch {
	case p.Removed:
		a.maps = nil
	case p.Snapshot != nil:
		a.maps = p.Snapshot
	default:
		next, err := a.maps.Apply(*p.Delta)
		if err != nil {
			panic("sim: " + err.Error())
		}
		a.maps = next
	}
	t.w.published(a, a.maps)
}

// send puts a message on a stream.
func (t *tenure) send(m ledger.Message) {
	at := t.streams[m.Stream]
	if at == nil {
		return
	}
	if c, ok := m.Body.(message.Command); ok {
		t.w.observe(promise.Sent{To: ledger.Owner{Server: at.agent.id}, Command: c})
	}
	at.stream.toA(func() { at.agent.hear(at, t.epoch, m.Body) })
	switch b := m.Body.(type) {
	case message.Grant:
		t.w.vouch(at.owner, b.Remaining)
	case message.RestGranted:
		t.w.vouch(at.owner, b.Remaining)
	case message.Refuse, message.Close, message.Fenced:
		last := at.stream
		last.toA(func() { last.close(false) })
		delete(t.streams, m.Stream)
	case message.Welcome, message.Command, message.Probe, message.DrainProgress:
	}
}

// vouch tells that a lease of a length was granted, or proven, at this instant. Whoever asked for it did so before, and its clock may be slow.
func (w *World) vouch(owner ledger.Owner, length time.Duration) {
	w.observe(promise.Vouched{Owner: owner, Until: w.queue.Now() + length*1000/(1000-shard.DriftPermille)})
}

// attach takes a stream in; answered by the ledger.
func (t *tenure) attach(at *attachment, hello ledger.Hello) {
	t.last++
	id := t.last
	t.streams[id] = at
	at.owner = ledger.Owner{Server: hello.Server.ID, Incarnation: hello.Server.Incarnation}
	at.stream.endB = func(reset bool) {
		t.a.process.Do(func() {
			if t.streams[id] == at {
				delete(t.streams, id)
				t.step(ledger.Detached{Stream: id, Reset: reset})
			}
		})
	}
	hello.Stream = id
	t.step(hello)
}

// streamOf is the number of a stream; 0: it is gone.
func (t *tenure) streamOf(at *attachment) ledger.StreamID {
	for id, other := range t.streams {
		if other == at {
			return id
		}
	}
	return 0
}
