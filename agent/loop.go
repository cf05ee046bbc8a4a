package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/app"
	"github.com/shardmanager/shardmanager/agent/process"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/agent/spans"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// maxMailbox is the most news that wait for the loop; senders wait while it is full, and so does whoever they serve.
	maxMailbox = 4096
	// maxServers is the most applications beside one agent; a further one is refused.
	maxServers = 64
	// maxFeeds is the most watchers of one server's hints; a further one is refused.
	maxFeeds = 64
	// tick is how often the rosters are asked what is due.
	tick = 100 * time.Millisecond
)

// mail is something for the loop.
//
//sumtype:decl
type mail interface{ deliver(l *loop) }

// loop owns the rosters. Everything below runs on its goroutine.
type loop struct {
	agent   *Agent
	log     zerolog.Logger
	servers map[shard.App]*server
	waiting map[roster.RequestID]chan<- roster.Reply
	request roster.RequestID
	out     roster.Effects
	stopped string // why no application is taken on any more; empty: they are
}

// server is one roster and what belongs to it.
type server struct {
	app       shard.App
	id        shard.ServerID
	roster    *roster.Roster
	registrar *registrar
	client    *app.Client
	attacher  *attacher
	process   *process.Process
	calls     map[roster.CallID]context.CancelFunc
	feeds     map[*feed]struct{}
	spans     *spans.Commands // nil: nothing is traced
	trouble   throttle        // of attaching
	said      said
	told      told
}

// feed is one watcher of hints.
type feed struct{ c chan roster.Hint }

// throttle lets a kind of message through when it is new, or again after a while.
type throttle struct{ last map[string]time.Time }

const (
	repeatAfter = 10 * time.Second
	maxKinds    = 64 // beyond it all are forgotten, and pass once more
)

func (t *throttle) pass(kind string) bool {
	now := time.Now()
	if at, ok := t.last[kind]; ok && now.Sub(at) < repeatAfter {
		return false
	}
	if t.last == nil || len(t.last) >= maxKinds {
		t.last = map[string]time.Time{}
	}
	t.last[kind] = now
	return true
}

func (a *Agent) newLoop() *loop {
	return &loop{
		agent: a, log: a.log, servers: map[shard.App]*server{}, waiting: map[roster.RequestID]chan<- roster.Reply{},
	}
}

// post gives mail to the loop; it waits while the mailbox is full, and does nothing once the loop is gone.
func (a *Agent) post(m mail) {
	select {
	case a.mailbox <- m:
	case <-a.loopDone:
	}
}

func (l *loop) run(ctx context.Context) {
	defer close(l.agent.loopDone)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			l.close()
			return
		case m := <-l.agent.mailbox:
			m.deliver(l)
		case <-ticker.C:
			now := l.agent.now()
			l.agent.contact.tick(now)
			for _, name := range shard.SortedKeys(l.servers) {
				s := l.servers[name]
				l.out.Reset()
				s.roster.Tick(now, &l.out)
				l.perform(s)
			}
		}
	}
}

func (l *loop) close() {
	for _, s := range l.servers {
		if s.attacher != nil {
			s.attacher.end()
		}
		if s.process != nil {
			s.process.Close()
		}
		for _, cancel := range s.calls {
			cancel()
		}
		s.client.Close()
		close(s.registrar.ops)
	}
}

// step takes an event in and performs what follows from it.
func (l *loop) step(s *server, ev roster.Event) {
	l.out.Reset()
	now := l.agent.now()
	before := s.roster.Remaining(now)
	s.roster.Step(now, ev, &l.out)
	if before > 0 && s.roster.Remaining(now) > before {
		l.agent.metrics.Renewed(s.app, before)
	}
	l.perform(s)
}

