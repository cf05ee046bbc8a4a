package ledger

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// history remembers the last finishedMost moves; older ones are forgotten.
type history struct {
	ring  []MoveStatus
	count uint64
}

func (h *history) add(m MoveStatus) {
	if len(h.ring) < finishedMost {
		h.ring = append(h.ring, m)
	} else {
		h.ring[h.count%finishedMost] = m
	}
	h.count++
}

// newestFirst copies what is remembered.
func (h *history) newestFirst() []MoveStatus {
	list := make([]MoveStatus, 0, len(h.ring))
	for i := range h.ring {
		list = append(list, h.ring[(h.count-1-uint64(i))%finishedMost])
	}
	return list
}

// moveClosed remembers a move whose end is durable, and lets the next begin.
func (l *Ledger) moveClosed(a *app, at shard.Index, m *OpenMove) {
	w := a.work[at]
	if w == nil {
		w = &work{}
	}
	s := MoveStatus{App: a.spec.Name, Shard: a.id(at), Order: m.order(), From: m.From.Server, To: m.To.Server, Reason: m.Reason,
		Step: StepDone, Age: l.ageOf(w), Attempts: w.failures}
	if m.Phase != Moved {
		s.Step, s.Detail = StepAborted, w.lastAbort
	}
	l.history.add(s)
	from := l.known(m.From)
	switch {
	case from != nil && !from.over && from.draining():
		a.want(l.now, solveSoon)
	case a.plan.capped:
		a.want(l.now, solveSettle)
	}
}

// grantDone remembers a placement or failover that was acknowledged.
func (l *Ledger) grantDone(a *app, at shard.Index, w *work) {
	if w.reason == 0 || w.began.IsZero() {
		return
	}
	row := &a.rows[at]
	l.history.add(MoveStatus{App: a.spec.Name, Shard: a.id(at), Order: shard.Order{Term: row.PrimaryTerm, Move: row.PrimaryMove},
		From: w.from, To: row.Primary.Server, Reason: w.reason, Step: StepDone, Age: l.ageOf(w), Attempts: w.failures})
}

func (l *Ledger) ageOf(w *work) time.Duration {
	if w.began.IsZero() {
		return 0
	}
	return w.began.WaitAge(l.now)
}

// Servers lists the servers in the order of their ids: the registered ones and those that rows still name.
func (l *Ledger) Servers() []ServerStatus {
	list := make([]ServerStatus, 0, len(l.order))
	for _, id := range l.order {
		s := l.servers[id]
		for _, f := range s.all() {
			if f.over && len(f.refs) == 0 {
				continue
			}
			list = append(list, l.serverStatus(s, f))
		}
	}
	return list
}

func (l *Ledger) serverStatus(s *server, f *life) ServerStatus {
	st := ServerStatus{Server: s.info, Draining: f.draining(), Shards: f.owned, Moves: f.moves, LastRenewal: -1, Reason: f.why}
	st.Server.ID, st.Server.App, st.Server.Incarnation = s.id, f.app, f.Incarnation
	if f.renewed {
		st.LastRenewal = max(0, f.heard.WaitAge(l.now))
	}
	switch {
	case f.over:
		st.State = Over
	case f.fencing:
		st.State = Fencing
	case f.resting:
		st.State, st.Reason = Resting, "its agent restarts"
	case f.suspicion.lost && f.suspicion.verdict == partitioned:
		st.State, st.Reason = Degraded, partitioned.String()
	case f.suspicion.suspect:
		st.State, st.Reason = Suspect, "silent; "+f.suspicion.verdict.String()
	case !f.attached():
		st.State, st.Reason = Awaited, "no stream"
	default:
		st.State = Attached
	}
	return st
}

// Moves lists the moves under way, placements and failovers included, and the last finished ones.
func (l *Ledger) Moves() Moves {
	m := Moves{Finished: l.history.newestFirst(), FinishedCount: l.history.count}
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		for _, at := range shard.SortedKeys(a.work) {
			if s, ok := l.moveStatus(a, at, a.work[at]); ok {
				m.Open = append(m.Open, s)
			}
		}
	}
	return m
}

func (l *Ledger) moveStatus(a *app, at shard.Index, w *work) (MoveStatus, bool) {
	row, pending := a.rows[at], false
	next, staged := a.staged[at]
	if staged && row.Open == nil {
		row, pending = next, true
	} else if staged {
		pending = true
	}
	s := MoveStatus{App: a.spec.Name, Shard: a.id(at), From: w.from, To: row.Primary.Server, Reason: w.reason, Attempts: w.failures, Detail: w.waits,
		Order: shard.Order{Term: row.PrimaryTerm, Move: row.PrimaryMove}}
	if !w.began.IsZero() {
		s.Age = max(0, w.began.WaitAge(l.now))
	}
	if s.Reason == 0 {
		s.Reason = placement.Failover
	}
	m := row.Open
	if m == nil {
		s.Step = StepAdd
		if pending {
			s.Step = StepOpening
		}
		return s, !w.served && row.Primary.Incarnation != 0
	}
	s.From, s.To, s.Order, s.Reason = m.From.Server, m.To.Server, m.order(), m.Reason
	s.Step = stepOf(m.Phase, w, pending)
	return s, true
}

func stepOf(phase MovePhase, w *work, pending bool) MoveStep {
	switch phase {
	case Opened:
		switch {
		case pending && !w.prepared:
			return StepOpening
		case pending:
			return StepCommitting
		case !w.prepared:
			return StepPrepareAdd
		}
		return StepPrepareDrop
	case Aborting:
		return StepAborting
	case Moved:
	}
	switch {
	case pending:
		return StepClosing
	case !w.served:
		return StepAdd
	case slices.ContainsFunc(w.calls, func(c *call) bool { return c.purpose == callDropSource }):
		return StepDrop
	}
	return StepLinger
}

// Specs lists the apps by name.
func (l *Ledger) Specs() []Spec {
	list := make([]Spec, 0, len(l.apps))
	for _, name := range shard.SortedKeys(l.apps) {
		list = append(list, l.apps[name].spec)
	}
	return list
}

// Summary is the ledger as a whole, as of the last step.
func (l *Ledger) Summary() Summary {
	s := Summary{Epoch: l.epoch, Leading: l.tenure == leading && l.confirmed.PermissionAge(l.now) < l.s.LeaderValidity}
	for _, srv := range l.servers {
		for _, f := range srv.lives {
			if f.fencing && !f.over {
				s.Unplaced += f.owned
			}
		}
	}
	for _, a := range l.apps {
		s.OpenMoves += a.moves
		s.Unplaced += len(a.unplaced)
		for _, w := range a.work {
			if !w.served {
				s.Unplaced++
			}
		}
	}
	return s
}
