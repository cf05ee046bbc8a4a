package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Explain is what is known of one shard, and its app as placement would see it now. Like a plan, it costs a look at the whole app.
func (l *Ledger) Explain(name shard.App, id shard.ID) (s report.ShardStatus, in placement.Input, refusal *RequestError) {
	a := l.apps[name]
	if a == nil {
		return s, in, l.noApp(name)
	}
	at, ok := a.find(id)
	if !ok {
		return s, in, noShard(a, id)
	}
	row, w := a.rows[at], a.work[at]
	s = report.ShardStatus{App: name, Index: at, Shard: a.id(at), Term: row.Term, Move: row.Move, Primary: row.Primary.Server,
		Incarnation: row.Primary.Incarnation, PrimaryTerm: row.PrimaryTerm, WriteFailures: l.pen.fails}
	_, s.Pending = a.staged[at]
	_, s.Unplaced = a.unplaced[at]
	if f := l.known(row.Primary); f != nil {
		s.Owner = l.serverStatus(f.server, f)
		s.Serving = !f.over && (w == nil || w.served)
	}
	if row.Open != nil {
		s.Phase = report.MovePhase(row.Open.Phase)
	}
	if w != nil {
		s.Open, s.Moving = l.moveStatus(a, at, w)
		s.Waits = w.waits
	}
	s.Replicas, s.Missing = l.replicaStatus(a, at)
	s.Quarantine = l.keeper.Quarantined(name, at)
	s.Scaled = a.scaler.Why(at)
	in, _ = l.planInput(a)
	for i := range in.Servers {
		if p := &in.Servers[i]; !p.Accepts {
			p.Why = l.serverStatus(l.servers[p.ID], l.servers[p.ID].present()).WhyNot()
		}
	}
	return s, in, nil
}