// perform carries effects out; nothing here waits.
func (l *loop) perform(s *server) {
	for _, op := range l.out.Store {
		l.store(s, op)
	}
	for _, call := range l.out.Calls {
		l.call(s, call)
	}
	for _, id := range l.out.Cancels {
		if cancel := s.calls[id]; cancel != nil {
			cancel()
			delete(s.calls, id)
		}
	}
	for _, m := range l.out.Messages {
		if s.attacher != nil {
			s.attacher.send(m.Stream, l.measured(s, m.Stream, l.located(s, m.Stream, messageToProto(m.Body))))
		}
	}
	for _, a := range l.out.Attach {
		l.attach(s, a)
	}
	for _, h := range l.out.Hints {
		s.hint(h)
	}
	for _, r := range l.out.Replies {
		if answer, ok := l.waiting[r.Request]; ok {
			delete(l.waiting, r.Request)
			answer <- r
		}
	}
	for _, d := range l.out.Trace {
		l.trace(s, d)
	}
	s.spans.Said(&l.out)
	l.agent.metrics.Decided(s.app, l.out.Trace)
}

func (l *loop) store(s *server, op roster.StoreOp) {
	switch op.(type) {
	case roster.ReadKey, roster.RenewSession:
		l.agent.work.Go(func() { s.registrar.beside(l.agent.ctx, op) })
		return
	case roster.Save, roster.RegisterKey, roster.DestroySession:
	}
	select {
	case s.registrar.ops <- op:
	default: // the roster has a handful under way at most
		panic(fmt.Sprintf("agent: %d operations wait for server %s", queuedOps, s.id))
	}
}

func (l *loop) call(s *server, call roster.Call) {
	if invariant.Enabled { // two more: loads are collected, and the incarnation is ended
		invariant.Check(s.calls[call.ID] == nil && len(s.calls) < roster.MaxRunning+roster.MaxMemberships+2, "server %s: call %d is one of %d", s.id, call.ID, len(s.calls))
		invariant.Check(len(l.agent.mailbox) <= maxMailbox, "%d news wait", len(l.agent.mailbox))
	}
	ctx, cancel := context.WithCancel(l.agent.ctx)
	s.calls[call.ID] = cancel
	ctx = s.spans.Calling(ctx, call)
	l.agent.work.Go(func() {
		began := time.Now()
		done := s.client.Do(ctx, call)
		l.agent.metrics.Called(s.app, call.Kind, done.Outcome, time.Since(began))
		l.agent.post(rosterMail{app: s.app, event: done})
	})
}

func (l *loop) attach(s *server, a roster.Attachment) {
	if s.attacher != nil && s.attacher.incarnation == a.Incarnation {
		return
	}
	if s.attacher != nil {
		s.attacher.end()
		s.attacher = nil
	}
	if a.Incarnation != 0 {
		s.attacher = l.agent.attach(s.app, s.id, a.Incarnation)
	}
}

func (s *server) hint(h roster.Hint) {
	for f := range s.feeds {
		switch h {
		case roster.HintPull:
			select {
			case f.c <- h:
			default: // one unread says it all
			}
		case roster.HintEnded:
			close(f.c)
			delete(s.feeds, f)
		}
	}
}

func (l *loop) trace(s *server, d roster.Decision) {
	var event *zerolog.Event
	switch d.Weight {
	case roster.Detail:
		event = l.log.Debug()
	case roster.Notable:
		event = l.log.Info()
	case roster.Trouble:
		event = l.log.Warn()
	}
	event = event.Str("server", string(s.id))
	if d.Incarnation != 0 {
		event = event.Stringer("incarnation", d.Incarnation)
	}
	if d.Shard != "" {
		event = event.Str("shard", string(d.Shard)).Stringer("order", d.Order)
	}
	if d.Why != "" {
		event = event.Str("why", d.Why)
	}
	if in := s.spans.Of(d); in.IsValid() {
		event = event.Stringer("trace_id", in.TraceID()).Stringer("span_id", in.SpanID())
	}
	event.Msg(d.What)
}

