package steering

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
)

// drain empties the servers of a node that Nomad drains, and stops their allocations. Where the job says `migrate { max_parallel = 0 }`, Nomad waits for
// that, until the drain's deadline; it is put off while servers cannot be spared.
func (d *desk) drain(n *Node) {
	var here []*Allocation
	for i := range d.Allocations {
		if a := &d.Allocations[i]; a.Node == n.ID && a.State != Ended && len(d.servers[a.ID]) > 0 {
			here = append(here, a)
		}
	}
	b := d.book(drainID(n.ID, n.Drain.Started))
	if len(here) == 0 {
		return
	}
	d.plan.Busy = true
	last := d.set.until(n.Drain.Started, n.Drain.Deadline)
	if n.Drain.Forced || !last.IsZero() && !d.Now.Before(last) {
		d.note("drain of node %s: forced: agents drain by themselves", n.Name)
		return
	}
	r := event.Request{Kind: event.Drain, Impact: event.MachineLoss, Duration: d.set.Duration, Deadline: last, Reason: "Nomad drains node " + n.Name}
	if !last.IsZero() { // it has to fit in
		r.Duration = min(r.Duration, last.Sub(n.Drain.Started)/2)
		if last.Before(d.Now.Add(2 * r.Duration)) {
			r.Deadline = time.Time{}
		}
	}
	d.ask(b, here, r)
	held := d.stop(here)
	if len(held) == 0 {
		return
	}
	d.hold(&d.plan.HeldDrains, "drain of node %s: %d allocations are held: %s", n.Name, len(held), d.why(held))
	if left := min(d.set.Step, last.Sub(d.Now)); !n.Drain.Deadline.IsZero() && n.Drain.Deadline.Before(d.Now.Add(d.set.Margin)) && n.Drain.Deadline.Before(d.Now.Add(left)) {
		d.tell(PutOff{n.ID, left, n.Drain.KeepSystemJobs})
	}
}

// deploy takes a deployment through: its canaries serve, whom they replace is READY, they are promoted; the deployment is paused, so that Nomad stops
// nobody else by itself; each old allocation is stopped when it is READY, and Nomad places the new version; then the deployment goes on to its end.
func (d *desk) deploy(p *Deployment) {
	old := d.outgoing(p)
	if !d.ours(p) {
		return
	}
	b := d.book(deploymentPrefix + p.ID)
	d.plan.Busy = true
	switch {
	case b.has(func(p *event.Piece) bool { return p.State == event.Cancelled }):
		d.note("deployment %s of %s: its event was taken back: it is left alone, promote or fail it by hand", p.ID, p.Job)
	case b.has(d.lost):
		d.hold(&d.plan.HeldDeployments, "deployment %s of %s: held: what was stopped was not replaced in time; fail it, or take its event back", p.ID, p.Job)
		d.pause(p)
	case !p.promoted():
		d.promote(p, b, old)
	case len(old) > 0:
		d.replace(p, b, old)
	case p.Paused:
		d.tell(Resume{p.Namespace, p.ID})
	}
}

// ours reports whether a deployment is of a job with servers, and not its first one.
func (d *desk) ours(p *Deployment) bool {
	served, later := false, false
	for i := range d.Allocations {
		if a := &d.Allocations[i]; a.Namespace == p.Namespace && a.Job == p.Job {
			served, later = served || len(d.servers[a.ID]) > 0, later || a.Version != p.Version
		}
	}
	return served && later || d.books[deploymentPrefix+p.ID] != nil
}

// outgoing are the allocations of earlier versions that have servers and are to stay.
func (d *desk) outgoing(p *Deployment) (old []*Allocation) {
	for i := range d.Allocations {
		a := &d.Allocations[i]
		if _, in := p.Groups[a.Group]; in && a.Namespace == p.Namespace && a.Job == p.Job && a.Version != p.Version && a.State == Live && len(d.servers[a.ID]) > 0 {
			old = append(old, a)
		}
	}
	return old
}

func (p *Deployment) promoted() bool {
	for _, g := range p.Groups {
		if g.Wanted > 0 && !g.Promoted {
			return false
		}
	}
	return true
}

func (p *Deployment) request() event.Request {
	return event.Request{Kind: event.Upgrade, Impact: event.StateLoss, Reason: "Nomad deploys " + p.Job}
}

// promote goes on once the canaries serve, and whom they replace may go. Paused first: else Nomad would go on to others at once.
func (d *desk) promote(p *Deployment, b *book, old []*Allocation) {
	names := map[string]bool{}
	for _, g := range p.Groups {
		if g.Promoted {
			continue
		}
		good := 0
		for _, id := range g.Canaries {
			if a := d.byID[id]; a != nil {
				names[a.Name] = true
				if a.Healthy && d.serves(a) {
					good++
				}
			}
		}
		if good < g.Wanted {
			d.note("deployment %s of %s: %d of %d canaries are healthy and attached", p.ID, p.Job, good, g.Wanted)
			return
		}
	}
	if a := d.moving(p, names); a != nil {
		d.hold(&d.plan.HeldDeployments, "deployment %s of %s: not promoted: allocation %s of an earlier version is leaving, or only starting", p.ID, p.Job, a.ID)
		return
	}
	first := slices.DeleteFunc(slices.Clone(old), func(a *Allocation) bool { return !names[a.Name] })
	r := p.request()
	r.Duration = d.set.Duration
	d.ask(b, first, r)
	for _, a := range first {
		if !d.ready(a) {
			d.hold(&d.plan.HeldDeployments, "deployment %s of %s: not promoted: %s", p.ID, p.Job, d.why(first))
			return
		}
	}
	if !d.pause(p) {
		d.tell(Promote{p.Namespace, p.ID})
	}
}

// moving is an allocation of an earlier version, of some names, that leaves its node or starts on another: a promotion would stop its servers, whom nobody
// could have asked for yet. What does not come up in the time that a server may be down is waited for no longer: it may be what the new version mends.
func (d *desk) moving(p *Deployment, names map[string]bool) *Allocation {
	for i := range d.Allocations {
		a := &d.Allocations[i]
		if _, in := p.Groups[a.Group]; !in || !names[a.Name] || a.Namespace != p.Namespace || a.Job != p.Job || a.Version == p.Version || a.State == Ended {
			continue
		}
		switch served := len(d.servers[a.ID]) > 0; {
		case served && (a.State == Stopping || d.drained[a.Node]), !served && a.State == Live && d.Now.Before(a.Placed.Add(d.set.Duration)):
			return a
		}
	}
	return nil
}

// replace stops the old allocations that are ready.
func (d *desk) replace(p *Deployment, b *book, old []*Allocation) {
	r := p.request()
	r.Duration = d.set.Duration
	d.ask(b, old, r)
	if d.pause(p) {
		return
	}
	if held := d.stop(old); len(held) > 0 {
		d.hold(&d.plan.HeldDeployments, "deployment %s of %s: %d allocations are held: %s", p.ID, p.Job, len(held), d.why(held))
	}
}

// pause reports whether it still had to be done.
func (d *desk) pause(p *Deployment) bool {
	if !p.Paused {
		d.tell(Pause{p.Namespace, p.ID})
	}
	return !p.Paused
}
