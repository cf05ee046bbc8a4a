package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/dev/process"
)

const (
	nomadVariable = "NOMAD_BIN"
	nomadJobs     = "../deploy/nomad"
	// nomadPatience bounds each thing that Nomad is asked for: a deployment takes half a minute.
	nomadPatience = 3 * time.Minute
)

// nomadConfig is an agent that touches nothing beyond this host: neither a cloud's metadata nor other drivers.
const nomadConfig = `
bind_addr            = "127.0.0.1"
data_dir             = %q
disable_update_check = true

ports {
  http = %s
  rpc  = %s
  serf = %s
}

advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}

consul {
  client_auto_join = false
  server_auto_join = false
  auto_advertise   = false
}

client {
  %s
  network_interface = "lo"
  options = {
    "driver.allowlist"     = "raw_exec"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}

plugin "raw_exec" {
  config {
    enabled = true
  }
}
`

// nomad is a Nomad agent, server and client in one, on the loopback interface.
type nomad struct {
	t       *testing.T
	binary  string
	address string // of its HTTP, host:port
	rpc     string // host:port
	dir     string
	free    *ports.Ports
	starter *process.Starter
}

// allocation is one of a job's, as Nomad shows it.
type allocation struct {
	ID, NodeID, Name, ClientStatus, DesiredStatus string
	JobVersion                                    uint64
	TaskStates                                    map[string]struct{ FinishedAt time.Time }
}

func (a allocation) ended() bool { return a.ClientStatus != "pending" && a.ClientStatus != "running" }