// serverOf finds a server, or makes it.
func (l *loop) serverOf(name shard.App) (*server, error) {
	if s, ok := l.servers[name]; ok {
		return s, nil
	}
	if !l.agent.allowed(name) {
		return nil, fmt.Errorf("app %s: this agent serves %v only: change its apps", name, l.agent.cfg.Apps)
	}
	if len(l.servers) >= maxServers {
		return nil, fmt.Errorf("app %s: this agent serves %d applications already, which is the most", name, maxServers)
	}
	a := l.agent
	id := shard.MakeServerID(a.cfg.Name, name)
	s := &server{
		app: name, id: id, client: app.New(name, a.callOptions...), spans: spans.New(a.tracing, id), calls: map[roster.CallID]context.CancelFunc{}, feeds: map[*feed]struct{}{},
		roster: roster.New(a.settings(), shard.Server{
			ID: id, App: name, Agent: a.cfg.Name, Locality: a.cfg.Locality(), AgentAddress: a.advertise, Capacity: a.cfg.Capacity,
		}),
	}
	s.registrar = &registrar{
		cluster: a.cfg.Cluster, app: name, store: a.store, dir: a.dir, ops: make(chan roster.StoreOp, queuedOps),
		post: func(ev roster.Event) { a.post(rosterMail{app: name, event: ev}) },
	}
	a.work.Go(func() { s.registrar.run(a.ctx) })
	l.servers[name] = s
	l.tellServed()
	a.maps.follow(name)
	return s, nil
}

// start takes up what the state directory says about a server (R4).
func (l *loop) start(f loaded) {
	if f.moved != "" {
		l.log.Error().Str("app", string(f.app)).Str("why", f.moved).Msg("state file corrupt")
		return
	}
	s, err := l.serverOf(f.app)
	if err != nil {
		l.log.Warn().Err(err).Msg("state file of another app")
		return
	}
	if f.rebooted {
		// Another boot may be another machine, where the process lives on: nothing is proven, and its session is not ours to destroy (R26).
		l.log.Warn().Str("server", string(s.id)).Stringer("incarnation", f.saved.Incarnation).
			Msg("state file of another boot: its incarnation is left to the leader and the store to end")
		return
	}
	started := roster.Started{Saved: f.saved}
	switch p, err := process.Open(f.saved.Process); {
	case err == nil:
		started.Alive = true
		l.watch(s, p)
	case !process.ProvesExit(err):
		l.log.Error().Err(err).Str("server", string(s.id)).Stringer("incarnation", f.saved.Incarnation).
			Msg("cannot tell whether the application lives (may this agent call pidfd_open and read /proc?): its incarnation is left to the leader and the store to end")
		return
	}
	l.step(s, started)
}

// watch makes p the process of a server.
func (l *loop) watch(s *server, p *process.Process) {
	if s.process != nil {
		s.process.Close()
	}
	s.process = p
	l.agent.host.Watch(string(s.app), p.ID.PID)
	l.agent.work.Go(func() {
		if p.Wait() {
			l.agent.post(goneMail{app: s.app, process: p})
		}
	})
}

// gone tells the roster of an exit, once.
func (l *loop) gone(s *server, p *process.Process) {
	if s.process == p {
		s.process = nil
		l.agent.host.Forget(string(s.app))
		p.Close()
		l.step(s, roster.AppGone{Process: p.ID})
	}
}

// ask steps an event that is answered by a Reply.
func (l *loop) ask(s *server, answer chan<- roster.Reply, event func(roster.RequestID) roster.Event) {
	l.request++
	l.waiting[l.request] = answer
	l.step(s, event(l.request))
}

func (l *loop) status() api.Status {
	status := api.Status{Agent: l.agent.cfg.Name, Version: l.agent.version, Locality: l.agent.cfg.Locality()}
	status.Run, status.OnTrial, status.RestartProblem = l.agent.run, l.agent.restarts.OnTrial, l.agent.restarts.Problem
	status.Usage, _ = l.agent.host.Usage("")
	now := l.agent.now()
	for _, name := range shard.SortedKeys(l.servers) {
		usage, _ := l.agent.host.Usage(string(name))
		status.Servers, status.Usages = append(status.Servers, l.servers[name].roster.View(now)), append(status.Usages, usage)
	}
	return status
}
