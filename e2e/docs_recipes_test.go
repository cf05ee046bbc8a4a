package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/shardmanager/shardmanager/internal/dev/ports"
)

// recipes are of the commands that need one.
func (r *reader) recipes() map[string]recipe {
	list := map[string]recipe{}
	for _, part := range []map[string]recipe{r.daemons(), r.looks(), r.changes(), r.interventions(), r.webhooks(), r.tools()} {
		for command, rc := range part {
			list[command] = rc
		}
	}
	return list
}

// daemons are completed by what the documents leave out, and run until the end of their document.
func (r *reader) daemons() map[string]recipe {
	free := ports.New()
	r.t.Cleanup(func() { _ = free.Release() })
	store := r.port(free)
	r.agentAdmin = r.port(free)
	agent := func(name string) string {
		return fmt.Sprintf(" --name %s --listen %s --socket unix://%s --state-dir state-%s", name, r.port(free), filepath.Join(r.here["RUN"], "sockets", name), name)
	}
	allocator := func(name string) string {
		return fmt.Sprintf(" --listen %s --admin-listen %s --state-dir state-%s", r.port(free), r.port(free), name)
	}
	embedded := " --store-address " + store
	alone := func() { r.prepareStore(store) }
	const agentUp, allocatorUp = "agent started", "allocator serves"
	// The cluster that everything else is typed to goes on: copies of it are put back into a store of their own.
	aside := " --cluster dev --profile fast --yes" + embedded
	restore := recipe{before: alone, as: "shardmanager snapshot restore prod.snapshot" + aside, shows: "done: generation"}
	raise := recipe{as: "shardmanager snapshot raise-generation" + aside, shows: "done: generation"}
	return map[string]recipe{
		"shardmanager snapshot restore prod.snapshot --config /etc/shardmanager/allocator.yaml": restore,
		"shardmanager snapshot restore FILE --config /etc/shardmanager/allocator.yaml":          restore,
		"shardmanager snapshot restore FILE":                                                    restore,
		"shardmanager snapshot raise-generation --config /etc/shardmanager/allocator.yaml":      raise,
		"shardmanager snapshot raise-generation":                                                raise,
		"shardmanager store":                                                                    {as: "shardmanager store --listen " + r.port(free) + " --data-dir other-store", keeps: "store started"},
		"shardmanager allocator --store consul --cluster prod …": {
			as: "shardmanager allocator --store consul --cluster prod --name a1" + allocator("c1"), keeps: allocatorUp},
		"shardmanager agent     --store consul --cluster prod …": {as: "shardmanager agent --store consul --cluster prod" + agent("c2"), keeps: agentUp},
		"shardmanager agent --cluster prod --admin-listen 127.0.0.1:7441 …": {
			before: alone, as: "shardmanager agent --cluster prod --admin-listen 127.0.0.1:7441" + agent("m1") + embedded, keeps: "admin listener serves"},
		"shardmanager allocator --cluster prod --name a1 --tracing-endpoint http://127.0.0.1:4318 …": {
			before: alone, as: "shardmanager allocator --cluster prod --name a1 --tracing-endpoint http://127.0.0.1:4318" + allocator("t1") + embedded, keeps: allocatorUp},
		"shardmanager agent --cluster prod --tracing-endpoint http://127.0.0.1:4318 --tracing-sample-ratio 0.1 …": {
			as: "shardmanager agent --cluster prod --tracing-endpoint http://127.0.0.1:4318 --tracing-sample-ratio 0.1" + agent("t2") + embedded, keeps: agentUp},
	}
}

// prepareStore starts the embedded store for daemons that the documents start without Consul.
func (r *reader) prepareStore(address string) {
	p := r.begin("exec shardmanager store --listen "+address+" --data-dir store", "store started")
	if !p.shown(r.t.Context()) {
		r.t.Fatal(p.output())
	}
	r.kept = append([]*typing{p}, r.kept...)
}

// interrupted is the end of a program that leaves Ctrl-C to the system.
var interrupted = []int{-1, 130}

