package client

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/nomad/steering"
)

// answering is a Nomad that says the same whatever it is asked.
type answering struct {
	status int
	body   string
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

// FuzzAnswers: whatever Nomad answers, a call ends with an error that says it is Nomad's, or with what can be decided on.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"", "[]", "{}", "null", "[null]", `[{"ID":"n","Drain":true}]`, `{"DrainStrategy":{"Deadline":-1,"ForceDeadline":"2026-01-01T00:00:00Z"}}`,
		`[{"ID":"d","JobID":"j","Status":"paused","TaskGroups":{"g":{"PlacedCanaries":["a"],"DesiredCanaries":1}}}]`,
		`[{"ID":"a","JobType":"service","DesiredStatus":"run","ClientStatus":"running","DesiredTransition":{"Migrate":true},"DeploymentStatus":{"Healthy":null}}]`,
		`{"Index":5,"Events":[{}]}{"Index":4,"Events":[{}]}{"Error":{"Message":"m"}}`, `[{"JobVersion":-1}]`, `[{"JobVersion":1e99}]`, strings.Repeat("[", 20000),
	} {
		f.Add(seed, true)
	}
	f.Add("no such node", false)
	f.Fuzz(func(t *testing.T, body string, good bool) {
		status := http.StatusOK
		if !good {
			status = http.StatusInternalServerError
		}
		c := &Client{cfg: Config{Namespace: AllNamespaces}, base: "http://nomad", http: &http.Client{Transport: answering{status, body}}}
		ctx := context.Background()
		view := &steering.View{}
		var errs [6]error
		view.Nodes, errs[0] = c.Draining(ctx)
		view.Deployments, errs[1] = c.Deployments(ctx)
		view.Allocations, errs[2] = c.OnNode(ctx, "n")
		_, errs[3] = c.OfJob(ctx, "default", "j/k")
		last := uint64(0)
		errs[4] = c.Follow(ctx, 0, func(index uint64) {
			if index <= last {
				t.Fatalf("index %d after %d", index, last)
			}
			last = index
		})
		errs[5] = c.Stop(ctx, "default", "a")
		for i, err := range errs {
			if err != nil && err != io.ErrUnexpectedEOF && !strings.HasPrefix(err.Error(), "nomad: ") {
				t.Fatalf("call %d: %v", i, err)
			}
			if err == nil && !good {
				t.Fatalf("call %d: an error was taken for an answer", i)
			}
		}
		_ = steering.Decide(view, steering.Settings{})
	})
}

// FuzzAddress: where Nomad is, is refused and quoted, or the base of a URL.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{DefaultAddress, "https://h", "unix:///s", "unix://s", "", "h:1", "http://h/x", "http://h//", "http://[::1]:1", "http://u@h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		base, socket, err := parse(text)
		switch {
		case err != nil:
			if base != "" || socket != "" {
				t.Fatalf("%q: refused, and %q, %q", text, base, socket)
			}
		case socket != "":
			if "unix://"+socket != text {
				t.Fatalf("%q: socket %q", text, socket)
			}
		default:
			if again, _, err := parse(base); err != nil || again != base {
				t.Fatalf("%q: base %q, of which %q, %v", text, base, again, err)
			}
		}
	})
}
