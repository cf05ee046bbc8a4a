package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Times of attaching (agent/pacing).
const (
	attachPause = 200 * time.Millisecond
	welcomeWait = 3 * time.Second
)

// attacher keeps a stream to whoever leads, for one incarnation: what agent/attach.go does.
type attacher struct {
	g           *agent
	incarnation shard.Incarnation
	over        bool
	turn        int
	at          *attachment // the stream under way; nil: none
	tenure      *tenure
	id          roster.StreamID // 0: not welcomed yet
	heard       time.Duration   // true instant of the leader's last word
}

// attach is the roster's wish.
func (g *agent) attach(incarnation shard.Incarnation) {
	if g.attacher != nil && g.attacher.incarnation == incarnation {
		return
	}
	if g.attacher != nil {
		g.attacher.end()
		g.attacher = nil
	}
	if incarnation != 0 {
		g.attacher = &attacher{g: g, incarnation: incarnation}
		g.attacher.round()
	}
}

// end lets go, after what was sent has gone out.
func (t *attacher) end() {
	t.over = true
	if at := t.at; at != nil {
		t.at = nil
		at.stream.toB(func() { at.stream.close(false) })
	}
}

// drop is the end of the agent's process: its machine, if it is up, resets the connection.
func (t *attacher) drop(up bool) {
	t.over = true
	if at := t.at; at != nil && up {
		at.stream.close(true)
	}
}

// round asks the leader by the store's word, or else one allocator after the other.
func (t *attacher) round() {
	if t.over || t.at != nil {
		return
	}
	t.turn++
	w := t.g.w
	a := w.allocatorAt(t.g.leader.holder)
	if a == nil || t.g.leader.session == "" || t.turn%3 == 0 {
		a = w.allocators[t.turn/3%len(w.allocators)]
	}
	again := func() { t.g.process.After(attachPause, t.round) }
	call[*tenure]{from: t.g.host.at, to: a.at, timeout: welcomeWait,
		serve: func(answer func(*tenure)) { a.process.Do(func() { answer(a.tenure) }) },
		done: func(leads *tenure, ok bool) {
			switch {
			case t.over || t.at != nil:
			case !ok || leads == nil || leads.over:
				again()
			default:
				t.open(leads)
			}
		},
	}.make(w, t.g.process)
}

// open opens a stream at a leader.
func (t *attacher) open(leads *tenure) {
	hello, ok := t.g.core.Hello()
	if !ok {
		return
	}
	g, w := t.g, t.g.w
	s := &stream{w: w, a: g.host.at, b: leads.a.at, endA: func(bool) {}, endB: func(bool) {}}
	at := &attachment{stream: s, agent: g}
	t.at, t.tenure, t.id, t.heard = at, leads, 0, w.queue.Now()
	s.endA = func(bool) { g.process.Do(func() { t.ended(at, "closed by the leader") }) }
	s.toB(func() {
		leads.a.process.Do(func() {
			if leads.over {
				s.close(true)
				return
			}
			has := hello.Application
			leads.attach(at, ledger.Hello{
				Server: hello.Server, Held: hello.Held, HighestEpoch: hello.Highest, Draining: hello.Draining, Replicates: has.ChangeRole && has.Membership,
			})
		})
	})
	g.process.After(welcomeWait, func() {
		if t.at == at && t.id == 0 {
			s.close(true)
			t.ended(at, "no welcome")
		}
	})
}

// ended takes note that a stream is over, and tries again.
func (t *attacher) ended(at *attachment, why string) {
	if t.at != at {
		return
	}
	id := t.id
	t.at, t.id = nil, 0
	if id != 0 {
		t.g.step(roster.Detached{Stream: id, Why: why})
	}
	if !t.over {
		t.g.process.After(attachPause, t.round)
	}
}

// send puts a message of the roster's on the stream that it means.
func (t *attacher) send(m roster.Message) {
	if t == nil || t.at == nil || t.id != m.Stream {
		return
	}
	at, leads := t.at, t.tenure
	at.stream.toB(func() {
		leads.a.process.Do(func() {
			if id := leads.streamOf(at); id != 0 {
				leads.step(upward(id, m.Body))
			}
		})
	})
}

