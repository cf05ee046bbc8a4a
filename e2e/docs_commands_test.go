package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
)

// Every command in README, CONTRIBUTING and docs/*.md is run: against a cluster of `shardmanager dev`, in the order of the documents, and ends as the
// document says. Of those that build, test or measure this tree it is checked that what they name is there. The rest is in a table, with the reason.
func TestDocumentedCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a cluster, and types to it for more than a minute")
	}
	r := newReader(t)
	recipes, s := r.recipes(), newSources(t)
	commands := commandsOf(t, documentsTyped(t))
	excused, used := map[string]bool{}, map[string]bool{}
	for _, row := range notRun {
		for _, c := range row.commands {
			excused[c] = true
		}
	}
	run, doc := map[string]bool{}, ""
	for _, d := range commands {
		if d.doc != doc {
			r.closes()
			doc = d.doc
			r.opens(doc)
		}
		rc, cooked := recipes[d.text]
		applies, err := s.check(d.text)
		switch {
		case excused[d.text]:
			used[d.text] = true
		case applies:
			if err != nil {
				t.Errorf("%s: %v", d, err)
			}
		case !cooked && mentioned(d, commands):
		case run[d.text] && doc != contextsDoc: // in an earlier document
		case r.lacks(d.text):
			used[d.text] = true
		default:
			run[d.text], used[d.text] = true, true
			r.types(d, rc)
		}
	}
	r.closes()
	if len(run) < 80 {
		t.Errorf("only %d commands were run", len(run))
	}
	exists := testsThatExist(t)
	for _, row := range notRun {
		if row.test != "" && !exists[row.test] {
			t.Errorf("the table of what is not run names %s, which is no test", row.test)
		}
	}
	for _, c := range slices.Concat(keys(excused), keys(recipes)) {
		if !used[c] {
			t.Errorf("no document has %q any more: take it out of the table, or of the recipes", c)
		}
	}
}

// lacks reports, and says, that this machine has not got a program that a command takes.
func (r *reader) lacks(command string) bool {
	for _, program := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil && strings.Contains(command, program+" ") {
			r.t.Logf("NOT RUN: %s is not there: %s", program, command)
			return true
		}
	}
	if help, err := exec.Command("curl", "--help", "all").Output(); err == nil && strings.Contains(command, "curl --json") && !strings.Contains(string(help), "--json") {
		r.t.Logf("NOT RUN: the curl that is there has no --json: %s", command)
		return true
	}
	return false
}

func keys[V any](m map[string]V) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// mentioned reports whether a command is only named, without the arguments that it takes, and given in full elsewhere.
func mentioned(d documented, all []documented) bool {
	begins := strings.TrimSuffix(d.text, "…")
	if begins == d.text {
		begins += " "
		if !slices.Contains(named, d.text) {
			return false
		}
	}
	return slices.ContainsFunc(all, func(o documented) bool {
		return o.text != d.text && strings.HasPrefix(o.text, begins) && !strings.HasSuffix(o.text, "…")
	})
}

// named are verbs that documents name without the arguments that they take.
var named = []string{
	"shardmanager safe-to-stop", "shardmanager quarantine release", "shardmanager context set", "shardmanager moves abort",
	"shardmanager snapshot", "shardmanager snapshot restore", "shardmanager snapshot inspect", "shardmanager webhooks replay", "shardmanager simulate APP", "shardmanager nomad-controller", "go run ./bench/roadef",
}

// contextsDoc is about where the addresses of a cluster come from: there they are in no variable.
const contextsDoc = "cli.md"

// opens prepares for a document.
func (r *reader) opens(doc string) {
	r.env = slices.DeleteFunc(r.env, func(v string) bool { return strings.HasPrefix(v, "SHARDMANAGER_ADMIN=") })
	r.here["127.0.0.1:7441"] = r.agentAdmin
	if doc == contextsDoc {
		r.here["127.0.0.1:7441"] = r.here["127.0.0.1:7440"]
	} else {
		r.env = append(r.env, "SHARDMANAGER_ADMIN="+r.here["10.0.0.1:7440,10.0.0.2:7440,10.0.0.3:7440"])
	}
}

// Servers of an app of the test's own, which can be restarted: those of dev are dev's.
const (
	ownApp     = "books"
	ownServers = 2
)

// newReader starts a cluster, and what its commands need beside it.
func newReader(t *testing.T) *reader {
	t.Helper()
	consul := consultest.Binary(t)
	r := &reader{t: t, dir: t.TempDir(), here: map[string]string{}}
	bin := filepath.Join(r.dir, "bin")
	deploy, err := filepath.Abs("../deploy")
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"bin/shardmanager": linked(t), "bin/consul": consul, "deploy": deploy} {
		name = filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	r.write("bin/ssh", "#!/bin/sh\nexec kill \"$(cat \"$1.pid\")\"\n") // a host restarts what it is told to restart
	r.env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SHARDMANAGER_") }),
		"PATH="+bin+":"+os.Getenv("PATH"), "XDG_CONFIG_HOME="+r.dir, "PPROF_TMPDIR="+r.dir, consulserver.BinaryVariable+"="+consul)
	r.write("bin/stop", "#!/bin/sh\n") // whoever takes a server away
	r.env = append(r.env, "ONE=node-6.kv")
	r.cluster()
	r.receiver()
	return r
}

