package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/nomad/steering"
)

// nomad answers as Nomad does: recorded answers, shortened. Against a real one the end-to-end tests run.
func nomad(t *testing.T, answers map[string]string) (c *Client, asked *[]string) {
	t.Helper()
	asked = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*asked = append(*asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		answer, ok := answers[r.URL.Path]
		if !ok || r.Header.Get("X-Nomad-Token") != "secret" {
			http.Error(w, "Permission denied", http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Address: server.URL, TokenFile: token, Namespace: AllNamespaces})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, asked
}

func TestLists(t *testing.T) {
	c, asked := nomad(t, map[string]string{
		"/v1/nodes":   `[{"ID":"n1","Name":"one","Drain":true},{"ID":"n2","Drain":false},{"ID":"n3","Drain":true}]`,
		"/v1/node/n1": `{"DrainStrategy":{"Deadline":60000000000,"IgnoreSystemJobs":true,"ForceDeadline":"2026-01-02T03:05:05Z","StartedAt":"2026-01-02T03:04:05Z"}}`,
		"/v1/node/n3": `{"DrainStrategy":null}`,
		"/v1/deployments": `[{"ID":"d1","Namespace":"ns","JobID":"kv","JobVersion":3,"Status":"paused",
			"TaskGroups":{"kv":{"Promoted":true,"PlacedCanaries":["a1"],"DesiredCanaries":1}}}]`,
		"/v1/allocations": `[
			{"ID":"a0","JobType":"system","DesiredStatus":"run"},{"ID":"a1","JobType":"service","Namespace":"ns","JobID":"kv","TaskGroup":"g","Name":"kv.g[0]","NodeID":"n1","JobVersion":3,"DesiredStatus":"run","ClientStatus":"running","DeploymentStatus":{"Healthy":true},"CreateTime":1767323045000000000},
			{"ID":"a2","JobType":"service","CreateTime":1767323045000000000,"DesiredStatus":"run","ClientStatus":"running","DesiredTransition":{"Migrate":true},"DeploymentStatus":{"Healthy":null}},
			{"ID":"a3","JobType":"service","CreateTime":1767323045000000000,"DesiredStatus":"stop","ClientStatus":"running","NextAllocation":"a1"},
			{"ID":"a4","JobType":"service","CreateTime":1767323045000000000,"DesiredStatus":"run","ClientStatus":"failed"}]`,
		"/v1/job/a/b/allocations": `[]`,
	})
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	nodes, err := c.Draining(t.Context())
	if diff := cmp.Diff([]steering.Node{{ID: "n1", Name: "one", Drain: &steering.Drain{Started: began, Deadline: began.Add(time.Minute), KeepSystemJobs: true}}}, nodes); err != nil || diff != "" {
		t.Errorf("nodes: %v, %s", err, diff)
	}
	deployments, err := c.Deployments(t.Context())
	if diff := cmp.Diff([]steering.Deployment{{ID: "d1", Namespace: "ns", Job: "kv", Version: 3, Paused: true,
		Groups: map[string]steering.Group{"kv": {Wanted: 1, Canaries: []string{"a1"}, Promoted: true}}}}, deployments); err != nil || diff != "" {
		t.Errorf("deployments: %v, %s", err, diff)
	}
	allocations, err := c.Like(t.Context(), "a")
	if diff := cmp.Diff([]steering.Allocation{
		{ID: "a1", Namespace: "ns", Job: "kv", Group: "g", Name: "kv.g[0]", Node: "n1", Version: 3, State: steering.Live, Healthy: true, Placed: began},
		{ID: "a2", State: steering.Stopping, Placed: began}, {ID: "a3", State: steering.Stopping, Next: "a1", Placed: began}, {ID: "a4", State: steering.Ended, Placed: began},
	}, allocations); err != nil || diff != "" {
		t.Errorf("allocations: %v, %s", err, diff)
	}
	if list, err := c.OfJob(t.Context(), "ns", "a/b"); err != nil || len(list) != 0 {
		t.Errorf("of a job: %v, %v", list, err)
	}
	if last := (*asked)[len(*asked)-1]; last != "GET /v1/job/a%2Fb/allocations?namespace=ns" {
		t.Errorf("asked %s", last)
	}
}

func TestOrders(t *testing.T) {
	c, asked := nomad(t, map[string]string{"/v1/allocation/a/stop": "{}", "/v1/deployment/pause/d": "{}", "/v1/deployment/promote/d": "{}", "/v1/node/n/drain": "{}"})
	for _, err := range []error{c.Stop(t.Context(), "ns", "a"), c.Pause(t.Context(), "ns", "d"), c.Resume(t.Context(), "ns", "d"), c.Promote(t.Context(), "ns", "d"),
		c.DrainWithin(t.Context(), "n", time.Minute, true)} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		`POST /v1/allocation/a/stop?namespace=ns`,
		`POST /v1/deployment/pause/d?namespace=ns {"DeploymentID":"d","Pause":true}`,
		`POST /v1/deployment/pause/d?namespace=ns {"DeploymentID":"d","Pause":false}`,
		`POST /v1/deployment/promote/d?namespace=ns {"All":true,"DeploymentID":"d"}`,
		`POST /v1/node/n/drain? {"DrainSpec":{"Deadline":60000000000,"IgnoreSystemJobs":true},"NodeID":"n"}`,
	}
	if diff := cmp.Diff(want, *asked); diff != "" {
		t.Error(diff)
	}
	if err := c.Stop(t.Context(), "ns", "other"); err == nil || !strings.Contains(err.Error(), "403 Forbidden: Permission denied") {
		t.Errorf("a refusal: %v", err)
	}
}