// looks change nothing.
func (r *reader) looks() map[string]recipe {
	return map[string]recipe{
		"shardmanager moves --watch": {until: "SHARD"},
		"shardmanager moves --filter 'from == \"node-1.kv\" && ageMs > 60000' --watch": {until: "SHARD"},
		"shardmanager events --follow":         {until: `\S`, exits: interrupted},
		"shardmanager events --follow -o json": {until: `"timeMs"`, exits: interrupted},
		"shardmanager events --follow --filter 'decision.server == \"node-1.kv\" || server.server == \"node-1.kv\"'": {until: `node-1\.kv`, exits: interrupted},
		"shardmanager status --context test":               {shows: "leader +allocator"},
		"shardmanager nomad-controller --help":             {shows: "--nomad-address"},
		"shardmanager man":                                 {as: "shardmanager man pages"},
		"shardmanager --help":                              {shows: "Daemons:"},
		"shardmanager context list":                        {shows: "prod"},
		"shardmanager snapshot inspect prod.snapshot":      {shows: "dev"},
		"shardmanager servers -o wide":                     {shows: `node-6\.kv`},
		"shardmanager policy check FILE":                   {before: r.policyFile, as: "shardmanager policy check kv.yaml"},
		"shardmanager policy check FILE... --cluster FILE": {before: r.policyDocuments, as: "shardmanager policy check kv.yaml --cluster cluster.yaml"},
		"shardmanager simulate APP --policy FILE":          {before: r.policyFile, as: "shardmanager simulate APP --policy kv.yaml"},
		"shardmanager sim --seed 1 --seeds 1000":           {as: "shardmanager sim --seed 1 --seeds 2"},
		"shardmanager safe-to-stop node-1.kv":              {exits: []int{0, 3}},
		"shardmanager safe-to-stop SERVER":                 {exits: []int{0, 3}},
		"shardmanager example-kv load --allocators 10.0.0.1:7410,10.0.0.2:7410,10.0.0.3:7410 --duration 10s": {
			as: "shardmanager example-kv load --allocators 10.0.0.1:7410,10.0.0.2:7410,10.0.0.3:7410 --app " + ownApp + " --rate 100 --keys 100 --duration 1s", shows: `"failed":0`},
		"export SHARDMANAGER_ADMIN=10.0.0.1:7440,10.0.0.2:7440,10.0.0.3:7440": {
			as: "export SHARDMANAGER_ADMIN=10.0.0.1:7440,10.0.0.2:7440,10.0.0.3:7440; shardmanager status"},
	}
}

func (r *reader) policyFile() {
	r.write("kv.yaml", "constraints:\n  - {name: zones, spread: {domain: zone, at_most: 1}}\n")
}

// policyDocuments are the policies that docs/policy.md has.
func (r *reader) policyDocuments() {
	for _, b := range blocks(r.t, "../docs/policy.md") {
		if name, ok := strings.CutPrefix(strings.SplitN(b.code, "\n", 2)[0], "# "); ok && b.language == "yaml" {
			r.write(name, b.code)
		}
	}
}

// changes are taken back.
func (r *reader) changes() map[string]recipe {
	undrain := func() { r.must("shardmanager undrain node-1.kv --admin " + r.here["127.0.0.1:7440"]) }
	return map[string]recipe{
		"shardmanager drain node-1.kv":        {after: undrain},
		"shardmanager drain node-1.kv --wait": {after: undrain},
		"shardmanager app create -f deploy/systemd/app.yaml": {before: func() {
			r.must("sed 's/^name: kv/name: " + ownApp + "/; s/shards: 96/shards: 32/' deploy/systemd/app.yaml > own.yaml")
		},
			as: "shardmanager app create -f own.yaml", after: func() { r.settled(ownApp) }},
		"shardmanager app update -f FILE": {before: func() { r.must("shardmanager app get kv -o yaml > FILE") }},
		"shardmanager rollout v2 --app kv --kind upgrade --command 'ssh {{.Host}} systemctl restart kv'": {
			as: "shardmanager rollout v2 --app " + ownApp + " --kind upgrade --command 'ssh {{.Host}} systemctl restart kv'"},
		"shardmanager maintenance done kernel-7 node-1.kv": {before: func() { r.here["node-1.kv"] = r.ready("kernel-7") }, after: func() { delete(r.here, "node-1.kv") }},
		"shardmanager maintenance cancel nomad-deployment-…": {before: func() {
			r.must("shardmanager maintenance request nomad-deployment-1 --server node-6.kv --start 2099-01-01T00:00:00Z")
		}, as: "shardmanager maintenance cancel nomad-deployment-1"},
		"shardmanager maintenance show no-eu": {after: func() { r.must("shardmanager maintenance cancel no-eu --yes") }},
		"shardmanager explain kv 07":          {before: r.scaled, as: "shardmanager explain " + ownApp + " 07"},
		scaleScript(r): {after: func() {
			for _, id := range r.events("shrink-") {
				r.must("shardmanager maintenance cancel --yes " + id)
			}
		}},
		"shardmanager agent drain": {after: func() { r.must("shardmanager agent drain --undo") }},
	}
}

