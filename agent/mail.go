package agent

import (
	"fmt"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/process"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
)

// rosterMail is an event for one server.
type rosterMail struct {
	app         shard.App
	event       roster.Event
	traceParent string // of a command in a trace
}

func (m rosterMail) deliver(l *loop) {
	s, ok := l.servers[m.app]
	if !ok {
		return
	}
	if done, ok := m.event.(roster.CallDone); ok {
		if cancel := s.calls[done.ID]; cancel != nil {
			cancel()
			delete(s.calls, done.ID)
		}
	}
	if a, ok := m.event.(roster.Attached); ok && (s.attacher == nil || s.attacher.incarnation != a.Incarnation) {
		return // a stream of an attacher that was ended meanwhile
	}
	if command, ok := m.event.(roster.Command); ok {
		s.spans.Received(command.ID, m.traceParent)
	}
	l.step(s, m.event)
}

// helloMail asks what to open a stream with.
type helloMail struct {
	app         shard.App
	incarnation shard.Incarnation
	answer      chan<- helloAnswer
}

type helloAnswer struct {
	hello roster.Hello
	ok    bool
}

func (m helloMail) deliver(l *loop) {
	var a helloAnswer
	if s, ok := l.servers[m.app]; ok {
		a.hello, a.ok = s.roster.Hello()
		a.ok = a.ok && a.hello.Server.Incarnation == m.incarnation
	}
	m.answer <- a
}

// attachTrouble says that no leader took the server on.
type attachTrouble struct {
	app   shard.App
	where string
	err   error
}

func (m attachTrouble) deliver(l *loop) {
	detail, _ := wire.DetailOf(m.err)
	kind := connect.CodeOf(m.err).String() + detail.GetReason().String() // who said so differs from round to round
	if s, ok := l.servers[m.app]; ok && m.err != nil && s.trouble.pass(kind) {
		l.log.Warn().Str("server", string(s.id)).Str("at", m.where).Err(m.err).Msg("not attached")
	}
}

// registerMail is a process that asks to be a server. Process is the loop's from here on.
type registerMail struct {
	registration api.Registration
	process      *process.Process
	answer       chan<- roster.Reply
}

func (m registerMail) deliver(l *loop) {
	refuse := func(r roster.Refusal, why string) {
		m.process.Close()
		m.answer <- roster.Reply{Refusal: r, Why: why}
	}
	if l.stopped != "" && !l.serves(m.registration) {
		refuse(roster.RefusedStopping, l.stopped)
		return
	}
	s, err := l.serverOf(m.registration.App)
	if err != nil {
		refuse(roster.RefusedBusy, err.Error())
		return
	}
	if s.process != nil && s.process.Exited() { // its successor was faster than the news of its exit
		l.gone(s, s.process)
	}
	app := m.registration.Application
	app.Process = m.process.ID
	if _, other := s.roster.Other(app.Process); other { // the roster refuses, and names the one that is there
		m.process.Close()
	} else {
		l.watch(s, m.process)
	}
	l.register(s, m, app)
}

// serves: a process that serves here already comes again; even a draining agent goes on looking after it.
func (l *loop) serves(r api.Registration) bool {
	s, ok := l.servers[r.App]
	return ok && r.Incarnation != 0 && r.Incarnation == s.roster.View(l.agent.now()).Server.Incarnation
}

func (l *loop) register(s *server, m registerMail, app roster.Application) {
	l.ask(s, m.answer, func(id roster.RequestID) roster.Event {
		return roster.AppRegistered{
			Request: id, Application: app, Incarnation: m.registration.Incarnation, Held: m.registration.Held,
			Highest: m.registration.Highest, Fresh: drawIncarnation(),
		}
	})
}

// drawIncarnation draws from the runtime's generator, which the kernel seeds: only equality means anything.
func drawIncarnation() shard.Incarnation {
	for {
		if i := shard.Incarnation(rand.Uint64()); i != 0 {
			return i
		}
	}
}

// goneMail: a process has exited.
type goneMail struct {
	app     shard.App
	process *process.Process
}

func (m goneMail) deliver(l *loop) {
	if s, ok := l.servers[m.app]; ok {
		l.gone(s, m.process)
	}
}

