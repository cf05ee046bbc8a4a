package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// drainRequested takes an agent's wish to be drained while its incarnation lasts, or to be no longer.
func (l *Ledger) drainRequested(ev DrainRequested) {
	st := l.streams[ev.Stream]
	if st == nil {
		return
	}
	st.hello.Draining = ev.On // for a welcome that is still to come
	f := st.life
	if f == nil || f.drain == ev.On {
		return
	}
	f.drain = ev.On
	l.drainChanged(f.server)
}

// watchDrain notes a server that may be draining.
func (l *Ledger) watchDrain(s *server) { l.draining[s.id] = struct{}{} }

func (l *Ledger) drainChanged(s *server) {
	l.watchDrain(s)
	f := s.present()
	if f == nil {
		return
	}
	what := "drain ended"
	if f.leaves() {
		what = "drain"
	}
	l.trace(Decision{What: what, App: f.app, Server: s.id, Incarnation: f.Incarnation})
	f.toldSome = false
	if a := l.apps[f.app]; a != nil {
		a.plan.Settle(l.now)
		a.plan.Want(l.now, solveSoon)
	}
}

// tellDrains tells draining servers how many shards they are still named for, when that number changes.
func (l *Ledger) tellDrains() {
	for _, id := range shard.SortedKeys(l.draining) {
		s := l.servers[id]
		if s == nil {
			delete(l.draining, id)
			continue
		}
		f := s.present()
		if !s.drain && (f == nil || !f.drain) {
			delete(l.draining, id)
			continue
		}
		if !f.attached() || !f.draining() || f.toldSome && f.told == len(f.refs) {
			continue
		}
		f.toldSome, f.told = true, len(f.refs)
		l.send(f.stream, message.DrainProgress{Remaining: f.told})
	}
}

// remainingFor counts what a server that an operator drains still has.
func (l *Ledger) remainingFor(w wish.Wish) int {
	d, ok := w.(wish.DrainServer)
	if !ok || l.servers[d.Server] == nil {
		return 0
	}
	n := 0
	for _, f := range l.servers[d.Server].lives {
		if !f.over {
			n += len(f.refs)
		}
	}
	return n
}
