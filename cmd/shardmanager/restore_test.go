package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/snapshot"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// What was saved comes back on the embedded store, through its process, by the settings of an allocator's file; what is wrong is one line, and its exit code.
func TestSnapshotRestore(t *testing.T) {
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	put := func(key string, record *pb.DrainRecord) {
		t.Helper()
		value, err := wire.Encode(record)
		if err == nil {
			_, err = store.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: key, Value: value}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle(embedded.NewHandler(store))
	snapshot.Handle(mux, snapshot.Source{Store: store, Cluster: "c1", Group: "default", Name: "a1", Software: "v1"})
	address, dir := serveHandler(t, mux), t.TempDir()
	file, settings := filepath.Join(dir, "c1.snapshot"), filepath.Join(dir, "allocator.yaml")
	drain := "shardmanager/c1/g/default/drains/x.kv"
	put(drain, &pb.DrainRecord{Server: "x.kv"})
	if code, out, errs := shell(t, "snapshot", "save", file, "--admin", address); code != exitOK {
		t.Fatalf("save: exit %d, %q, %q", code, out, errs)
	}
	yaml := "cluster: c1\nname: a1\nstate_dir: /nowhere\nlog_level: warn\ngossip_join: [a:1]\nstore_address: " + address + "\nlease: {interval: 20ms, validity: 40ms}\nleader_validity: 40ms\n"
	if err := os.WriteFile(settings, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Txn(t.Context(), []coord.Op{{Verb: coord.Delete, Key: drain}}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	code, out, errs := shell(t, "snapshot", "restore", file, "--config", settings)
	if want := []string{"generation 1 begins: 0 servers end", "done: generation 1, 1 keys written, 0 deleted; start the allocators"}; code != exitOK || !hasAll(out, want) {
		t.Fatalf("restore: exit %d, %q, %q, want %q", code, out, errs, want)
	}
	if time.Since(began) < 80*time.Millisecond {
		t.Error("it did not wait")
	}
	if _, found, err := store.Get(t.Context(), drain); err != nil || !found {
		t.Errorf("not restored: %v", err)
	}
	if code, out, errs := shell(t, "snapshot", "raise-generation", "--config", settings, "--above", "6", "-o", "json", "--yes"); code != exitOK || strings.Count(out, `"generation":"7"`)+strings.Count(out, `"generation": "7"`) != 2 {
		t.Errorf("raise: exit %d, %q, %q", code, out, errs)
	}
	session, err := store.CreateSession(t.Context(), coord.SessionSpec{Name: "a2", TTL: time.Minute, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	value, err := wire.Encode(&pb.LeaderRecord{Allocator: "a2", Address: "host:7410"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Txn(t.Context(), []coord.Op{{Verb: coord.Lock, Key: "shardmanager/c1/g/default/leader", Value: value, Session: session}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailure, "a2 at host:7410 holds the leader's lock: stop every allocator", []string{"restore", file, "--config", settings}},
		{exitFailure, "a2 at host:7410 holds the leader's lock", []string{"raise-generation", "--config", settings}},
		{exitFailure, "store unavailable", []string{"restore", file, "--cluster", "c1", "--store-address", "127.0.0.1:1"}},
		{exitUsage, "it is of cluster c1, not of c2", []string{"restore", file, "--config", settings, "--cluster", "c2"}},
		{exitUsage, "cluster: expected", []string{"restore", file}},
		{exitUsage, "no such file", []string{"restore", file + "2", "--config", settings}},
		{exitUsage, "not a snapshot", []string{"restore", settings, "--config", settings}},
		{exitUsage, "is a directory", []string{"restore", dir, "--config", settings}},
		{exitUsage, "--above", []string{"restore", file, "--config", settings, "--above", "-1"}},
		{exitUsage, "expected FILE", []string{"restore", "--config", settings}},
		{exitUsage, "lease_validity", []string{"restore", file, "--config", settings, "--lease-validity", "1ms"}},
	} {
		code, out, errs := shell(t, append([]string{"snapshot"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 1 || out != "" {
			t.Errorf("%q: exit %d, %q, %q; expected %d and %q", c.args, code, out, errs, c.code, c.says)
		}
	}
}
