package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

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

// example is the example under a real Nomad and a real Consul, by the jobs as they are.
type example struct {
	*nomad
	program string
	common  []string // variables of all jobs
	admin   []string
	load    *exec.Cmd
	lines   bytes.Buffer
	problem bytes.Buffer
	ended   bool
}

// startExample runs allocators and creates the app.
func startExample(t *testing.T) *example {
	t.Helper()
	nomadBinary(t) // or skip, before anything is started
	consul := consultest.Start(t, 1, nil).Addresses()[0]
	e := &example{program: linked(t)}
	t.Cleanup(func() {
		if left := running(t, e.program); len(left) > 0 {
			t.Errorf("processes left behind: %v", left)
		}
	})
	e.nomad = startNomad(t)
	e.common = []string{"binary=" + e.program, "cluster=e2e", "one_host=true", "consul_addresses=" + consul}
	return e
}

// allocators runs them, and creates the app.
func (e *example) allocators() {
	e.t.Helper()
	e.run("shardmanager-allocators", "allocators.nomad.hcl", append(e.common, "port=0", "admin_port=0")...)
	e.admin = e.services("shardmanager-admin", 3)
	await(e.t, "the app to be created", func() error {
		_, err := e.ask("app", "create", "-f", "../deploy/systemd/app.yaml")
		return err
	})
}

// served waits until three servers hold every shard. Allocators may have moved.
func (e *example) served() {
	e.t.Helper()
	e.admin = e.services("shardmanager-admin", 3)
	served(e.t, e.program, e.admin, 3)
}

// ask runs a verb for operators.
func (e *example) ask(args ...string) ([]byte, error) {
	out, err := exec.CommandContext(e.t.Context(), e.program, append(args, "--admin", strings.Join(e.admin, ","))...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return out, err
}

// startLoad begins to send requests.
func (e *example) startLoad() {
	e.t.Helper()
	e.load = exec.Command(e.program, "example-kv", "load", "--cluster", "e2e", "--rate", "100", "--keys", "500", "--deadline", deadline,
		"--allocators", strings.Join(e.services("shardmanager-allocator", 3), ","))
	e.load.Stdout, e.load.Stderr = &e.lines, &e.problem
	if err := e.load.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if !e.ended {
			_ = e.load.Process.Kill()
			_ = e.load.Wait()
		}
	})
}

// endLoad expects that no request failed.
func (e *example) endLoad() {
	e.t.Helper()
	e.ended = true
	if err := errors.Join(e.load.Process.Signal(os.Interrupt), e.load.Wait()); err != nil {
		e.t.Errorf("load: %v: %s", err, e.problem.String())
	}
	last := e.lines.Bytes()[bytes.LastIndexByte(bytes.TrimSpace(e.lines.Bytes()), '\n')+1:]
	var result kvload.Line
	if err := json.Unmarshal(last, &result); err != nil || !result.Final {
		e.t.Fatalf("last line %q: %v", last, err)
	}
	e.t.Logf("%s", last)
	for line := range bytes.Lines(e.lines.Bytes()) {
		var second kvload.Line
		if err := json.Unmarshal(line, &second); err == nil && second.Second.Failed > 0 {
			e.t.Logf("%s", line)
		}
	}
	if result.Requests < 500 || result.Failed != 0 || result.LostWrites != 0 || result.StaleReads != 0 || result.UnverifiedKeys != 0 {
		e.t.Errorf("%s", last)
	}
}

// of lists the allocations of a job that are to stay.
func (e *example) of(job string) []allocation {
	e.t.Helper()
	var list, stay []allocation
	if err := e.get("/v1/job/"+job+"/allocations", &list); err != nil {
		e.t.Fatal(err)
	}
	for _, a := range list {
		if a.DesiredStatus == "run" && !a.ended() {
			stay = append(stay, a)
		}
	}
	return stay
}

// stopOne stops an allocation by `nomad alloc stop`, and expects its application to outlive the agent's drain.
func (e *example) stopOne(id string) {
	e.t.Helper()
	e.must("alloc", "stop", id)
	var stopped allocation
	await(e.t, "the allocation to end", func() error {
		err := e.get("/v1/allocation/"+id, &stopped)
		if err == nil && !stopped.ended() {
			err = fmt.Errorf("it is %s", stopped.ClientStatus)
		}
		return err
	})
	if agent, app := stopped.TaskStates["agent"].FinishedAt, stopped.TaskStates["kv"].FinishedAt; agent.IsZero() || !agent.Before(app) {
		e.t.Errorf("the agent ended at %v, the application at %v: expected it to outlive the agent's drain", agent, app)
	}
}

// The jobs as they are, under a real Nomad and a real Consul: the example serves its shards, and neither to stop one of its allocations nor a new version
// drops a request, because Nomad stops the agent first, which drains.
func TestNomadRunsTheExample(t *testing.T) {
	e := startExample(t)
	e.allocators()
	e.run("kv", "kv.nomad.hcl", e.common...)
	e.served()
	e.scraped("shardmanager-agent-admin", 3, `shardmanager_agent_attached{app="kv"} 1`)
	e.startLoad()
	e.stopOne(e.of("kv")[0].ID)
	e.served()
	e.must(append([]string{"job", "run"}, jobArgs("kv.nomad.hcl", append(e.common, "release=2"))...)...)
	e.served()
	e.endLoad()
}

// scraped expects of each of so many addresses of a service that it is ready and tells a metric, as Prometheus asks for it.
func (e *example) scraped(service string, addresses int, metric string) {
	e.t.Helper()
	for _, address := range e.services(service, addresses) {
		await(e.t, service+" to be ready at "+address, func() error {
			for path, wants := range map[string]string{"/readyz": "ok", "/metrics": metric} {
				answer, err := http.Get("http://" + address + path)
				if err != nil {
					return err
				}
				text, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(text), wants) {
					return fmt.Errorf("%s: %s, %v, without %s", path, answer.Status, err, wants)
				}
			}
			return nil
		})
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
