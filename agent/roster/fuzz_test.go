package roster_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// FuzzModel plays TestNoLeaseWithoutProof, its choices made by the fuzzer.
func FuzzModel(f *testing.F) {
	f.Add(make([]byte, 512))
	f.Fuzz(rapid.MakeFuzz(func(rt *rapid.T) { noLeaseWithoutProof(newWorld(rt), rt) }))
}

// FuzzEvents plays any events in any order on a roster: answers to nothing, streams that nobody opened, old lives, absurd numbers. It
// never panics, its invariants hold as far as they can be seen from outside, and the same events give the same effects.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 0, 4, 0, 5, 0, 0, 8, 1, 3, 10, 1, 1, 14, 0, 1, 1, 1, 1, 0, 15, 0, 1})
	f.Add([]byte{2, 0, 1, 1, 1, 3, 1, 1, 2, 2, 1, 1, 1, 1, 0, 3, 1, 0, 20, 1, 19, 9, 250, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, input []byte) {
		first := (&play{t: t, script: script{input}}).run()
		again := (&play{t: t, script: script{input}}).run()
		for i := range first {
			if first[i] != again[i] {
				t.Fatalf("step %d had these effects first:\n%s\nand then these:\n%s", i, first[i], again[i])
			}
		}
	})
}

// script turns bytes into choices; when they are used up, all choices are 0.
type script struct{ rest []byte }

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *script) draw(n int) int { return int(s.byte()) % n }

func (s *script) yes() bool { return s.byte()&1 == 1 }

// number is a small one mostly, and any at times.
func (s *script) number() uint64 {
	b := s.byte()
	if b < 240 || len(s.rest) < 8 {
		return uint64(b % 8)
	}
	n := binary.LittleEndian.Uint64(s.rest)
	s.rest = s.rest[8:]
	return n
}

// play is a roster with its script, and what is seen of it from outside.
type play struct {
	script
	t       *testing.T
	w       *world
	streams roster.StreamID
	asked   uint64 // the newest renewal's number
	running []roster.Call
	lanes   []roster.Call
	highest map[shard.ID]shard.Order
	life    shard.Incarnation
	fresh   shard.Incarnation
	effects []string
}

func (p *play) run() []string {
	p.w = newWorld(p.t)
	p.highest = map[shard.ID]shard.Order{}
	if saved := p.saved(); p.yes() {
		p.w.ended[saved.Incarnation] = saved.Ended
		p.step(roster.Started{Saved: saved, Alive: p.yes()})
	}
	for len(p.rest) > 0 && len(p.effects) < 300 {
		if p.draw(4) == 0 {
			p.w.now = p.w.now.Add(time.Duration(p.draw(100)) * 100 * time.Millisecond)
			p.w.out.Reset()
			p.w.r.Tick(p.w.now, &p.w.out)
			p.w.check()
			p.look()
			continue
		}
		p.step(p.event())
	}
	return p.effects
}

func (p *play) step(ev roster.Event) {
	p.w.step(ev)
	p.look()
}

// look takes note of the effects, and checks what can be seen.
func (p *play) look() {
	v := p.w.r.View(p.w.now)
	if v.Server.Incarnation != p.life || v.Life != roster.Live {
		p.life = v.Server.Incarnation
		p.running, p.lanes = nil, nil
		clear(p.highest)
	}
	for _, h := range v.Held {
		if h.Max.Compare(p.highest[h.Shard]) < 0 {
			p.t.Fatalf("shard %s: the highest order fell from %s to %s", h.Shard, p.highest[h.Shard], h.Max)
		}
		p.highest[h.Shard] = h.Max
	}
	for _, m := range p.w.out.Messages {
		if renew, ok := m.Body.(roster.Renew); ok {
			p.asked = renew.Sequence
		}
	}
	for _, id := range p.w.out.Cancels {
		p.lanes = slices.DeleteFunc(p.lanes, func(c roster.Call) bool { return c.ID == id })
	}
	for _, c := range p.w.out.Calls {
		list := &p.running
		if c.Kind == roster.CallUpdateMembership {
			list = &p.lanes
		}
		if slices.ContainsFunc(*list, func(other roster.Call) bool { return c.Shard != "" && other.Shard == c.Shard }) {
			p.t.Fatalf("two calls of shard %s at once: %+v and %+v", c.Shard, *list, c)
		}
		*list = append(*list, c)
	}
	p.effects = append(p.effects, fmt.Sprintf("%+v\n%+v", p.w.out, v))
	p.w.out.Reset()
}

func (p *play) incarnation() shard.Incarnation {
	switch p.draw(8) {
	case 0:
		return shard.Incarnation(p.number())
	case 1:
		return 1000 + p.fresh
	}
	return p.life
}

func (p *play) stream() roster.StreamID {
	if p.draw(4) > 0 {
		return p.streams
	}
	return roster.StreamID(p.number())
}

func (p *play) epoch() shard.Epoch { return shard.Epoch{Index: p.number()} }

func (p *play) order() shard.Order {
	return shard.Order{Term: shard.Term(p.number()), Move: shard.MoveID(p.number())}
}

func (p *play) id() shard.ID { return shard.ID([]string{"0", "1", "2"}[p.draw(3)]) }

func (p *play) process() roster.Process {
	return roster.Process{PID: int64(p.draw(3)), StartTicks: 1, ExitProves: p.yes()}
}

