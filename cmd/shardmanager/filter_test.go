package main

import (
	"strings"
	"testing"
)

func TestFilters(t *testing.T) {
	admin := serve(t, &plane{leader: serve(t, &plane{})})
	for _, c := range []struct {
		command, filter string
		code            int
		want, not       string
	}{
		{"servers", `server.id == "node-1.kv"`, exitOK, "node-1.kv", ""},
		{"servers", `server.id != "node-1.kv"`, exitOK, "SERVER", "node-1.kv"},
		{"servers", "stat == 1", exitUsage, "shardmanager: --filter:1:1: undeclared reference to 'stat'", ""},
		{"servers", "shards", exitUsage, "expected a condition", ""},
		{"moves", "nonsense", exitUsage, "--filter:1:1", ""},
		{"map kv", "nonsense", exitUsage, "a row has address, primary, secondaries, shard, term", ""},
		{"apps", "nonsense", exitUsage, "--filter:1:1", ""},
		{"events", `decision.shard == "07"`, exitOK, "move opened", "leader begins"},
		{"events -o json", "leader.leads", exitOK, `"allocator":"allocator-1"`, "move opened"},
	} {
		code, out, errs := shell(t, append(strings.Fields(c.command), "--filter", c.filter, "--admin", admin)...)
		out = strings.ReplaceAll(out, `": "`, `":"`) // JSON of protobuf has a space at times
		if code != c.code || !strings.Contains(out+errs, c.want) || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%s --filter %q: exit %d, %q, %q; want exit %d, %q and no %q", c.command, c.filter, code, out, errs, c.code, c.want, c.not)
		}
	}
}
