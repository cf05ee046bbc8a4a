package ledger

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// prepareApprove checks a wish to approve a planned event (PROTOCOL R29).
func (l *Ledger) prepareApprove(r Request, w ApproveMaintenance) (*wishJob, *RequestError) {
	a := maintenance.Approval{ID: w.ID, Left: w.For, Reason: w.Reason}
	for _, id := range w.Servers {
		s := l.servers[id]
		if s == nil || s.present() == nil {
			return nil, &RequestError{NotFound, "servers", fmt.Sprintf("known servers, not %q; list them with `shardmanager servers`", id)}
		}
		a.Covers = append(a.Covers, maintenance.Covered(s.present().Owner))
	}
	if field, expected := a.Check(); field != "" {
		return nil, &RequestError{Invalid, field, expected}
	}
	if l.events.Has(w.ID) {
		return nil, &RequestError{AlreadyExists, "id", fmt.Sprintf("a new id: %q is approved already", w.ID)}
	}
	return &wishJob{r.ID, w, PutApproval{maintenance.Row{Approval: a}}, Spec{}}, nil
}

// prepareEnd checks a wish to take an approval back.
func (l *Ledger) prepareEnd(r Request, w EndMaintenance) (*wishJob, *RequestError) {
	if !l.events.Has(w.ID) {
		return nil, &RequestError{NotFound, "id", fmt.Sprintf("that of an approval: %q is none, or has expired", w.ID)}
	}
	return &wishJob{r.ID, w, PutApproval{maintenance.Row{Approval: maintenance.Approval{ID: w.ID}}}, Spec{}}, nil
}

// approvalStored follows a durable approval, or its end.
func (l *Ledger) approvalStored(j *wishJob) {
	what := j.op.(PutApproval).Row.Approval
	if what.Left == 0 {
		l.events.Remove(what.ID)
		l.trace(Decision{What: "maintenance over", Why: what.ID})
		return
	}
	l.events.Put(l.now, what)
	l.trace(Decision{What: "maintenance approved", Why: what.String()})
}

// replicaStatus lists the replicas of a shard, and how many its app's spec asks for beyond them.
func (l *Ledger) replicaStatus(a *app, at shard.Index) (list []report.Replica, missing int) {
	row, w := &a.rows[at], a.work[at]
	add := func(o Owner, r report.Replica) {
		r.Server, r.Incarnation = o.Server, o.Incarnation
		if f := l.known(o); f != nil {
			r.Judge(l.serverStatus(f.server, f), l.keeper.Quarantined(a.spec.Name, at), l.events.Covering(l.now, maintenance.Covered(o)))
		}
		list = append(list, r)
	}
	if row.Primary.Incarnation != 0 {
		handing := w != nil && row.Open != nil && row.Open.Phase == Opened && w.prepared && w.mayHand
		add(row.Primary, report.Replica{Role: shard.Primary, Idle: !w.settled() || handing})
	}
	for i := range row.Secondaries {
		s := &row.Secondaries[i]
		add(s.Owner, report.Replica{Role: shard.Secondary, Progress: report.SecondaryProgress(s.State), Idle: s.State != InSync})
	}
	return list, max(0, a.spec.Policy().Replicas-len(list))
}
