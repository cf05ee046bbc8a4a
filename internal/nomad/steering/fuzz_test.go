package steering

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// FuzzNames: the id of an allocation that a server's name ends with is one, and the base and number of a request's id are put together again.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"web-0f2e4d6c-1234-1234-1234-0123456789ab.kv", "web-0f2e4d6c.kv", "0f2e4d6c", "nomad-drain-n-5.2", "nomad-deployment-d.1", "nomad-deployment-.", ".", "é-0f2e4d6c.a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if id := AllocationOf(shard.ServerID(text)); id != "" && (len(id) != idLength && len(id) != shortLength || !isID(id)) {
			t.Fatalf("%q is of allocation %q", text, id)
		}
		if base, n, ok := cutNumber(text); ok {
			if again, m, ok := cutNumber(text); again != base || m != n || !ok {
				t.Fatalf("%q: %q and %d, then %q and %d", text, base, n, again, m)
			}
		}
		if DeploymentOf(text) != "" && !Ours(text) {
			t.Fatalf("%q is of a deployment, and none of ours", text)
		}
	})
}

// FuzzDecide: whatever the view, the same one is decided alike, and nobody is stopped or promoted over who is not to be.
func FuzzDecide(f *testing.F) {
	const id, node = "0f2e4d6c-1234-1234-1234-0123456789ab", "n1"
	began := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	view := View{Now: began.Add(time.Minute), Nodes: []Node{{ID: node, Name: "host", Drain: &Drain{Started: began, Deadline: began.Add(time.Hour)}}},
		Allocations: []Allocation{{ID: id, Namespace: "default", Job: "web", Group: "g", Name: "web.g[0]", Node: node, State: Live}},
		Servers:     []Server{{ID: "web-" + id + ".kv", Incarnation: 3, Attached: true}},
		Deployments: []Deployment{{ID: "d1", Namespace: "default", Job: "web", Version: 2, Groups: map[string]Group{"g": {Wanted: 1, Canaries: []string{id}}}}}}
	for _, state := range []event.State{0, event.Waiting, event.Ready} {
		if state != 0 {
			view.Events = []event.Event{{Request: event.Request{ID: drainID(node, began) + ".1", Scope: event.Scope{Servers: []shard.ServerID{"web-" + id + ".kv"}}},
				Pieces: []event.Piece{{State: state, Covers: []event.Covered{{Server: "web-" + id + ".kv", Incarnation: 3}}}}}}
		}
		text, err := json.Marshal(view)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v View
		if json.Unmarshal(text, &v) != nil {
			return
		}
		set := Settings{Duration: time.Minute, Patience: time.Hour, Step: time.Minute, Margin: 10 * time.Second}
		plan := Decide(&v, set)
		if diff := cmp.Diff(plan, Decide(&v, set)); diff != "" {
			t.Fatalf("decided otherwise the second time:\n%s", diff)
		}
		for _, order := range plan.Orders {
			if stop, ok := order.(Stop); ok && !mayStop(&v, stop.Allocation) {
				t.Fatalf("allocation %s is stopped, and serves: %s", stop.Allocation, text)
			}
		}
	})
}

// mayStop reports whether every living server of an allocation is in a piece that is ready.
func mayStop(v *View, allocation string) bool {
	for i := range v.Servers {
		s := &v.Servers[i]
		if of := AllocationOf(s.ID); of == "" || len(of) == idLength && of != allocation || len(of) == shortLength && (len(allocation) < shortLength || of != allocation[:shortLength]) {
			continue
		}
		ready := false
		for k := range v.Events {
			for _, p := range v.Events[k].Pieces {
				for _, c := range p.Covers {
					ready = ready || p.State == event.Ready && c.Server == s.ID && c.Incarnation == s.Incarnation
				}
			}
		}
		if !ready {
			return false
		}
	}
	return true
}
