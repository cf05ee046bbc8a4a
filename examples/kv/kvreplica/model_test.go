package kvreplica

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is one shard on a few servers and the ledger that directs it; messages are lost, late, repeated and in any order between servers.
// A primary that was replaced goes on as if nobody had told it.
type model struct {
	t        *rapid.T
	replicas []*replica
	term     uint64
	primary  int
	inSync   map[int]bool // the ledger's durable set
	joining  map[int]bool // known to the primary, not in sync
	open     *switching   // a planned switch under way; nil: none
	list     int          // of the last list of members, the target's while a switch is under way

	number  uint64
	waiting map[*pending]bool
	acked   map[RequestID]int64 // the answers that clients got
	late    []message
}

// switching is a planned switch of the primary: the target counts the source as a member from its activation on.
type switching struct{ from, to int }

// message is one under way, kept so that it may arrive again at any time.
type message struct {
	from, to int
	lead     *leader
	link     *link
	writes   []write
	ask      int
	data     table // of a snapshot
	at       position
	install  int
}

const (
	modelServers = 4
	modelKeys    = 2
)

func memberOf(i int, inSync bool) Member {
	return Member{Server: fmt.Sprint(i), Address: fmt.Sprint(i), Incarnation: 1, InSync: inSync}
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, inSync: map[int]bool{}, joining: map[int]bool{}, waiting: map[*pending]bool{}, acked: map[RequestID]int64{}}
	for range modelServers {
		m.replicas = append(m.replicas, &replica{shard: "0"})
	}
	m.grant(0, mark{})
	return m
}

// grant makes a server primary at the next term; the ledger's list goes along.
func (m *model) grant(to int, state mark) {
	m.term++
	if _, err := m.replicas[to].activate(m.term, state); err != nil {
		m.t.Fatalf("grant to %d: %v", to, err)
	}
	m.primary = to
	delete(m.inSync, to)
	delete(m.joining, to)
	m.sendList()
}

func (m *model) sendList() {
	var list []Member
	for i := range m.replicas {
		if m.inSync[i] || m.joining[i] {
			list = append(list, memberOf(i, m.inSync[i]))
		}
	}
	lead := m.replicas[m.primary].leader
	if lead.over {
		return
	}
	lead.setMembers(list)
	m.list = lead.list
	m.settle()
}

// settle is the primary's answer to the list, and the ledger's row after it.
func (m *model) settle() {
	lead := m.replicas[m.primary].leader
	if m.open != nil {
		lead = m.replicas[m.open.to].leader
	}
	if lead == nil || lead.over || lead.list != m.list || !lead.settled() {
		return
	}
	lead.ready = true
	if m.open == nil {
		maps.Copy(m.inSync, m.joining)
		clear(m.joining)
	}
}

func (m *model) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(m.t, label) }

// believers are who believe to be primary, the ledger's among them, or the target of its switch.
func (m *model) believers() (list []int) {
	for i, r := range m.replicas {
		if r.role == primary {
			list = append(list, i)
		}
	}
	return list
}

// write is a client's, at anybody who believes to be primary; sometimes it repeats an earlier request.
func (m *model) write() {
	believers := m.believers()
	r := m.replicas[believers[m.pick("at", len(believers))]]
	if m.pick("new", 4) > 0 || m.number == 0 {
		m.number++
	}
	id := RequestID{Client: m.number % 3, Number: m.number}
	value, p, err := r.leader.increment(fmt.Sprint(m.number%modelKeys), id)
	switch {
	case err != nil:
	case p == nil:
		m.answer(id, value)
	default:
		m.waiting[p] = true
	}
	m.collect()
}

// collect gives clients the answers that are due.
func (m *model) collect() {
	for p := range m.waiting {
		select {
		case <-p.done:
			delete(m.waiting, p)
			if p.err == nil {
				m.answer(p.request, p.value)
			}
		default:
		}
	}
}

func (m *model) answer(id RequestID, value int64) {
	if before, ok := m.acked[id]; ok && before != value {
		m.t.Fatalf("request %v was answered %d, now %d", id, before, value)
	}
	m.acked[id] = value
}

// send makes a message of what somebody who believes to be primary has for one member.
func (m *model) send() {
	believers := m.believers()
	from := believers[m.pick("from", len(believers))]
	lead := m.replicas[from].leader
	to := m.pick("to", modelServers)
	k := lead.links[memberKey{fmt.Sprint(to), 1}]
	if k == nil || lead.over {
		return
	}
	q := message{from: from, to: to, lead: lead, link: k, ask: k.asks}
	if k.streaming {
		q.writes, q.at.term = k.queue[:m.pick("part", len(k.queue)+1)], lead.at.term
	} else {
		q.data, q.at, q.install = lead.snapshot(k)
	}
	m.late = append(m.late, q)
	if m.pick("lost", 4) > 0 {
		m.deliver(q, m.pick("answer lost", 4) > 0)
	}
}

// repeat lets an old snapshot arrive once more, or a batch whose answer is lost.
func (m *model) repeat() {
	if len(m.late) > 0 {
		m.deliver(m.late[m.pick("late", len(m.late))], false)
	}
}

