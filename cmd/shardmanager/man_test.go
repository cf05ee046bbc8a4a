package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// There is a page for each command, that of today, and nothing is written where that cannot be.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	for range 2 { // the pages of an earlier version are replaced
		if code, out, errs := shell(t, "man", dir); code != exitOK || !strings.Contains(out, "pages in "+dir) {
			t.Fatalf("%d %s%s", code, out, errs)
		}
	}
	for page, says := range map[string]string{
		"shardmanager.1": "whole cluster on this machine", "shardmanager-servers.1": "--watch", "shardmanager-moves-abort.1": "moves abort APP SHARD",
	} {
		text, err := os.ReadFile(filepath.Join(dir, page))
		if err != nil || !strings.Contains(string(text), says) {
			t.Errorf("%s: %v, expected %q in\n%s", page, err, says, text)
		}
	}
	if code, _, errs := shell(t, "man", filepath.Join(dir, "shardmanager.1")); code != exitFailure || !strings.Contains(errs, "man pages: ") {
		t.Errorf("a file in place of the directory: %d %s", code, errs)
	}
}

// Completions are made by the program, for each shell.
func TestCompletion(t *testing.T) {
	for _, name := range []string{"bash", "zsh", "fish"} {
		if code, out, errs := shell(t, "completion", name); code != exitOK || !strings.Contains(out, "shardmanager") {
			t.Errorf("%s: %d %s", name, code, errs)
		}
	}
	if code, out, _ := shell(t, "__complete", "ma"); code != exitOK || !strings.Contains(out, "maintenance\t") || !strings.Contains(out, "map\t") {
		t.Errorf("what begins with ma: %d %s", code, out)
	}
}

// Names come from the cluster: those of what the command takes next, and none where nobody answers.
func TestCompletionOfNames(t *testing.T) {
	admin := serve(t, &plane{})
	for line, want := range map[string]string{
		"map --admin ADMIN ":                       "kv",
		"map --admin ADMIN x":                      "",
		"map kv --admin ADMIN ":                    "",
		"app get --admin ADMIN ":                   "kv",
		"servers --admin ADMIN --app ":             "kv",
		"drain --admin ADMIN ":                     "node-1.kv",
		"explain --admin ADMIN kv ":                "0 1",
		"safe-to-stop --admin ADMIN node-1":        "node-1.kv",
		"maintenance show --admin ADMIN ":          "",
		"drain --admin 127.0.0.1:1 ":               "",
		"maintenance done --admin ADMIN e1 node-1": "node-1.kv",
	} {
		args := strings.Split(strings.ReplaceAll(line, "ADMIN", admin), " ")
		code, out, errs := shell(t, append([]string{"__completeNoDesc"}, args...)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if got := strings.Join(lines[:len(lines)-1], " "); code != exitOK || got != want {
			t.Errorf("%q: %d, %q, expected %q; %s", line, code, got, want, errs)
		}
	}
}

func (p *plane) ListApps(context.Context, *pb.ListAppsRequest) (*pb.ListAppsResponse, error) {
	return &pb.ListAppsResponse{Specs: []*pb.AppSpec{{Name: "kv"}}}, nil
}