// scaled gives the test's own app replicas that follow load, as docs/scaling.md has them.
func (r *reader) scaled() {
	for _, b := range blocks(r.t, "../docs/scaling.md") {
		if _, scaling, ok := strings.Cut(b.code, "replica_scaling:\n"); ok && b.language == "yaml" {
			r.write("scaling.yaml", "replica_scaling:\n"+scaling)
		}
	}
	r.must("shardmanager app get " + ownApp + " -o yaml > own.yaml && cat scaling.yaml >> own.yaml && shardmanager app update -f own.yaml")
	r.awaits("shardmanager explain " + ownApp + " 07 | grep -q ^replicas") // it is said with the next plan
}

// scaleScript is the autoscaler of docs/scaling.md.
func scaleScript(r *reader) string {
	for _, b := range blocks(r.t, "../docs/scaling.md") {
		if b.language == "sh" {
			return strings.TrimSuffix(b.code, "\n")
		}
	}
	return ""
}

// settled waits until every shard of an app has a primary and a secondary.
func (r *reader) settled(app string) {
	await(r.t, app+" to be served", func() error {
		p := r.begin("shardmanager map "+app+` --filter 'primary == "" || secondaries.size() < 1'`, "")
		if code := p.end(r.t.Context()); code != 0 || strings.Count(p.output(), "\n") > 1 { // the heading
			return fmt.Errorf("exit code %d: %s", code, p.output())
		}
		return nil
	})
}

// maintained is what `maintenance list` and `show` say in JSON.
type maintained struct {
	Events []struct {
		Request struct{ ID string }
		Pieces  []piece
	}
}

// events are the ids of planned events that begin so.
func (r *reader) events(prefix string) (ids []string) {
	var list maintained
	r.asks("shardmanager maintenance list -o json", &list)
	for _, e := range list.Events {
		if strings.HasPrefix(e.Request.ID, prefix) {
			ids = append(ids, e.Request.ID)
		}
	}
	return ids
}

// ready is a server that an event says may go down.
func (r *reader) ready(event string) string {
	var list maintained
	r.asks("shardmanager maintenance list -o json", &list)
	for _, e := range list.Events {
		for _, p := range e.Pieces {
			if e.Request.ID == event && strings.HasSuffix(p.State, "_READY") {
				return p.Covers[0].Server
			}
		}
	}
	r.t.Fatalf("nobody is ready for %s: %+v", event, list)
	return ""
}

// lingered is said of a move that ended by itself before it was skipped: a shard lingers for two seconds.
const lingered = "conflict"

// interventions are for when something sticks. Nothing is held and nothing in quarantine: TestHoldRelease and TestQuarantine have what to release.
func (r *reader) interventions() map[string]recipe {
	return map[string]recipe{
		"shardmanager hold release":                     {exits: []int{1}, shows: "hold"},
		"shardmanager quarantine release APP SHARD":     {exits: []int{1}, shows: "quarantine"},
		"shardmanager moves abort APP SHARD":            {before: func() { r.stuck("PREPARE_ADD", `{"delay_ms": {"AddShard": -1}}`) }, after: r.unstuck},
		"shardmanager moves skip APP SHARD":             {before: func() { r.stuck("LINGER", "{}") }, after: r.unstuck, races: lingered},
		"shardmanager moves skip APP SHARD --step STEP": {before: func() { r.stuck("LINGER", "{}") }, after: r.unstuck, races: lingered},
	}
}