// nomadBinary is what NOMAD_BIN names, or the one in .bin. None is no failure: it takes long to build, and only these tests need it.
func nomadBinary(t *testing.T) string {
	t.Helper()
	name := os.Getenv(nomadVariable)
	if name == "" {
		name = "../.bin/nomad"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	switch {
	case err != nil && os.Getenv(nomadVariable) != "":
		t.Fatalf("%s: %v", nomadVariable, err)
	case err != nil:
		t.Skip("no Nomad: build it by `make nomad`, or set " + nomadVariable)
	}
	return path
}

// startNomad runs an agent until the end of the test, at which its jobs have to be gone.
func startNomad(t *testing.T) *nomad {
	t.Helper()
	n := &nomad{t: t, binary: nomadBinary(t), free: ports.New(), starter: process.NewStarter()}
	dir, err := os.MkdirTemp("", "n") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	n.dir = dir
	t.Cleanup(func() {
		n.starter.Close()
		if err := errors.Join(n.free.Release(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TMPDIR", dir)
	t.Setenv("AWS_CA_BUNDLE", "") // Nomad's libraries would read it
	if err := os.Unsetenv("AWS_CA_BUNDLE"); err != nil {
		t.Fatal(err)
	}
	n.address, n.rpc = n.port(), n.port()
	n.start("nomad", fmt.Sprintf(nomadConfig, dir, portOf(n.address), portOf(n.rpc), portOf(n.port()), ""), "-dev")
	n.awaitNodes(1)
	return n
}

// join adds a second client on this host.
func (n *nomad) join() {
	n.t.Helper()
	own := filepath.Join(n.dir, "second")
	config := fmt.Sprintf(nomadConfig, own, portOf(n.port()), portOf(n.port()), portOf(n.port()), fmt.Sprintf("enabled = true\n  servers = [%q]", n.rpc))
	n.start("second", "name = \"second\"\n"+config)
	n.awaitNodes(2)
}

func (n *nomad) port() string {
	n.t.Helper()
	address, err := n.free.Take(0)
	if err != nil {
		n.t.Fatal(err)
	}
	return address
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// start starts an agent; when it ends, its allocations are gone.
func (n *nomad) start(name, config string, args ...string) {
	n.t.Helper()
	file := filepath.Join(n.dir, name+".hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		n.t.Fatal(err)
	}
	unit := &process.Unit{
		Name: name, Binary: n.binary, Args: append([]string{"agent", "-config", file}, args...), Log: filepath.Join(n.dir, name+".log"), Starter: n.starter,
		Died: func(_ *process.Unit, err error) { n.t.Error(err) },
	}
	if err := unit.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		await(n.t, "Nomad to close sockets of its allocations", func() error { // of streams at their next heartbeat; a directory with one cannot be unmounted
			open, err := os.ReadFile("/proc/net/unix")
			if err == nil && bytes.Contains(open, []byte(n.dir+"/")) {
				err = errors.New("some are open")
			}
			return err
		})
		if out, err := n.try("system", "gc"); err != nil { // unmounts what allocations had
			n.t.Errorf("%v: %s", err, out)
		}
		await(n.t, "what allocations had to be gone", func() error {
			left, err := filepath.Glob(filepath.Join(n.dir, "alloc", "*-*"))
			more, wrong := filepath.Glob(filepath.Join(n.dir, "second", "alloc", "*-*"))
			if left = append(left, more...); err == nil && len(left) > 0 {
				err = fmt.Errorf("left %v", left)
			}
			return errors.Join(err, wrong)
		})
		if err := unit.Stop(time.Minute); err != nil {
			n.t.Error(err)
		}
		if n.t.Failed() {
			n.t.Log(unit.Tail())
		}
	})
}

func (n *nomad) awaitNodes(want int) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("%d nodes that are ready", want), func() error {
		var nodes []struct{ Status string }
		if err := n.get("/v1/nodes", &nodes); err != nil {
			return err
		}
		ready := 0
		for _, node := range nodes {
			if node.Status == "ready" {
				ready++
			}
		}
		if ready != want {
			return fmt.Errorf("nodes %v", nodes)
		}
		return nil
	})
}

// get asks Nomad's API.
func (n *nomad) get(path string, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // after the end of the test, too
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// must runs a nomad command to its end, which has to be good.
func (n *nomad) must(args ...string) {
	n.t.Helper()
	if out, err := n.try(args...); err != nil {
		n.t.Fatalf("nomad %v: %v\n%s", args, err, out)
	}
}

// try runs a nomad command, also after the end of the test.
func (n *nomad) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), nomadPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.binary, args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR=http://"+n.address)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run runs a job until the end of the test. It has been deployed when run returns: all that it starts runs.
func (n *nomad) run(name, file string, variables ...string) {
	n.t.Helper()
	n.t.Cleanup(func() { n.stop(name) })
	n.must(append([]string{"job", "run"}, jobArgs(file, variables)...)...)
}

// jobArgs are the last arguments of `nomad job run`.
func jobArgs(file string, variables []string) (args []string) {
	for _, v := range variables {
		args = append(args, "-var", v)
	}
	return append(args, filepath.Join(nomadJobs, file))
}

// stop stops a job and waits for all that it started: Nomad itself leaves behind what runs when it ends.
func (n *nomad) stop(name string) {
	n.t.Helper()
	if out, err := n.try("job", "stop", name); err != nil {
		n.t.Errorf("stop %s: %v\n%s", name, err, out)
		return
	}
	await(n.t, name+" to end", func() error {
		var allocations []allocation
		if err := n.get("/v1/job/"+name+"/allocations", &allocations); err != nil {
			return err
		}
		for _, a := range allocations {
			if !a.ended() {
				return fmt.Errorf("allocation %s: %s", a.ID, a.ClientStatus)
			}
		}
		return nil
	})
}

// services are the addresses of a service of Nomad's.
func (n *nomad) services(name string, want int) []string {
	n.t.Helper()
	var list []string
	await(n.t, fmt.Sprintf("%d of the service %s", want, name), func() error {
		var found []struct {
			Address string
			Port    int
		}
		if err := n.get("/v1/service/"+name, &found); err != nil {
			return err
		}
		list = nil
		for _, s := range found {
			list = append(list, fmt.Sprintf("%s:%d", s.Address, s.Port))
		}
		if len(list) != want {
			return fmt.Errorf("found %v", list)
		}
		return nil
	})
	return list
}

// await tries until it succeeds; after the end of the test, too.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	if err := clock.Await(context.WithoutCancel(t.Context()), nomadPatience, what, func(context.Context) error { return try() }); err != nil {
		t.Fatal(err)
	}
}
