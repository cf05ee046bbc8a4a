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

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
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

consul {
  client_auto_join = false
  server_auto_join = false
  auto_advertise   = false
}

client {
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
}

// allocation is one of a job's, as Nomad shows it.
type allocation struct {
	ID, ClientStatus string
	TaskStates       map[string]struct{ FinishedAt time.Time }
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
	n := &nomad{t: t, binary: nomadBinary(t)}
	dir, err := os.MkdirTemp("", "n") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	free, starter := ports.New(), process.NewStarter()
	t.Cleanup(func() {
		starter.Close()
		if err := errors.Join(free.Release(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	port := func() string {
		address, err := free.Take(0)
		if err != nil {
			t.Fatal(err)
		}
		n.address = address
		return address[strings.LastIndexByte(address, ':')+1:]
	}
	rpc, serf, web := port(), port(), port() // the last is remembered
	config := filepath.Join(dir, "agent.hcl")
	if err := os.WriteFile(config, fmt.Appendf(nil, nomadConfig, dir, web, rpc, serf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Setenv("AWS_CA_BUNDLE", "") // Nomad's libraries would read it
	if err := os.Unsetenv("AWS_CA_BUNDLE"); err != nil {
		t.Fatal(err)
	}
	unit := &process.Unit{
		Name: "nomad", Binary: n.binary, Args: []string{"agent", "-dev", "-config", config}, Log: filepath.Join(dir, "log"), Starter: starter,
		Died: func(_ *process.Unit, err error) { t.Error(err) },
	}
	if err := unit.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := n.try("system", "gc"); err != nil { // unmounts what allocations had
			t.Errorf("%v: %s", err, out)
		}
		await(t, "what allocations had to be gone", func() error {
			left, err := filepath.Glob(filepath.Join(dir, "alloc", "*-*"))
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("left %v", left)
			}
			return err
		})
		if err := unit.Stop(time.Minute); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(unit.Tail())
		}
	})
	await(t, "a node that is ready", func() error {
		var nodes []struct{ Status string }
		if err := n.get("/v1/nodes", &nodes); err != nil {
			return err
		}
		if len(nodes) != 1 || nodes[0].Status != "ready" {
			return fmt.Errorf("nodes %v", nodes)
		}
		return nil
	})
	return n
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
	args := []string{"job", "run"}
	for _, v := range variables {
		args = append(args, "-var", v)
	}
	n.must(append(args, filepath.Join(nomadJobs, file))...)
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

// await tries until it succeeds.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	if err := clock.Await(t.Context(), nomadPatience, what, func(context.Context) error { return try() }); err != nil {
		t.Fatal(err)
	}
}

// The files are as `nomad fmt` writes them, and what Nomad takes for jobs.
func TestNomadJobsAreValid(t *testing.T) {
	n := &nomad{t: t, binary: nomadBinary(t), address: "127.0.0.1:1"} // nobody is asked
	n.must("fmt", "-check", nomadJobs)
	files, err := filepath.Glob(filepath.Join(nomadJobs, "*.nomad.hcl"))
	if err != nil || len(files) < 3 {
		t.Fatalf("jobs %v, %v", files, err)
	}
	for _, file := range files {
		args := []string{"job", "validate"}
		if strings.Contains(file, "store") {
			args = append(args, "-var", "host=host-1")
		}
		n.must(append(args, file)...)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.nomad.hcl")
	if err := os.WriteFile(wrong, []byte("job \"a\" {\n  group \"b\" {\n    cuont = 1\n  }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.try("job", "validate", wrong); err == nil {
		t.Errorf("a wrong job passes: %s", out)
	}
}

// The jobs as they are, under a real Nomad and a real Consul: the example serves its shards, and to stop one of its allocations drops no
// request, because Nomad stops the agent first, which drains.
func TestNomadRunsTheExample(t *testing.T) {
	nomadBinary(t) // or skip, before anything is started
	consul := consultest.Start(t, 1, nil).Addresses()[0]
	program := linked(t)
	t.Cleanup(func() {
		if left := running(t, program); len(left) > 0 {
			t.Errorf("processes left behind: %v", left)
		}
	})
	n := startNomad(t)
	common := []string{"binary=" + program, "cluster=e2e", "one_host=true", "consul_addresses=" + consul}
	n.run("shardmanager-allocators", "allocators.nomad.hcl", append(common, "port=0", "admin_port=0")...)
	admin := n.services("shardmanager-admin", 3)
	await(t, "the app to be created", func() error {
		out, err := exec.CommandContext(t.Context(), program, "app", "create", "-f", "../deploy/systemd/app.yaml", "--admin", strings.Join(admin, ",")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	n.run("kv", "kv.nomad.hcl", common...)

	load := exec.Command(program, "example-kv", "load", "--cluster", "e2e", "--rate", "100", "--keys", "500", "--deadline", deadline,
		"--allocators", strings.Join(n.services("shardmanager-allocator", 3), ","))
	var lines, problems bytes.Buffer
	load.Stdout, load.Stderr = &lines, &problems
	served(t, program, admin, 3)
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = load.Process.Kill()
			_ = load.Wait()
		}
	})
	var allocations []allocation
	if err := n.get("/v1/job/kv/allocations", &allocations); err != nil || len(allocations) != 3 {
		t.Fatalf("allocations %v, %v", allocations, err)
	}
	n.must("alloc", "stop", allocations[0].ID)
	var stopped allocation
	await(t, "the allocation to end", func() error {
		err := n.get("/v1/allocation/"+allocations[0].ID, &stopped)
		if err == nil && !stopped.ended() {
			err = fmt.Errorf("it is %s", stopped.ClientStatus)
		}
		return err
	})
	if agent, app := stopped.TaskStates["agent"].FinishedAt, stopped.TaskStates["kv"].FinishedAt; agent.IsZero() || !agent.Before(app) {
		t.Errorf("the agent ended at %v, the application at %v: expected it to outlive the agent's drain", agent, app)
	}
	served(t, program, admin, 3)
	ended = true
	if err := errors.Join(load.Process.Signal(os.Interrupt), load.Wait()); err != nil {
		t.Errorf("load: %v: %s", err, problems.String())
	}
	last := lines.Bytes()[bytes.LastIndexByte(bytes.TrimSpace(lines.Bytes()), '\n')+1:]
	var result kvload.Line
	if err := json.Unmarshal(last, &result); err != nil || !result.Final {
		t.Fatalf("last line %q: %v", last, err)
	}
	t.Logf("%s", last)
	if result.Requests < 500 || result.Failed != 0 || result.LostWrites != 0 || result.StaleReads != 0 || result.UnverifiedKeys != 0 {
		t.Errorf("%s", last)
	}
}

// served waits until so many servers hold every shard of kv, with nothing left to do.
func served(t *testing.T, program string, admin []string, servers int) {
	t.Helper()
	await(t, "every shard to be served", func() error {
		failed := errors.New("nobody leads")
		for _, address := range admin {
			out, err := exec.CommandContext(t.Context(), program, "status", "--admin", address, "-o", "json").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			var s struct {
				Leading                                                    bool
				Servers, Attached, Suspected, Unplaced, Lacking, OpenMoves int
			}
			if err := json.Unmarshal(out, &s); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if s.Leading && s.Servers == servers && s.Attached == servers && s.Suspected+s.Unplaced+s.Lacking+s.OpenMoves == 0 {
				return nil
			}
			if s.Leading {
				failed = fmt.Errorf("%s", out)
			}
		}
		return failed
	})
}
