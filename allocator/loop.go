package allocator

import (
	"context"
	"time"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/decisionlog"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/spans"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// tickEvery is how often the ledger looks at its deadlines.
	tickEvery = 50 * time.Millisecond
	// stopWithin is how long an orderly end may take; after that the lock goes without the clean mark.
	stopWithin = 5 * time.Second
	// viewAge is how old a view for operators may be, at least; viewShare times what it took to make it, if that is more.
	viewAge   = 100 * time.Millisecond
	viewShare = 20
	// backlog is how long there must have been letters that wait before the leader is behind.
	backlog = 200 * time.Millisecond
	// clockEvery is how often the ledger is told the time of day.
	clockEvery = 10 * time.Second
)

// loop owns the ledger of one tenure. Only its goroutine touches its fields.
type loop struct {
	t      *tenure
	ledger *ledger.Ledger
	out    ledger.Effects
	stop   *ledger.Stop
	later  []ledger.Event // answers that the loop gives itself

	writing bool   // a write is under way; kept where invariants are checked only
	asked   uint64 // number of the last wish
	waiting map[uint64]chan<- ledger.Reply

	view    *api.View
	viewEnd shard.Instant // when it is too old
	states  events.States
	spans   *spans.Moves // nil: nothing is traced
	late    timing.Lateness
	idle    shard.Instant // when no letter waited, last
	told    shard.Instant // when the time of day was read, last
}

func newLoop(t *tenure) *loop {
	return &loop{t: t, ledger: ledger.New(t.a.settings), waiting: map[uint64]chan<- ledger.Reply{}, spans: spans.New(t.a.deps.Tracing, t.a.cfg.Cluster)}
}

// run steps the ledger until it stops, or work ends: then the lock is lost, and nothing of what it might still say is done. When ctx ends
// the ledger is asked to stop in order.
func (l *loop) run(ctx, work context.Context, loaded ledger.Loaded) (stop ledger.Stop, err error) {
	defer close(l.t.box.ended)
	l.t.a.events.Begin(loaded.Epoch)
	l.t.a.metrics.Leads()
	l.tell(events.LeaderChanged{Allocator: l.t.a.cfg.Name, Leads: true, Why: "it holds the lock"})
	defer func() { l.tell(events.Ended(l.t.a.cfg.Name, stop.Reason, err)) }()
	l.step(loaded)
	l.readClock(l.t.a.clock())
	l.t.a.leading.Store(l.t.box)
	defer l.t.a.leading.Store(nil)

	tick := time.NewTimer(tickEvery)
	defer tick.Stop()
	stopped := ctx.Done()
	var overdue <-chan time.Time
	for l.stop == nil {
		select {
		case letter := <-l.t.box.letters:
			l.open(letter)
		case <-tick.C:
			tick.Reset(l.tick())
		case <-stopped:
			stopped, overdue = nil, time.After(stopWithin)
			l.step(ledger.StopRequested{})
		case <-overdue:
			return ledger.Stop{Reason: "could not stop in order in time"}, nil
		case <-work.Done():
			return ledger.Stop{}, context.Cause(work)
		}
	}
	return *l.stop, nil
}

// tick lets time pass, and returns how long until the next one. A ledger with 100 000 shards under way takes longer for a tick than there is between
// two: letters get as much time as ticks then, for they are what ends that work.
func (l *loop) tick() time.Duration {
	began := l.t.a.clock()
	l.late.Note(began, tickEvery)
	l.ledger.Behind(l.behind(began))
	now := began
	if !l.told.IsZero() && l.told.WaitAge(began) >= clockEvery {
		l.readClock(began)
		now = l.t.a.clock() // that was a step, and no instant is older than that of an earlier one
	}
	l.ledger.Tick(now, &l.out)
	l.perform()
	return max(tickEvery, began.PermissionAge(l.t.a.clock()))
}

// readClock tells the ledger the time of day.
func (l *loop) readClock(now shard.Instant) {
	l.told = now
	l.step(ledger.ClockRead{Wall: time.Now()})
}

// behind reports whether letters wait longer than they should, here or in streams that are not read from while the mailbox is full.
func (l *loop) behind(now shard.Instant) bool {
	if l.idle.IsZero() || len(l.t.box.letters) == 0 {
		l.idle = now
	}
	return l.idle.WaitAge(now) > backlog
}