func TestFollow(t *testing.T) {
	c, asked := nomad(t, map[string]string{"/v1/event/stream": `{}{"Index":7,"Events":[{"Topic":"Node"}]}
{"Index":6,"Events":[{"Topic":"Node"}]}{"Index":9,"Events":[{"Topic":"Node"},{}]}`})
	var got []uint64
	err := c.Follow(t.Context(), 5, func(index uint64) { got = append(got, index) })
	if diff := cmp.Diff([]uint64{7, 9}, got); diff != "" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, %s", err, diff)
	}
	if !strings.Contains((*asked)[0], "index=5") {
		t.Errorf("asked %v", *asked)
	}
	broken, _ := nomad(t, map[string]string{"/v1/event/stream": `{"Error":{"Message":"subscription closed by server"}}`})
	if err := broken.Follow(t.Context(), 0, nil); err == nil || !strings.Contains(err.Error(), "subscription closed") {
		t.Errorf("an error of the stream: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	good := Config{Address: DefaultAddress, Namespace: AllNamespaces}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"nomad_address":     func(c *Config) { c.Address = "10.0.0.1:4646" },
		"nomad_cert_file":   func(c *Config) { c.Address, c.CertFile = "https://a:1", "x" },
		"nomad_ca_file":     func(c *Config) { c.CAFile = "x" },
		"nomad_server_name": func(c *Config) { c.ServerName = "x" },
		"nomad_namespace":   func(c *Config) { c.Namespace = "" },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for want, c := range map[string]Config{
		"nomad_ca_file: open":   {Address: "https://a:1", CAFile: "/does/not/exist"},
		"nomad_cert_file: open": {Address: "https://a:1", CertFile: "/does/not/exist", KeyFile: "/does/not/exist"},
		"expected certificates": {Address: "https://a:1", CAFile: os.DevNull},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode([]map[string]any{{"ID": "d", "JobID": r.Host}})
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	c, err := New(Config{Address: "unix://" + socket, Namespace: AllNamespaces})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.Deployments(context.Background())
	if err != nil || len(list) != 1 || list[0].Job != "nomad" {
		t.Errorf("over a socket: %v, %v", list, err)
	}
	c.cfg.TokenFile = "/does/not/exist"
	if _, err := c.Deployments(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "nomad_token_file: ") {
		t.Errorf("no token: %v", fmt.Sprint(err))
	}
}