// upward is a message of the roster's as the ledger takes it; the numbers are those of the wire.
func upward(id ledger.StreamID, body roster.Body) ledger.Event {
	switch b := body.(type) {
	case roster.Renew:
		loads := make([]ledger.ShardLoad, 0, len(b.Loads))
		for _, l := range b.Loads {
			loads = append(loads, ledger.ShardLoad(l))
		}
		return ledger.Renew{Stream: id, Sequence: b.Sequence, AskedNS: b.AskedNS, Loads: loads, Transfers: b.Transfers,
			ApplicationSilent: b.ApplicationSilent, ServeOn: b.ServeOn}
	case roster.Result:
		return ledger.Result{Stream: id, Status: ledger.Status(b.Status), Err: b.Err, ID: message.CommandID{
			Epoch: b.ID.Epoch, Incarnation: b.ID.Incarnation, Shard: b.ID.Shard, Order: b.ID.Order, Kind: message.Kind(b.ID.Kind)}}
	case roster.DrainRequested:
		return ledger.DrainRequested{Stream: id, On: b.On}
	case roster.RestRequested:
		return ledger.RestRequested{Stream: id, Sequence: b.Sequence, Length: b.Length}
	case roster.Ended:
		return ledger.Ended{Stream: id, Incarnation: b.Incarnation, ProvenDead: b.ProvenDead, Reason: b.Reason}
	}
	panic("sim: unknown message")
}

// hear takes what the leader said.
func (g *agent) hear(at *attachment, epoch shard.Epoch, body message.Body) {
	g.process.Do(func() {
		t := g.attacher
		if t == nil || t.at != at {
			return
		}
		t.heard = g.w.queue.Now()
		switch b := body.(type) {
		case message.Welcome:
			g.w.streams++
			t.id = g.w.streams
			g.step(roster.Attached{Stream: t.id, Incarnation: t.incarnation, Epoch: epoch, Interval: b.Interval, Validity: b.Validity})
		case message.Grant:
			g.step(roster.Granted{Stream: t.id, Sequence: b.Sequence, Remaining: b.Remaining, ServeOn: b.ServeOn})
		case message.RestGranted:
			g.step(roster.RestGranted{Stream: t.id, Sequence: b.Sequence, Remaining: b.Remaining})
		case message.Command:
			g.command(t.id, b)
		case message.Probe:
			g.probe(at, t.tenure, b)
		case message.DrainProgress:
			g.step(roster.DrainProgress{Stream: t.id, Remaining: b.Remaining})
		case message.Fenced:
			g.step(roster.Fenced{Incarnation: b.Incarnation, Reason: b.Reason})
		case message.Refuse, message.Close: // the end of the stream follows
		}
	})
}

// command passes a command on; sometimes it comes again, much later.
func (g *agent) command(id roster.StreamID, c message.Command) {
	ev := roster.Command{Stream: id, Role: c.Role, Members: c.Members, Peer: c.Peer, Deadline: c.Deadline, ID: roster.CommandID{
		Epoch: c.ID.Epoch, Incarnation: c.ID.Incarnation, Shard: c.ID.Shard, Order: c.ID.Order, Kind: roster.Kind(c.ID.Kind)}}
	if g.w.chance.PerMille(g.w.repeats) {
		g.process.After(g.w.chance.UpTo(20*time.Second), func() {
			if t := g.attacher; t != nil && t.id != 0 {
				again := ev
				again.Stream = t.id
				g.w.say(g.host.name, "agent hears again: %s %s %s", c.ID.Kind, c.ID.Shard, c.ID.Order)
				g.step(again)
			}
		})
	}
	g.step(ev)
}

// probe tries another server for the leader: its agent, and its application.
func (g *agent) probe(at *attachment, leads *tenure, p message.Probe) {
	target := g.w.hostOf(p.Target.ID)
	answer := ledger.ProbeAnswer{ID: p.ID, Server: p.Target.ID, Agent: evidence.Silent, Application: evidence.Silent}
	told := 0
	tell := func() {
		if told++; told < 2 {
			return
		}
		at.stream.toB(func() {
			leads.a.process.Do(func() {
				if answer.Stream = leads.streamOf(at); answer.Stream != 0 {
					leads.step(answer)
				}
			})
		})
	}
	try := func(outcome *evidence.Outcome, process func() bool, serve func(func(bool))) {
		call[bool]{from: g.host.at, to: target.at, timeout: p.Timeout,
			serve: func(answer func(bool)) {
				if target.up && !process() {
					answer(false) // nobody listens: refused
				} else if target.up {
					serve(answer)
				}
			},
			done: func(there, ok bool) {
				switch {
				case ok && there:
					*outcome = evidence.Answered
				case ok:
					*outcome = evidence.Refused
				}
				tell()
			},
		}.make(g.w, g.process)
	}
	try(&answer.Agent, func() bool { return target.agent != nil && target.agent.process.Alive() },
		func(yes func(bool)) { target.agent.process.Do(func() { yes(true) }) })
	try(&answer.Application, target.app.lives, func(yes func(bool)) { target.app.process.Do(func() { yes(true) }) })
}
