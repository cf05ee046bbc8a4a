package ledger

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// moveClosed remembers a move whose end is durable, and lets the next begin.
func (l *Ledger) moveClosed(a *app, at shard.Index, m *OpenMove) {
	w := a.work[at]
	if w == nil {
		w = &work{}
	}
	s := report.MoveStatus{App: a.spec.Name, Shard: a.id(at), Order: m.Order(), From: m.From.Server, To: m.To.Server, Reason: m.Reason,
		Step: report.StepDone, Age: l.since(w.began), Attempts: w.failures}
	if m.Phase != Moved {
		s.Step, s.Detail = report.StepAborted, w.lastAbort
	}
	l.out.Finished = append(l.out.Finished, l.history.Add(s))
	switch {
	case l.known(m.From).leaves(), l.known(m.To).leaves(): // room for the next, or what arrived where nothing is to be
		a.plan.Want(l.now, solveSoon)
	case a.spec.Replication.Secondaries() && len(a.rows[at].Secondaries) != a.replicas(at)-1:
		a.plan.Want(l.now, solveSoon) // nothing was planned for the shard while it moved
	case a.plan.Capped:
		a.plan.Want(l.now, timing.SolveSettle)
	}
}

// grantDone remembers a placement or failover that was acknowledged.
func (l *Ledger) grantDone(a *app, at shard.Index, w *work) {
	if w.reason == 0 || w.began.IsZero() {
		return
	}
	row := &a.rows[at]
	l.out.Finished = append(l.out.Finished, l.history.Add(report.MoveStatus{App: a.spec.Name, Shard: a.id(at), Order: shard.Order{Term: row.PrimaryTerm, Move: row.PrimaryMove},
		From: w.from, To: row.Primary.Server, Reason: w.reason, Step: report.StepDone, Age: l.since(w.began), Unserved: l.since(w.lastHeard), Attempts: w.failures}))
	w.lastHeard = shard.Instant{}
}

// joinDone remembers a secondary that came in sync.
func (t *task) joinDone(s *Secondary) {
	m := t.joinStatus(s)
	m.Step = report.StepDone
	t.out.Finished = append(t.out.Finished, t.history.Add(m))
}

// joinStatus is a newcomer as a move: from whom it replaces, or from nowhere.
func (t *task) joinStatus(s *Secondary) report.MoveStatus {
	m := report.MoveStatus{App: t.a.spec.Name, Shard: t.a.id(t.at), Order: s.Order, From: s.Replaces.Server, To: s.Server,
		Reason: t.w.reasonOr(placement.Place), Step: report.StepPrepareAdd, Attempts: t.w.failures, Detail: t.w.waits}
	if s.State == Syncing {
		m.Step = report.StepAdd
	}
	t.addProgress(&m, s.Owner)
	return m
}

// addProgress says how much of the state the target has received, as of its last renewal.
func (l *Ledger) addProgress(m *report.MoveStatus, target Owner) {
	if f := l.known(target); f != nil {
		found := progress.Find(f.transfers, m.Shard, m.Order)
		m.Received, m.Total = found.Received, found.Total
	}
}

// since is how long ago something was; 0: it was not, or another leader saw it.
func (l *Ledger) since(at shard.Instant) time.Duration {
	if at.IsZero() {
		return 0
	}
	return at.WaitAge(l.now)
}

// Servers lists the servers in the order of their ids: the registered ones and those that rows still name.
func (l *Ledger) Servers() (list []report.ServerStatus) {
	for _, id := range l.order {
		list = append(list, l.Server(id)...)
	}
	return list
}

// Server lists the incarnations of one server.
func (l *Ledger) Server(id shard.ServerID) (list []report.ServerStatus) {
	if s := l.servers[id]; s != nil {
		for _, f := range s.all() {
			if !f.over || len(f.refs) > 0 {
				list = append(list, l.serverStatus(s, f))
			}
		}
	}
	return list
}

func (l *Ledger) serverStatus(s *server, f *life) report.ServerStatus {
	st := report.ServerStatus{Server: s.info, Draining: f.draining(), Shards: f.owned, Secondaries: f.seconded, Moves: f.moves, LastRenewal: -1,
		Reason: f.why}
	st.Server.ID, st.Server.App, st.Server.Incarnation = s.id, f.app, f.Incarnation
	if f.renewed {
		st.LastRenewal = max(0, f.heard.WaitAge(l.now))
	}
	switch {
	case f.over:
		st.State = report.Over
	case f.fencing:
		st.State = report.Fencing
	case f.resting:
		st.State, st.Reason = report.Resting, "its agent restarts"
	case f.suspicion.lost && f.suspicion.verdict == evidence.Partitioned:
		st.State, st.Reason = report.Degraded, f.suspicion.verdict.String()
	case f.suspicion.suspect:
		st.State, st.Reason = report.Suspect, "silent; "+f.suspicion.verdict.String()
	case !f.attached():
		st.State, st.Reason = report.Awaited, "no stream"
	case l.unable(f):
		st.State, st.Reason = report.Attached, "its application has no ChangeRole and UpdateMembership, so it gets no shard of an app with secondaries"
	default:
		st.State = report.Attached
	}
	st.Probation, st.ProbationReason = l.onProbation(f)
	if l.hold.On && f.suspicion.lost && !f.suspicion.released {
		st.Reason += "; held: " + l.hold.Why
	}
	return st
}

