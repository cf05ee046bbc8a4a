package steering

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// world is Nomad, with one job, and a leader, as far as they matter: what each order does, and what goes on by itself.
type world struct {
	t         *rapid.T
	count     int // of the job
	cap       int // servers that may be down
	version   uint64
	nodes     []Node
	allocs    []*Allocation
	deploy    *Deployment // nil: none is active
	servers   []Server
	events    []event.Event
	made      int
	drains    int
	unplanned int // allocations that Nomad stopped by itself
	canaries  int // that a deployment begins with
}

func newWorld(t *rapid.T, count, nodes, most int) *world {
	w := &world{t: t, count: count, cap: most, version: 1, canaries: 1}
	for i := range nodes {
		w.nodes = append(w.nodes, Node{ID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", 0xa0+i), Name: fmt.Sprint("node-", i)})
	}
	for i := range count {
		w.attach(w.place(fmt.Sprintf("kv.kv[%d]", i), 1, ""))
	}
	return w
}

// place places an allocation on a node that is not drained; of a name once at a time.
func (w *world) place(name string, version uint64, previous string) *Allocation {
	w.made++
	a := &Allocation{ID: fmt.Sprintf("%08x-0000-4000-8000-000000000001", w.made), Namespace: "default", Job: "kv", Group: "kv", Name: name, Version: version, State: Live, Placed: w.now()}
	for i := range w.nodes {
		if n := &w.nodes[(w.made+i)%len(w.nodes)]; n.Drain == nil {
			a.Node = n.ID
			break
		}
	}
	w.allocs = append(w.allocs, a)
	if p := w.find(previous); p != nil {
		p.Next = a.ID
	}
	return a
}

// now stands still: what starts in this world always does.
func (w *world) now() time.Time { return time.Unix(1000, 0) }

func (w *world) find(id string) *Allocation {
	for _, a := range w.allocs {
		if a.ID == id {
			return a
		}
	}
	return nil
}

func serverOf(a *Allocation) shard.ServerID { return shard.ServerID("kv-" + a.ID[:8] + ".kv") }

func (w *world) attach(a *Allocation) {
	a.Healthy = true
	w.servers = append(w.servers, Server{ID: serverOf(a), Incarnation: shard.Incarnation(len(w.servers) + 1), Attached: true})
}

func (w *world) server(id shard.ServerID) *Server {
	for i := range w.servers {
		if w.servers[i].ID == id {
			return &w.servers[i]
		}
	}
	return nil
}

// view is what a controller sees: a copy.
func (w *world) view() *View {
	v := &View{Now: w.now(), Servers: slices.Clone(w.servers), Nodes: slices.Clone(w.nodes)}
	for _, a := range w.allocs {
		v.Allocations = append(v.Allocations, *a)
	}
	for i := range w.events {
		v.Events = append(v.Events, w.events[i].Clone())
	}
	if w.deploy != nil {
		d := *w.deploy
		g := d.Groups["kv"]
		g.Canaries = slices.Clone(g.Canaries)
		d.Groups = map[string]Group{"kv": g}
		v.Deployments = append(v.Deployments, d)
	}
	return v
}

func (w *world) startDrain(i int) {
	if w.nodes[i].Drain == nil {
		w.drains++
		w.nodes[i].Drain = &Drain{Started: time.Unix(int64(100+w.drains), 0)}
	}
}

// giveUp has an operator end what is planned.
func (w *world) giveUp() {
	w.nodes[0].Drain = nil
	if w.deploy == nil {
		return
	}
	for _, id := range w.deploy.Groups["kv"].Canaries {
		if a := w.find(id); !w.deploy.promoted() && a.State == Live {
			a.State = Stopping
		}
	}
	w.deploy = nil
}

func (w *world) startDeployment() {
	if w.deploy == nil {
		w.version++
		w.deploy = &Deployment{ID: fmt.Sprintf("%08x-0000-4000-8000-00000000000d", w.version), Namespace: "default", Job: "kv", Version: w.version,
			Groups: map[string]Group{"kv": {Wanted: w.canaries}}}
	}
}

// unfinished is what Nomad has still to do for its deployment.
func (w *world) old() (list []*Allocation) {
	for _, a := range w.allocs {
		if w.deploy != nil && a.Version != w.deploy.Version && a.State == Live {
			list = append(list, a)
		}
	}
	return list
}

// turn lets Nomad and the leader do one thing; which one is drawn.
func (w *world) turn(draw int) {
	var can []func()
	for _, a := range w.allocs {
		switch {
		case a.State == Stopping:
			can = append(can, func() {
				a.State = Ended
				w.servers = slices.DeleteFunc(w.servers, func(s Server) bool { return s.ID == serverOf(a) })
			})
		case a.State == Live && w.server(serverOf(a)) == nil:
			can = append(can, func() { w.attach(a) })
		}
	}
	for i := range w.nodes {
		if n := &w.nodes[i]; n.Drain != nil && !slices.ContainsFunc(w.allocs, func(a *Allocation) bool { return a.Node == n.ID && a.State != Ended }) {
			can = append(can, func() { n.Drain = nil })
		}
	}
	if w.deploy != nil {
		can = append(can, w.turnDeployment)
	}
	for i := range w.events {
		can = append(can, func() { w.turnEvent(&w.events[i]) })
	}
	if len(can) > 0 {
		can[draw%len(can)]()
	}
}

func (w *world) turnDeployment() {
	g, old := w.deploy.Groups["kv"], w.old()
	switch {
	case w.deploy.Paused:
	case len(g.Canaries) < g.Wanted:
		g.Canaries = append(g.Canaries, w.place("kv.kv[0]", w.version, "").ID)
		w.deploy.Groups["kv"] = g
	case g.Wanted > 0 && !g.Promoted:
	case len(old) > 0: // as far as max_parallel allows
		w.unplanned++
		w.stop(old[0])
	case !slices.ContainsFunc(w.allocs, func(a *Allocation) bool { return a.State != Ended && (a.State == Stopping || !a.Healthy) }):
		w.deploy = nil
	}
}

// turnEvent approves a piece, or has it prepared.
func (w *world) turnEvent(e *event.Event) {
	for i := range e.Pieces {
		p := &e.Pieces[i]
		switch {
		case p.State == event.Waiting && w.server(p.Covers[0].Server) == nil:
			p.State = event.Done
			return
		case p.State == event.Waiting && w.down() < w.cap:
			p.State, p.Covers[0].Incarnation = event.Approved, w.server(p.Covers[0].Server).Incarnation
			return
		case p.State == event.Approved:
			p.State = event.Ready
			return
		}
	}
}

// down counts servers that were approved.
func (w *world) down() (n int) {
	for i := range w.events {
		for k := range w.events[i].Pieces {
			if w.events[i].Pieces[k].State.Active() {
				n++
			}
		}
	}
	return n
}

// stop stops an allocation, and places another one at once: of the new version, but for those of a deployment that is not promoted.
func (w *world) stop(a *Allocation) {
	if a.State != Live {
		return
	}
	a.State = Stopping
	version := w.version
	if w.deploy != nil && !w.deploy.promoted() && a.Version != w.version {
		version = a.Version
	}
	next := w.place(a.Name, version, a.ID)
	if w.deploy == nil {
		return
	}
	if g := w.deploy.Groups["kv"]; !g.Promoted && slices.Contains(g.Canaries, a.ID) {
		g.Canaries = append(g.Canaries, next.ID)
		w.deploy.Groups["kv"] = g
	}
}

// obey carries an order out as Nomad or the leader would; one that is refused does nothing.
func (w *world) obey(o Order) {
	deploying := func(id string) bool { return w.deploy != nil && w.deploy.ID == id }
	switch o := o.(type) {
	case Request:
		w.request(o.Request)
	case Finish:
		w.each(o.Event, func(p *event.Piece) {
			if p.Has(o.Server) && p.State.Active() {
				p.State = event.Done
			}
		})
	case Cancel:
		w.each(o.Event, func(p *event.Piece) {
			if !p.State.Over() {
				p.State = event.Cancelled
			}
		})
	case Stop:
		a := w.find(o.Allocation)
		if a.State == Live && !w.isReady(a) {
			w.t.Fatalf("%s is stopped, and not ready", a.ID)
		}
		w.stop(a)
	case Pause:
		if deploying(o.Deployment) {
			w.deploy.Paused = true
		}
	case Resume:
		if deploying(o.Deployment) {
			w.deploy.Paused = false
		}
	case Promote:
		if deploying(o.Deployment) {
			w.promote()
		}
	case PutOff:
	}
}

func (w *world) promote() {
	g := w.deploy.Groups["kv"]
	for _, id := range g.Canaries {
		canary := w.find(id)
		if !canary.Healthy || canary.State != Live {
			continue
		}
		for _, a := range w.old() {
			if a.Name != canary.Name {
				continue
			}
			if !w.isReady(a) {
				w.t.Fatalf("the promotion stops %s, which is not ready", a.ID)
			}
			a.State = Stopping
		}
	}
	g.Promoted = true
	w.deploy.Groups["kv"] = g
}

func (w *world) isReady(a *Allocation) bool {
	s := w.server(serverOf(a))
	return s == nil || slices.ContainsFunc(w.events, func(e event.Event) bool {
		return slices.ContainsFunc(e.Pieces, func(p event.Piece) bool {
			return p.State == event.Ready && slices.Contains(p.Covers, event.Covered{Server: s.ID, Incarnation: s.Incarnation})
		})
	})
}

func (w *world) each(id string, change func(*event.Piece)) {
	for i := range w.events {
		for k := range w.events[i].Pieces {
			if w.events[i].ID == id {
				change(&w.events[i].Pieces[k])
			}
		}
	}
}

// request takes a request on, a piece a server, or refuses it.
func (w *world) request(r event.Request) {
	if field, expected := r.Check(time.Unix(1000, 0)); field != "" {
		w.t.Fatalf("the request %+v is invalid: %s: expected %s", r, field, expected)
	}
	e := event.Event{Request: r}
	for _, id := range r.Scope.Servers {
		taken := false
		for i := range w.events {
			taken = taken || w.events[i].ID == r.ID || slices.ContainsFunc(w.events[i].Pieces, func(p event.Piece) bool { return p.Has(id) && !p.State.Over() })
		}
		if taken || w.server(id) == nil {
			return
		}
		e.Pieces = append(e.Pieces, event.Piece{State: event.Waiting, Covers: []event.Covered{{Server: id}}})
	}
	w.events = append(w.events, e)
}

// first is the server that a canary of the first name replaces.
func (w *world) first() []shard.ServerID { return []shard.ServerID{serverOf(w.allocs[0])} }

func shardID(text string) shard.ServerID { return shard.ServerID(text) }
