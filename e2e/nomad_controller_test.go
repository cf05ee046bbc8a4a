package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/nomad/steering"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Two controllers beside the example, on two nodes: a new version goes out one approved server after the other, though one controller is stopped meanwhile; a
// drain waits while somebody else has what may be down, and its deadline is put off; then it empties the node; and `nomad alloc stop` needs no
// controller. No request fails.
func TestNomadController(t *testing.T) {
	e := startExample(t)
	e.join()
	e.allocators()
	e.run("shardmanager-controller", "controller.nomad.hcl", "binary="+e.program, "one_host=true")
	e.run("kv", "kv.nomad.hcl", append(e.common, "controller=true")...)
	e.served()
	e.startLoad()

	before := e.of("kv")
	e.must(append([]string{"job", "run", "-detach"}, jobArgs("kv.nomad.hcl", append(e.common, "controller=true", "release=2"))...)...)
	e.must("alloc", "stop", "-detach", e.of("shardmanager-controller")[0].ID)
	e.awaitDeployed("kv", 1)
	e.served()
	e.wereReady("nomad-deployment-", before)
	e.scraped("shardmanager-controller-admin", 2, `shardmanager_nomad_controller_orders_total{order="request",result="refused"} 0`)

	e.drainOne()
	e.stopOne(e.of("kv")[0].ID)
	e.served()
	e.endLoad()
}

// awaitDeployed waits for the end of a deployment, which has to be good.
func (e *example) awaitDeployed(job string, version uint64) {
	e.t.Helper()
	await(e.t, "the deployment to succeed", func() error {
		var d struct {
			JobVersion                uint64
			Status, StatusDescription string
		}
		if err := e.get("/v1/job/"+job+"/deployment", &d); err != nil {
			return err
		}
		if d.Status == "failed" || d.Status == "cancelled" {
			e.t.Fatalf("deployment %+v", d)
		}
		if d.JobVersion != version || d.Status != "successful" {
			return fmt.Errorf("deployment %+v", d)
		}
		return nil
	})
	for _, a := range e.of(job) {
		if a.JobVersion != version {
			e.t.Errorf("%s is still of version %d", a.ID, a.JobVersion)
		}
	}
}

// piece is one of an event's, as `maintenance list` shows it.
type piece struct {
	Covers []struct{ Server string }
	State  string
}

// pieces are those of the events whose ids begin so.
func (e *example) pieces(prefix string) (list []piece) {
	e.t.Helper()
	out, err := e.ask("maintenance", "list", "-o", "json")
	if err != nil {
		e.t.Fatal(err)
	}
	var answer struct {
		Events []struct {
			Request struct{ ID string }
			Pieces  []piece
		}
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		e.t.Fatalf("%v: %s", err, out)
	}
	for _, event := range answer.Events {
		if strings.HasPrefix(event.Request.ID, prefix) {
			list = append(list, event.Pieces...)
		}
	}
	return list
}

// wereReady expects that of each allocation the server was asked for, and that its piece was finished by the controller.
func (e *example) wereReady(prefix string, gone []allocation) {
	e.t.Helper()
	done := map[string]bool{}
	await(e.t, "all pieces to be over", func() error {
		for _, p := range e.pieces(prefix) {
			for _, c := range p.Covers {
				if !strings.HasSuffix(p.State, "_DONE") {
					return fmt.Errorf("%s is %s", c.Server, p.State)
				}
				done[steering.AllocationOf(shard.ServerID(c.Server))] = true
			}
		}
		return nil
	})
	for _, a := range gone {
		if !done[a.ID[:8]] {
			e.t.Errorf("nobody asked for %s", a.ID)
		}
	}
}

// drainOne drains the node of an allocation. While another event has all that may be down, nobody is stopped and the deadline is put off.
func (e *example) drainOne() {
	e.t.Helper()
	all := e.of("kv")
	node := all[0].NodeID
	var here []allocation
	other := ""
	for _, a := range all {
		if a.NodeID == node {
			here = append(here, a)
		} else {
			other = "kv-" + a.ID[:8] + ".kv"
		}
	}
	if other == "" {
		e.t.Fatalf("all allocations are on one node: %+v", all)
	}
	if _, err := e.ask("maintenance", "request", "blocker", "--kind", "drain", "--impact", "network-loss", "--server", other, "--duration", "10m", "--wait"); err != nil {
		e.t.Fatal(err)
	}
	const short = 20 * time.Second
	asked := time.Now()
	e.must("node", "drain", "-enable", "-yes", "-detach", "-deadline", short.String(), node)
	await(e.t, "the deadline to be put off", func() error {
		var n struct {
			DrainStrategy struct{ ForceDeadline time.Time }
		}
		if err := e.get("/v1/node/"+node, &n); err != nil {
			return err
		}
		if n.DrainStrategy.ForceDeadline.Before(asked.Add(time.Minute)) {
			return fmt.Errorf("it is %s", n.DrainStrategy.ForceDeadline)
		}
		return nil
	})
	await(e.t, "the first deadline to pass", func() error {
		for _, p := range e.pieces("nomad-drain-") {
			if !strings.HasSuffix(p.State, "_WAITING") {
				e.t.Fatalf("a piece is %s, beyond the cap", p.State)
			}
		}
		if left := short + 2*time.Second - time.Since(asked); left > 0 {
			return fmt.Errorf("%s left", left)
		}
		return nil
	})
	for _, a := range here {
		var now allocation
		if err := e.get("/v1/allocation/"+a.ID, &now); err != nil || now.DesiredStatus != "run" {
			e.t.Errorf("%s is stopped: %+v, %v", a.ID, now, err)
		}
	}
	if _, err := e.ask("maintenance", "done", "blocker"); err != nil {
		e.t.Fatal(err)
	}
	await(e.t, "the node to be empty", func() error {
		var n struct{ DrainStrategy *struct{} }
		err := e.get("/v1/node/"+node, &n)
		if err == nil && n.DrainStrategy != nil {
			err = fmt.Errorf("it is being drained")
		}
		return err
	})
	e.served()
	e.wereReady("nomad-drain-", here)
}