// Moves lists the moves under way, placements and failovers included, and the last finished ones.
func (l *Ledger) Moves() report.Moves {
	m := report.Moves{Finished: l.history.NewestFirst(), FinishedCount: l.history.Count()}
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		for _, at := range shard.SortedKeys(a.work) {
			if s, ok := l.moveStatus(a, at, a.work[at]); ok {
				m.Open = append(m.Open, s)
			}
			t := &task{l, a, at, &a.rows[at], a.work[at]}
			for i := range t.row.Secondaries {
				if s := &t.row.Secondaries[i]; s.State == Joining || s.State == Syncing {
					m.Open = append(m.Open, t.joinStatus(s))
				}
			}
		}
	}
	return m
}

func (l *Ledger) moveStatus(a *app, at shard.Index, w *work) (report.MoveStatus, bool) {
	row, _ := a.rowNow(at)
	s := report.MoveStatus{App: a.spec.Name, Shard: a.id(at), From: w.from, To: row.Primary.Server, Reason: w.reason, Attempts: w.failures, Detail: w.waits,
		Order: shard.Order{Term: row.PrimaryTerm, Move: row.PrimaryMove}, Step: w.stepNow(a, at), Age: l.since(w.began), Deadline: l.deadlineOf(w)}
	if s.Step == w.step {
		s.StepAge = max(0, w.stepSince.WaitAge(l.now))
	}
	if s.Reason == 0 {
		s.Reason = placement.Failover
	}
	m := row.Open
	if m == nil {
		return s, !w.served && row.Primary.Incarnation != 0
	}
	s.From, s.To, s.Order, s.Reason = m.From.Server, m.To.Server, m.Order(), m.Reason
	l.addProgress(&s, m.To)
	return s, true
}

// rowNow is the row that a shard's step is told by: a staged one that opens something, else the durable one. pending: a change is staged.
func (a *app) rowNow(at shard.Index) (row Row, pending bool) {
	next, pending := a.staged[at]
	if pending && a.rows[at].Open == nil {
		return next, true
	}
	return a.rows[at], pending
}

// noteStep remembers since when a shard has been at its present step.
func (l *Ledger) noteStep(a *app, at shard.Index) {
	if w := a.work[at]; w != nil {
		if s := w.stepNow(a, at); s != w.step {
			w.step, w.stepSince = s, l.now
		}
	}
}

// deadlineOf is how long until the command or the linger that a shard waits for is over; negative: it waits for neither.
func (l *Ledger) deadlineOf(w *work) time.Duration {
	for _, c := range w.calls {
		if c.due && c.open && c.to.attached() {
			return max(0, c.next.Remaining(l.now))
		}
	}
	if len(w.calls) == 0 && w.step == report.StepLinger {
		return max(0, w.linger.Add(l.s.Linger).Remaining(l.now))
	}
	return -1
}

func (w *work) stepNow(a *app, at shard.Index) report.MoveStep {
	row, pending := a.rowNow(at)
	switch {
	case row.Open != nil:
		dropping := slices.ContainsFunc(w.calls, func(c *call) bool { return c.purpose == purpose.DropSource })
		return report.StepOf(report.MovePhase(row.Open.Phase), report.Progress{Pending: pending, Prepared: w.prepared, Served: w.served, Dropping: dropping})
	case pending:
		return report.StepOpening
	}
	return report.StepAdd
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
func (l *Ledger) Summary() report.Summary {
	s := report.Summary{Epoch: l.epoch, Leading: l.provesLock(), LockAge: l.confirmed.PermissionAge(l.now)}
	for _, srv := range l.servers {
		for _, f := range srv.lives {
			switch {
			case f.over:
				continue
			case f.fencing:
				s.Unplaced += f.owned
				s.Suspected++
			case f.suspicion.suspect:
				s.Suspected++
			}
			s.Servers++
			if f.attached() {
				s.Attached++
			}
		}
	}
	s.Quarantined = l.keeper.List()
	if l.hold.On {
		s.Hold = l.hold.Why
	}
	for _, who := range l.keeper.Suspects() {
		if a := l.apps[who.App]; a.work[who.Index] == nil && l.known(a.rows[who.Index].Primary).gone() {
			s.Unplaced++
		}
	}
	for _, a := range l.apps {
		s.OpenMoves += a.moves
		s.Unplaced += len(a.unplaced)
		s.Lacking += a.plan.Missing
		for at, w := range a.work {
			if _, counted := a.unplaced[at]; !counted && a.spec.Replication.Primaries() && (!w.served || l.known(a.rows[at].Primary).gone()) {
				s.Unplaced++
			}
		}
	}
	return s
}