// stuck drains a server while callbacks of the others go wrong, until a shard is in a step; it is SHARD from then on.
func (r *reader) stuck(step, faults string) {
	for i := range 5 {
		r.write(r.faults(i), faults)
	}
	r.must("shardmanager drain node-6.kv")
	await(r.t, "a move in step "+step, func() error {
		var list struct {
			Open []struct{ Shard, Step string }
		}
		r.asks("shardmanager moves -o json", &list)
		for i := len(list.Open) - 1; i >= 0; i-- { // those that began last have the most time left
			if list.Open[i].Step == "MOVE_STEP_"+step {
				r.here["SHARD"] = list.Open[i].Shard
				return nil
			}
		}
		return errors.New("none")
	})
	r.here["STEP"] = strings.ToLower(step)
}

// unstuck ends what stuck began.
func (r *reader) unstuck() {
	for i := range 5 {
		if err := os.Remove(filepath.Join(r.dir, r.faults(i))); err != nil {
			r.t.Error(err)
		}
	}
	r.must("shardmanager undrain node-6.kv")
	r.here["SHARD"] = "07"
}

// faults is the file that makes an application of dev go wrong, from where commands are typed.
func (r *reader) faults(server int) string {
	file, err := filepath.Rel(r.dir, filepath.Join(r.here["RUN"], fmt.Sprintf("faults-node-%d.json", server+1)))
	if err != nil {
		r.t.Fatal(err)
	}
	return file
}

// webhooks are of the allocator that has them.
func (r *reader) webhooks() map[string]recipe {
	list := map[string]recipe{}
	for _, command := range []string{"list", "test pager", "dead pager", "replay pager", "dead NAME", "test NAME", "replay NAME"} {
		command = "shardmanager webhooks " + command
		list[command] = recipe{as: command + " --admin " + r.hooked}
	}
	return list
}

// tools are other programs.
func (r *reader) tools() map[string]recipe {
	profile := func(address string) recipe {
		return recipe{as: "go tool pprof 'http://" + address + "/debug/pprof/profile?seconds=1' < /dev/null", shows: "Saved profile"}
	}
	return map[string]recipe{
		"curl --json '{}' http://127.0.0.1:7440/shardmanager.v1.AdminService/ListServers": {shows: `"node-1\.kv"`},
		"curl --json '{\"server\":\"node-1.kv\"}' http://127.0.0.1:7440/shardmanager.v1.AdminService/DrainServer": {shows: `\{.*\}`, after: func() {
			r.must("shardmanager undrain node-1.kv")
		}},
		"curl -sNL 'http://127.0.0.1:7440/v1/events?app=kv&kind=server,leader'": {until: "event: leader\ndata: .*\n(.*\n)*event: server", exits: interrupted},
		"curl 'localhost:8500/v1/health/service/shardmanager-agent?tag=cluster-prod'": {before: func() {
			r.awaits("curl -s 'localhost:8500/v1/health/service/shardmanager-agent?tag=cluster-prod' | grep -q ServiceID")
		}, shows: `"shardmanager-agent-prod-c2"`},
		"curl -s 127.0.0.1:7441/readyz":                                      {shows: "ok"},
		"curl -s 127.0.0.1:7440/metrics":                                     {shows: "shardmanager_allocator_leader 1"},
		"go tool pprof http://127.0.0.1:7440/debug/pprof/profile?seconds=10": profile("127.0.0.1:7440"),
		"go tool pprof http://HOST:7440/debug/pprof/profile?seconds=10":      profile("HOST:7440"),
		"consul validate /etc/consul.d":                                      {as: "consul validate deploy/consul/server.hcl"},
		"consul operator raft list-peers":                                    {shows: "leader"},
		"consul catalog services":                                            {shows: "shardmanager-agent"},
		"consul catalog services -tags":                                      {shows: "shardmanager-agent.*cluster-dev"},
		"go doc ./sdk":                                                       {as: "go -C " + r.root() + " doc ./sdk", shows: "package sdk"},
	}
}