// receiver takes webhooks from an allocator of the test's own, by the file that docs/events.md has: those of dev have none.
func (r *reader) receiver() {
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r.t.Cleanup(target.Close)
	r.must(secretCommand)
	r.must("cp pager.secret audit.secret")
	for _, b := range blocks(r.t, "../docs/events.md") {
		if b.language == "yaml" && strings.Contains(b.code, "targets:") {
			r.write("webhooks.yaml", strings.NewReplacer("https://pager.example/hook", target.URL, "http://127.0.0.1:9000/events", target.URL).Replace(b.code))
		}
	}
	free := ports.New()
	r.t.Cleanup(func() { _ = free.Release() })
	r.hooked = r.port(free)
	p := r.begin(fmt.Sprintf("shardmanager allocator --store consul --cluster hooks --name a1 --state-dir hooks --listen %s --admin-listen %s --webhooks webhooks.yaml", r.port(free), r.hooked), "")
	r.t.Cleanup(func() { p.kill() })
	r.awaits("shardmanager leader --admin " + r.hooked)
}

const secretCommand = `echo "whsec_$(head -c 32 /dev/urandom | base64)" > pager.secret`

// cluster starts one, with servers of an app of the test's own, and learns who is who in it.
func (r *reader) cluster() {
	t := r.t
	data := filepath.Join(r.dir, "dev")
	dev := r.begin("shardmanager dev --store consul --mode primary-secondary --no-tour --rate 20 --page '' --data-dir dev", "load: 20 requests")
	t.Cleanup(func() {
		if code, _ := dev.interrupt(context.Background()); code != 0 {
			t.Errorf("the cluster ended with code %d\n%s", code, dev.output())
		}
	})
	if !dev.shown(t.Context()) {
		t.Fatal(dev.output())
	}
	runs, err := filepath.Glob(filepath.Join(data, "demo-*"))
	if err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	text, err := os.ReadFile(filepath.Join(runs[0], "consul", "consul-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var settings struct{ Ports struct{ HTTP int } }
	if err := json.Unmarshal(text, &settings); err != nil {
		t.Fatal(err)
	}
	consul := fmt.Sprintf("127.0.0.1:%d", settings.Ports.HTTP)
	r.here["RUN"], r.here["localhost:8500"] = runs[0], consul
	r.env = append(r.env, "CONSUL_HTTP_ADDR="+consul)
	r.places(consul)
	r.own(consul)
}

// places learns where allocators and agents are.
func (r *reader) places(consul string) {
	var admins, listen []string
	var services []struct {
		ServiceAddress string
		ServicePort    int
		ServiceMeta    struct{ Admin string }
	}
	await(r.t, "the allocators to be in the catalog", func() error {
		answer, err := http.Get("http://" + consul + "/v1/catalog/service/shardmanager-allocator")
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err == nil {
			err = json.Unmarshal(text, &services)
		}
		if err == nil && len(services) != 3 {
			err = fmt.Errorf("%d", len(services))
		}
		return err
	})
	for _, s := range services {
		admins, listen = append(admins, s.ServiceMeta.Admin), append(listen, fmt.Sprintf("%s:%d", s.ServiceAddress, s.ServicePort))
	}
	for _, name := range []string{"10.0.0.1:7440,10.0.0.2:7440,10.0.0.3:7440", "a1:7440,a2:7440,a3:7440"} {
		r.here[name] = strings.Join(admins, ",")
	}
	r.here["10.0.0.1:7410,10.0.0.2:7410,10.0.0.3:7410"] = strings.Join(listen, ",")
	r.opens("")
	leader := ""
	await(r.t, "an allocator to lead", func() error {
		for _, address := range admins {
			var status struct{ Leading bool }
			if r.asks("shardmanager status -o json --admin "+address, &status); status.Leading {
				leader = address
				return nil
			}
		}
		return errors.New("none does")
	})
	r.here["127.0.0.1:7440"], r.here["HOST:7440"] = leader, leader
	for name, here := range map[string]string{"APP": "kv", "SHARD": "07", "SERVER": "node-1.kv", "NAME": "pager", "REGION/ZONE": "eu/eu-1", "eu/1": "eu/eu-1",
		"host-1,host-2": "node-1,node-2"} {
		r.here[name] = here
	}
	r.env = append(r.env, "SHARDMANAGER_SOCKET=unix://"+filepath.Join(r.here["RUN"], "sockets", "node-5.sock"))
	if _, err := os.Stat(filepath.Join(r.here["RUN"], "sockets", "node-5.sock")); err != nil {
		r.t.Fatal(err)
	}
}

// own starts the servers of the app that is the test's. The applications are started again whenever they end, as a host's supervisor does.
func (r *reader) own(consul string) {
	free := ports.New()
	r.t.Cleanup(func() { _ = free.Release() })
	for i := range ownServers {
		name, zone := fmt.Sprintf("book-%d", i+1), []string{"eu", "us"}[i%2]
		socket := filepath.Join(r.here["RUN"], "sockets", name)
		lines := fmt.Sprintf("shardmanager agent --cluster dev --name %[1]s --host %[1]s --region %[2]s --zone %[2]s-1 --listen %[3]s --socket unix://%[4]s --state-dir state-%[1]s "+
			"--store consul --consul-addresses %[5]s --apps %[6]s > %[1]s-agent.log 2>&1 &\n"+
			"while :; do shardmanager example-kv serve --app %[6]s --mode primary-secondary --agent unix://%[4]s --listen %[7]s > %[1]s.log 2>&1 & echo $! > %[1]s.pid; wait $!; done",
			name, zone, r.port(free), socket, consul, ownApp, r.port(free))
		p := r.begin(lines, "")
		r.t.Cleanup(func() { p.kill() })
	}
}

func (r *reader) port(free *ports.Ports) string {
	address, err := free.Take(0)
	if err != nil {
		r.t.Fatal(err)
	}
	return address
}

func namesLongestFirst(of map[string]string) []string {
	names := keys(of)
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return names
}
