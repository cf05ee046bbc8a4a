package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
)

// commandEnv makes the test's own binary the command.
const commandEnv = "TEST_BE_THE_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	if err := os.Setenv("SHARDMANAGER_CONTEXTS", "/does/not/exist"); err != nil { // whoever runs the tests may have contexts
		panic(err)
	}
	os.Exit(m.Run())
}

// fleet is daemons on a Consul of their own.
type fleet struct {
	t      *testing.T
	consul string
	client *api.Client
	ports  *ports.Ports
	dir    string // short: it holds sockets
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, consul: consultest.Start(t, 1, nil).Addresses()[0], ports: ports.New()}
	var err error
	if f.client, err = api.NewClient(&api.Config{Address: f.consul}); err != nil {
		t.Fatal(err)
	}
	if f.dir, err = os.MkdirTemp("", "sm"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(f.dir); err != nil {
			t.Error(err)
		}
		if err := f.ports.Release(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fleet) port() string {
	f.t.Helper()
	address, err := f.ports.Take(0)
	if err != nil {
		f.t.Fatal(err)
	}
	return address
}

// child is one daemon.
type child struct {
	*exec.Cmd
	name string
	log  string
	done chan error
}

func (f *fleet) start(kind, name string, args ...string) *child {
	f.t.Helper()
	state := filepath.Join(f.dir, name)
	args = append([]string{
		kind, "--cluster", "test", "--name", name, "--state-dir", state, "--store", "consul", "--consul-addresses", f.consul,
		"--consul-check-ttl", "20s", "--gossip-listen", "127.0.0.1:0", "--region", "eu", "--zone", "eu-1",
	}, args...)
	if kind == "agent" {
		args = append(args, "--socket", "unix://"+state+".sock", "--rack", "r1", "--drain-timeout", "1s")
	}
	return f.run(name, args...)
}

// run starts the command with arguments as they are.
func (f *fleet) run(name string, args ...string) *child {
	f.t.Helper()
	d := &child{Cmd: exec.Command(os.Args[0], args...), name: name, log: filepath.Join(f.dir, name+".log"), done: make(chan error, 1)}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	d.Env, d.Stdout, d.Stderr = append(os.Environ(), commandEnv+"=1"), log, log
	if err := d.Start(); err != nil {
		f.t.Fatal(err)
	}
	_ = log.Close() // the child has its own
	go func() { d.done <- d.Wait() }()
	f.t.Cleanup(func() { _ = d.Process.Kill() }) // it may have ended
	return d
}

// end signals a daemon and waits until it is gone.
func (f *fleet) end(d *child, s syscall.Signal) {
	f.t.Helper()
	if err := d.Process.Signal(s); err != nil {
		f.t.Fatal(err)
	}
	select {
	case <-d.done:
	case <-time.After(30 * time.Second):
		f.t.Fatalf("%s does not end", d.name)
	}
}

// serveKV runs the example beside an agent, with 8 shards, and waits until it has them all.
func (f *fleet) serveKV(admin, agent string) {
	f.t.Helper()
	spec := write(f.t, "app.yaml", "name: kv\nkey_space: {hash: {shards: 8}}\nreplication: primary-only\n")
	if code, _, errs := shell(f.t, "app", "create", "-f", spec, "--admin", admin); code != exitOK {
		f.t.Fatalf("app create: %s", errs)
	}
	store := f.port()
	f.run("kv-store", "example-kv", "store", "--listen", store)
	f.run("kv", "example-kv", "serve", "--listen", f.port(), "--store", store, "--agent", "unix://"+filepath.Join(f.dir, agent)+".sock")
	f.until("kv has its shards", func() bool {
		_, out, _ := shell(f.t, "map", "kv", "--admin", admin)
		return strings.Count(out, agent+".kv") == 8
	})
}

// until waits for a condition, and shows the daemons' logs if it never holds.
func (f *fleet) until(what string, holds func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			logs, _ := filepath.Glob(filepath.Join(f.dir, "*.log"))
			for _, name := range logs {
				text, _ := os.ReadFile(name)
				f.t.Logf("%s:\n%s", name, text)
			}
			f.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// shows is a service in the catalog; nil if it is not there.
func (f *fleet) shows(service, name string) *api.ServiceEntry {
	f.t.Helper()
	entries, _, err := f.client.Health().Service(service, "cluster-test", false, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e *api.ServiceEntry) bool { return e.Service.ID == service+"-test-"+name })
	if i < 0 {
		return nil
	}
	return entries[i]
}

func (f *fleet) status(service, name string) string {
	f.t.Helper()
	if e := f.shows(service, name); e != nil {
		return e.Checks.AggregatedStatus()
	}
	return "absent"
}

// Daemons show in Consul's catalog and find each other's gossip by it, without a static seed. A kill turns their check critical, a stop takes
// them away, and a planned restart changes nothing.
func TestDaemonsInTheCatalog(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const agents, allocators = consul.AgentService, consul.AllocatorService
	admin := f.port()
	al := f.start("allocator", "al-1", "--listen", f.port(), "--admin-listen", admin)
	data := f.port()
	a, b := f.start("agent", "a", "--listen", data), f.start("agent", "b", "--listen", f.port(), "--consul-check-ttl", "3s")

	f.until("all pass", func() bool {
		return f.status(allocators, "al-1") == api.HealthPassing && f.status(agents, "a") == api.HealthPassing && f.status(agents, "b") == api.HealthPassing
	})
	e := f.shows(agents, "a")
	if at := fmt.Sprintf("%s:%d", e.Service.Address, e.Service.Port); at != data {
		t.Errorf("a is at %s, want %s", at, data)
	}
	if want := []string{"cluster-test", "region-eu", "zone-eu-1"}; !slices.Equal(e.Service.Tags, want) {
		t.Errorf("a has the tags %q, want %q", e.Service.Tags, want)
	}
	for key, want := range map[string]string{"cluster": "test", "name": "a", "region": "eu", "zone": "eu-1", "rack": "r1", "shards": "0", "version": softwareVersion()} {
		if got := e.Service.Meta[key]; got != want {
			t.Errorf("a has %s %q, want %q", key, got, want)
		}
	}
	f.until("the allocator leads", func() bool { return slices.Contains(f.shows(allocators, "al-1").Service.Tags, "leader") })
	for _, d := range []*child{al, a, b} {
		f.until(d.name+" finds the others", func() bool { return strings.Count(read(t, d.log), `"what":"joined"`) >= 3 }) // itself, too
	}

	f.serveKV(admin, "a")
	f.until("a serves kv", func() bool { return slices.Contains(f.shows(agents, "a").Service.Tags, "app-kv") })
	created := f.shows(agents, "a").Service.CreateIndex
	if err := a.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	f.until("a is back", func() bool {
		e := f.shows(agents, "a")
		if e == nil || e.Service.CreateIndex != created || e.Checks.AggregatedStatus() != api.HealthPassing || !slices.Contains(e.Service.Tags, "app-kv") {
			t.Fatalf("while it restarts a is %+v", e)
		}
		started := strings.Count(read(t, a.log), "agent started") // at first, on trial, and for good
		return started == 3 && e.Service.Meta["shards"] == "8" && e.Service.Meta["apps"] == "kv"
	})

	f.end(b, syscall.SIGKILL)
	f.until("b is critical", func() bool { return f.status(agents, "b") == api.HealthCritical })
	f.end(a, syscall.SIGTERM)
	f.end(al, syscall.SIGTERM)
	f.until("who stopped is gone", func() bool { return f.status(agents, "a") == "absent" && f.status(allocators, "al-1") == "absent" })
}

// Two agents find each other while nobody else takes part in gossip, and what Consul refuses is told with its setting, once.
func TestAgentsFindEachOther(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b := f.start("agent", "a", "--listen", f.port()), f.start("agent", "b", "--listen", f.port())
	for _, d := range []*child{a, b} {
		f.until(d.name+" finds the other", func() bool { return strings.Count(read(t, d.log), `"what":"joined"`) >= 2 })
		if text := read(t, d.log); strings.Contains(text, "cannot join") || strings.Contains(text, "not registered in Consul") {
			t.Errorf("%s complains: %s", d.name, text)
		}
	}
	off := f.start("agent", "c", "--listen", f.port(), "--consul-register=false")
	f.until("c runs", func() bool { return strings.Contains(read(t, off.log), "agent started") })
	f.end(off, syscall.SIGTERM)
	if text := read(t, off.log); strings.Contains(text, "registered in Consul") || strings.Contains(text, "gossip joined") {
		t.Errorf("c registered although it should not: %s", text)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
