package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// A context is set, used, completed and deleted; every command goes by it.
func TestContexts(t *testing.T) {
	t.Setenv("SHARDMANAGER_CONTEXTS", filepath.Join(t.TempDir(), "deep", "config.yaml"))
	for _, step := range []struct {
		line       string
		code       int
		out, wrong string
	}{
		{"context list", exitOK, "CURRENT  NAME", ""},
		{"context show", exitFailure, "", "none is chosen"},
		{"context set prod --admin 127.0.0.1:1", exitOK, "prod: set\n", ""},
		{"context set test --admin 127.0.0.1:2 --socket unix:///no/agent", exitOK, "test: set\n", ""},
		{"context set bad --admin nowhere", exitUsage, "", "context bad: expected host:port"},
		{"context set test", exitUsage, "", "expected --admin or --socket"},
		{"context list", exitOK, "*        prod  127.0.0.1:1  -\n         test  127.0.0.1:2  unix:///no/agent\n", ""},
		{"status", exitFailure, "", "cannot reach allocator 127.0.0.1:1 of context prod:"},
		{"status --context test", exitFailure, "", "127.0.0.1:2 of context test:"},
		{"status --context tst", exitUsage, "", "did you mean test?"},
		{"agent status --context test", exitFailure, "", "cannot reach the agent at unix:///no/agent"},
		{"doctor --context test", exitFailure, "127.0.0.1:2", "doctor:"},
		{"context use prd", exitUsage, "", "did you mean prod?"},
		{"context use test", exitOK, "test: current now\n", ""},
		{"context show -o json", exitOK, `"127.0.0.1:2"`, ""},
		{"__complete context use t", exitOK, "test\n:4\n", ""},
		{"__complete status --context p", exitOK, "prod\n:4\n", ""},
		{"context delete test", exitOK, "test: deleted\n", ""},
		{"context show", exitFailure, "", "none is chosen"},
	} {
		code, out, errs := shell(t, strings.Fields(step.line)...)
		if code != step.code || !strings.Contains(out, step.out) || !strings.Contains(errs, step.wrong) {
			t.Errorf("%s: exit %d, %q, %q; want exit %d, %q, %q", step.line, code, out, errs, step.code, step.out, step.wrong)
		}
	}
}
