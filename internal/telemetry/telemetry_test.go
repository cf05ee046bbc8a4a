package telemetry_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmanager/shardmanager/internal/telemetry"
)

func TestEndpoints(t *testing.T) {
	well := func(context.Context) error { return nil }
	broken := func(context.Context) error { return errors.New("kv: no lease") }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := telemetry.Serve(l, telemetry.NewRegistry("v1.2"), well, broken, func(err error) { t.Error(err) })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tests := map[string]struct {
		method, path string
		status       int
		says         string
	}{
		"metrics":            {"GET", "/metrics", 200, `shardmanager_build_info{goversion="`},
		"its version":        {"GET", "/metrics", 200, `version="v1.2"} 1`},
		"of the process":     {"GET", "/metrics", 200, "process_open_fds"},
		"of Go":              {"GET", "/metrics", 200, "go_goroutines"},
		"alive":              {"GET", "/livez", 200, "ok"},
		"not ready":          {"GET", "/readyz", 503, "kv: no lease"},
		"profiles":           {"GET", "/debug/pprof/", 200, "goroutine"},
		"one profile":        {"GET", "/debug/pprof/goroutine?debug=1", 200, "telemetry"},
		"nothing is changed": {"POST", "/livez", 405, ""},
		"nothing else":       {"GET", "/", 404, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+l.Addr().String()+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != test.status || !strings.Contains(string(body), test.says) {
				t.Errorf("%d, %v, expected %d and %q:\n%s", resp.StatusCode, err, test.status, test.says, body)
			}
		})
	}
	stop()
	if _, err := client.Get("http://" + l.Addr().String() + "/livez"); err == nil {
		t.Error("it serves on after stop")
	}
}

func TestNamesAreGood(t *testing.T) {
	problems, err := testutil.GatherAndLint(telemetry.NewRegistry("v1"), "shardmanager_build_info")
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}