// pullMail asks for the remaining lease.
type pullMail struct {
	app         shard.App
	incarnation shard.Incarnation
	transfers   []progress.Transfer
	answer      chan<- roster.Reply
}

func (m pullMail) deliver(l *loop) {
	s, ok := l.servers[m.app]
	if !ok {
		m.answer <- roster.Reply{Refusal: roster.RefusedUnknown, Why: "register first: the agent does not know this process"}
		return
	}
	l.ask(s, m.answer, func(id roster.RequestID) roster.Event {
		return roster.Pull{Request: id, Incarnation: m.incarnation, Transfers: m.transfers}
	})
}

// hintsMail opens a feed of hints.
type hintsMail struct {
	app         shard.App
	incarnation shard.Incarnation
	answer      chan<- hintsAnswer
}

type hintsAnswer struct {
	reply roster.Reply
	feed  *feed
}

func (m hintsMail) deliver(l *loop) {
	s, ok := l.servers[m.app]
	if !ok {
		m.answer <- hintsAnswer{reply: roster.Reply{Refusal: roster.RefusedUnknown, Why: "register first: the agent does not know this process"}}
		return
	}
	a := hintsAnswer{reply: s.roster.Standing(m.incarnation)}
	if len(s.feeds) >= maxFeeds {
		a.reply = roster.Reply{Refusal: roster.RefusedStore, Why: fmt.Sprintf("%d watchers are there already", maxFeeds)}
	}
	if a.reply.Refusal == 0 {
		a.feed = &feed{c: make(chan roster.Hint, 1)}
		if a.reply.Ended {
			close(a.feed.c)
		} else {
			s.feeds[a.feed] = struct{}{}
		}
	}
	m.answer <- a
}

// hintsDone closes a feed.
type hintsDone struct {
	app  shard.App
	feed *feed
}

func (m hintsDone) deliver(l *loop) {
	if s, ok := l.servers[m.app]; ok {
		delete(s.feeds, m.feed)
	}
}

// statusMail asks how everything stands.
type statusMail struct{ answer chan<- api.Status }

func (m statusMail) deliver(l *loop) { m.answer <- l.status() }

// drainMail asks for a drain, or takes it back; app empty: of every server.
type drainMail struct {
	app shard.App
	on  bool
}

func (m drainMail) deliver(l *loop) {
	for _, name := range shard.SortedKeys(l.servers) {
		if m.app == "" || m.app == name {
			l.step(l.servers[name], roster.Drain{On: m.on})
		}
	}
}

// restMail asks for a rest lease of every server; the answer has room for all of them. Count says how many will come.
type restMail struct {
	length time.Duration
	answer chan<- roster.Reply
	count  chan<- int
}

func (m restMail) deliver(l *loop) {
	m.count <- len(l.servers)
	for _, name := range shard.SortedKeys(l.servers) {
		l.ask(l.servers[name], m.answer, func(id roster.RequestID) roster.Event { return roster.Rest{Request: id, Length: m.length} })
	}
}

// closeMail takes no application on any more.
type closeMail struct{ reason string }

func (m closeMail) deliver(l *loop) { l.stopped = m.reason }

// stopMail ends every incarnation.
type stopMail struct{ reason string }

func (m stopMail) deliver(l *loop) {
	l.stopped = m.reason
	for _, name := range shard.SortedKeys(l.servers) {
		l.step(l.servers[name], roster.Stop{Reason: m.reason})
	}
}

// startMail takes up what the state directory holds.
type startMail struct{ files []loaded }

func (m startMail) deliver(l *loop) {
	for _, f := range m.files {
		l.start(f)
	}
	for _, name := range l.agent.cfg.Apps {
		if _, err := l.serverOf(shard.App(name)); err != nil {
			l.log.Warn().Err(err).Msg("app not served")
		}
	}
}

// noteMail is a line for the log.
type noteMail struct {
	what   string
	fields map[string]any
	err    error
}

func (m noteMail) deliver(l *loop) {
	event := l.log.Info()
	if m.err != nil {
		event = l.log.Warn().Err(m.err)
	}
	event.Fields(m.fields).Msg(m.what)
}