func (m *model) deliver(q message, answered bool) {
	r, sender := m.replicas[q.to], m.replicas[q.from]
	var said taken
	if q.data != nil {
		said, _ = r.install(q.at, q.data.clone())
	} else {
		said, _ = r.take(q.at.term, q.writes)
	}
	if !answered || !q.lead.has(q.link) {
		return
	}
	switch {
	case said.state == refused:
		sender.promise(said.at.term)
	case q.data != nil && said.state == following:
		q.lead.installed(q.link, q.install, said.at.sequence)
	case said.state == behind:
		q.link.streaming = false
	case said.state == following && q.link.streaming:
		if !q.lead.acked(q.link, q.ask, said.at.sequence) {
			q.link.streaming = false
		}
	}
	m.collect()
	m.settle()
}

// join adds a secondary, drop takes one away: first in the row, then at the primary, then there.
func (m *model) join() {
	if i := m.pick("who", modelServers); i != m.primary && !m.inSync[i] && m.open == nil {
		m.replicas[i].follow()
		m.joining[i] = true
		m.sendList()
	}
}

func (m *model) drop() {
	i := m.pick("who", modelServers)
	if i == m.primary || m.open != nil {
		return
	}
	delete(m.inSync, i)
	delete(m.joining, i)
	if m.pick("list lost", 3) > 0 {
		m.sendList()
	}
	m.replicas[i].drop()
}

// failover grants to a secondary in sync. Nobody tells the old primary; it is listed again only later.
func (m *model) failover() {
	candidates := slices.Sorted(maps.Keys(m.inSync))
	if len(candidates) == 0 || m.open != nil {
		return
	}
	m.grant(candidates[m.pick("to", len(candidates))], mark{})
	m.check()
}

// handOver begins a planned switch: the old primary's operations have ended, so what waits is given up.
func (m *model) handOver() {
	candidates := slices.Sorted(maps.Keys(m.inSync))
	lead := m.replicas[m.primary].leader
	if len(candidates) == 0 || m.open != nil || lead == nil || lead.over || !lead.ready {
		return
	}
	clear(m.waiting)
	m.term++
	m.open = &switching{from: m.primary, to: candidates[m.pick("to", len(candidates))]}
	if _, err := m.replicas[m.open.to].activate(m.term, mark{at: lead.at}); err != nil {
		m.t.Fatalf("switch to %d: %v", m.open.to, err)
	}
	m.tellTarget(memberOf(m.open.from, true))
}

// tellTarget gives the target of a switch its members: those that stay, and more.
func (m *model) tellTarget(list ...Member) {
	for i := range m.inSync {
		if i != m.open.to {
			list = append(list, memberOf(i, true))
		}
	}
	lead := m.replicas[m.open.to].leader
	lead.setMembers(list)
	m.list = lead.list
	m.settle()
}

// end ends a switch: forward once the target has told all its members or the source is over, or back.
func (m *model) end() {
	if m.open == nil {
		return
	}
	from, to := m.open.from, m.open.to
	switch lead := m.replicas[to].leader; {
	case m.pick("back", 3) == 0:
		m.replicas[to].follow() // it stays in sync in the row
		m.open = nil
		m.grant(from, mark{})
	case m.pick("source over", 3) == 0:
		m.tellTarget()
		m.forward()
	case lead.ready:
		m.forward()
		m.inSync[from] = true
		m.replicas[from].follow()
	}
}

// forward is the row after the switch. Who was joining has to begin anew.
func (m *model) forward() {
	m.primary = m.open.to
	m.open = nil
	delete(m.inSync, m.primary)
	clear(m.joining)
}

// check: whatever was acknowledged is known to the primary, with the same answer, and nothing was applied twice.
func (m *model) check() {
	lead := m.replicas[m.primary].leader
	if m.open != nil {
		lead = m.replicas[m.open.to].leader
	}
	if lead == nil || lead.over {
		m.t.Fatal("the ledger's primary is deposed")
	}
	for id, value := range m.acked {
		key := fmt.Sprint(id.Number % modelKeys)
		got, _, found, err := lead.find(key, id)
		switch {
		case err == nil && !found:
			m.t.Fatalf("acknowledged write %v of key %s is lost: %d has %v", id, key, m.primary, lead.data[key])
		case err == nil && got != value:
			m.t.Fatalf("write %v was answered %d and is %d", id, value, got)
		}
	}
	for key, chain := range lead.byKey {
		for i, p := range chain {
			if p.value != lead.data.value(key)+int64(i)+1 {
				m.t.Fatalf("pending values of key %s: %d after %d", key, p.value, lead.data.value(key))
			}
		}
	}
}

// TestNothingAcknowledgedIsLost drives the cores through any order of writes, losses, repetitions, joins, drops, fail-overs and switches.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	acknowledged, grants := 0, uint64(0)
	course := func(t *rapid.T) {
		m := newModel(t)
		actions := []func(){
			m.write, m.write, m.write, m.send, m.send, m.send, m.send, m.send, m.repeat, m.join, m.join, m.drop, m.failover, m.handOver, m.end, m.end,
		}
		for range rapid.IntRange(40, 200).Draw(t, "steps") {
			actions[m.pick("action", len(actions))]()
			m.check()
		}
		acknowledged += len(m.acked)
		grants = max(grants, m.term)
	}
	for range 10 { // of 100 courses each: together well under a second
		rapid.Check(t, course)
	}
	if acknowledged < 100 || grants < 5 {
		t.Errorf("%d writes acknowledged, up to %d terms: that shows nothing", acknowledged, grants)
	}
}