func (l *loop) open(letter letter) {
	switch {
	case letter.event != nil:
		l.step(letter.event)
	case letter.wish != nil:
		l.asked++
		l.waiting[l.asked] = letter.reply
		l.step(ledger.Request{ID: l.asked, Wish: letter.wish})
	case letter.view != nil:
		letter.view <- l.currentView()
	case letter.explain != nil:
		known := new(api.Explained)
		known.Shard, known.Input, known.Refusal = l.ledger.Explain(letter.app, letter.shard)
		letter.explain <- known
	}
}

// step gives the ledger an event, with an instant read after the event was received (PROTOCOL R7).
func (l *loop) step(event ledger.Event) {
	now := l.t.a.clock()
	if _, done := event.(ledger.WriteDone); done && invariant.Enabled {
		l.writing = false
	}
	l.ledger.Behind(l.behind(now))
	l.spans.Heard(event)
	l.ledger.Step(now, event, &l.out)
	l.perform()
	for len(l.later) > 0 && l.stop == nil {
		next := l.later[0]
		l.later = l.later[1:]
		if _, done := next.(ledger.WriteDone); done && invariant.Enabled {
			l.writing = false
		}
		l.spans.Heard(next)
		l.ledger.Step(l.t.a.clock(), next, &l.out)
		l.perform()
	}
}

// perform does what the ledger wants, in the order of the fields.
func (l *loop) perform() {
	t := l.t
	if invariant.Enabled {
		l.check()
	}
	l.spans.Said(&l.out)
	for _, w := range l.out.Writes {
		if !t.writes.Put(w) {
			l.later = append(l.later, ledger.WriteDone{ID: w.ID, Outcome: ledger.NotCommitted, Err: "another write is under way"})
		}
	}
	t.a.attach.Send(l.out.Messages)
	for _, p := range l.out.Publish {
		t.a.publish(p)
	}
	for _, input := range l.out.Solve {
		if !t.solves.Put(input) {
			t.a.log.Error().Str("app", string(input.App)).Int("limit", maxSolves).Msg("too many apps wait to be solved")
		}
	}
	for _, r := range l.out.Reads {
		if !t.reads.Put(r.Server) {
			l.later = append(l.later, ledger.RegistrationRead{Server: r.Server, Err: "too many servers' keys wait to be read"})
		}
	}
	for _, s := range l.out.Sessions {
		t.destroys.Put(coord.SessionID(s))
	}
	for _, r := range l.out.Replies {
		l.view = nil // who was answered sees what it did
		if reply := l.waiting[r.ID]; reply != nil {
			reply <- r // capacity 1, one reply
			delete(l.waiting, r.ID)
		}
	}
	l.trace(l.out.Trace)
	t.a.metrics.Stepped(&l.out)
	if l.out.Stop != nil {
		l.stop = l.out.Stop
	}
	l.out.Reset()
}

// check holds what the ledger wants to its promises: one write under way, one reply to each wish, and nothing after its end.
func (l *loop) check() {
	invariant.Check(l.stop == nil, "effects after the ledger stopped: %+v", l.out)
	invariant.Check(len(l.out.Writes) == 0 || !l.writing && len(l.out.Writes) == 1, "%d writes, while another is under way: %t", len(l.out.Writes), l.writing)
	l.writing = l.writing || len(l.out.Writes) > 0
	seen := map[uint64]bool{}
	for _, r := range l.out.Replies {
		invariant.Check(l.waiting[r.ID] != nil && !seen[r.ID], "a reply to wish %d, for which nobody waits", r.ID)
		seen[r.ID] = true
	}
	invariant.Check(len(l.t.box.letters) <= MailboxSize, "%d letters wait", len(l.t.box.letters))
}

// currentView is a view that is not too old.
func (l *loop) currentView() *api.View {
	if began := l.t.a.clock(); l.view == nil || l.viewEnd.Passed(began) {
		l.view = viewOf(l.ledger)
		l.view.Loop = api.LoopState{Late: l.late.Most(), Waiting: len(l.t.box.letters)}
		now := l.t.a.clock()
		l.viewEnd = now.Add(max(viewAge, viewShare*began.PermissionAge(now)))
	}
	return l.view
}

// trace logs decisions and adds them to the events, with what they changed about servers.
func (l *loop) trace(list []ledger.Decision) {
	for i, d := range list {
		decisionlog.Write(&l.t.a.log, d, l.spans.Of(i))
	}
	l.tell(l.states.News(list, l.ledger.Server)...)
}

func (l *loop) tell(news ...events.Body) { l.t.a.events.Add(time.Now(), news...) }

func viewOf(l *ledger.Ledger) *api.View {
	return &api.View{Summary: l.Summary(), Specs: l.Specs(), Servers: l.Servers(), Moves: l.Moves(), Events: l.Events()}
}