func (p *play) saved() roster.Saved {
	return roster.Saved{Incarnation: shard.Incarnation(p.number()), Session: []string{"", "s", "other"}[p.draw(3)], Create: p.number(), Ended: p.yes(), ProvenDead: p.yes(),
		Process: p.process(), ServeOn: p.yes()}
}

// held is what an application may say, as it comes through the wire's checks.
func (p *play) held() []shard.Held {
	var list []shard.Held
	for _, id := range []shard.ID{"0", "1", "2"}[:p.draw(4)] {
		h := shard.Held{Shard: id, Phase: []shard.Phase{shard.None, shard.Prepared, shard.Serving, shard.Forwarding, shard.Following}[p.draw(5)], Max: p.order()}
		if h.Phase != shard.None {
			h.Max.Term = max(h.Max.Term, 1)
			h.Term, h.Activated = h.Max.Term-shard.Term(p.number())%h.Max.Term, p.yes()
		}
		list = append(list, h)
	}
	return list
}

func (p *play) call(list []roster.Call) roster.CallID {
	if len(list) == 0 || p.draw(8) == 0 {
		return roster.CallID(p.number())
	}
	return list[p.draw(len(list))].ID
}

// answered forgets a call that is answered.
func (p *play) answered(id roster.CallID) roster.CallID {
	is := func(c roster.Call) bool { return c.ID == id }
	p.running, p.lanes = slices.DeleteFunc(p.running, is), slices.DeleteFunc(p.lanes, is)
	return id
}

func (p *play) event() roster.Event {
	switch p.draw(20) {
	case 0:
		serves := p.incarnation() * shard.Incarnation(p.draw(2))
		p.fresh++ // drawn at random: never one that was
		return roster.AppRegistered{Request: 1, Fresh: 1000 + p.fresh, Incarnation: serves, Held: p.held(), Highest: p.epoch(),
			Application: roster.Application{Process: p.process(), HostAddress: "unix:///a", Activate: p.yes(), Load: p.yes(), Membership: p.yes()}}
	case 1:
		return roster.AppGone{Process: p.process()}
	case 2:
		return roster.Pull{Request: 2, Incarnation: p.incarnation(), Transfers: []progress.Transfer{{Shard: p.id(), Order: p.order()}}}
	case 3:
		if p.draw(4) > 0 {
			return roster.FileSaved{Saved: p.w.saved, Err: []string{"", "", "full"}[p.draw(3)]}
		}
		return roster.FileSaved{Saved: p.saved()}
	case 4, 5:
		return roster.KeyRegistered{Incarnation: 1000 + p.fresh - shard.Incarnation(p.draw(4)/3), Session: "s", Create: p.number()}
	case 6:
		return roster.KeyRefused{Incarnation: p.incarnation(), Session: []string{"", "s"}[p.draw(2)], Holder: []string{"", "b"}[p.draw(2)], Why: "why"}
	case 7:
		return roster.KeyRead{Incarnation: p.incarnation(), State: roster.KeyState(1 + p.draw(3)), Why: "why"}
	case 8:
		return roster.SessionRenewed{Session: []string{"s", "other", ""}[p.draw(3)], Lost: p.yes(), Err: []string{"", "timeout"}[p.draw(2)]}
	case 9:
		return roster.SessionDestroyed{Session: []string{"s", "other", ""}[p.draw(3)], Err: []string{"", "timeout"}[p.draw(2)]}
	case 10, 11:
		p.streams++
		return roster.Attached{Stream: p.streams, Incarnation: p.incarnation(), Epoch: p.epoch(), Interval: time.Duration(p.draw(3)) * time.Second, Validity: time.Duration(p.draw(9)) * time.Second}
	default:
		return p.said()
	}
}

// said is what a leader, an operator or the application says.
func (p *play) said() roster.Event {
	switch p.draw(12) {
	case 0:
		return roster.Detached{Stream: p.stream(), Why: "broke"}
	case 1, 2:
		return roster.Granted{Stream: p.stream(), Sequence: p.asked + uint64(p.draw(3)/2), Remaining: time.Duration(p.draw(8)-1) * time.Second, ServeOn: p.yes()}
	case 3:
		return roster.RestGranted{Stream: p.stream(), Sequence: p.asked + uint64(p.draw(3)), Remaining: time.Duration(p.draw(31)) * time.Second}
	case 4:
		return roster.Fenced{Incarnation: p.incarnation(), Reason: "silent"}
	case 5:
		return roster.DrainProgress{Stream: p.stream(), Remaining: int(p.number())}
	case 6:
		if p.draw(8) == 0 {
			return roster.Stop{Reason: "asked to"}
		}
		return roster.Drain{On: p.yes()}
	case 7:
		return roster.Rest{Request: 3, Length: time.Duration(p.number())}
	case 8, 9:
		id := p.call(slices.Concat(p.running, p.lanes))
		return roster.CallDone{ID: p.answered(id), Outcome: roster.Outcome(1 + p.draw(6)), Err: "err", Loads: []roster.ShardLoad{{Shard: p.id(), Load: map[string]int64{"cpu": int64(p.number())}}}}
	default:
		c := roster.Command{Stream: p.stream(), Role: shard.Role(p.draw(3)), Deadline: time.Duration(p.number()) * time.Second, Peer: shard.Peer{Server: "b.kv", Incarnation: 1},
			ID: roster.CommandID{Epoch: p.epoch(), Incarnation: p.incarnation(), Shard: p.id(), Order: p.order(), Kind: roster.Kind(1 + p.draw(6))}}
		if p.draw(8) > 0 {
			c.ID.Epoch = p.w.r.View(p.w.now).Epoch
		}
		return c
	}
}
