package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/snapshot"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestSnapshot(t *testing.T) {
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	spec, err := wire.Encode(&pb.AppRecord{Spec: &pb.AppSpec{Name: "kv", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 12}}}, Replication: pb.Replication_REPLICATION_PRIMARY_ONLY}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: "shardmanager/c1/g/default/apps/kv/spec", Value: spec}}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	snapshot.Handle(mux, snapshot.Source{Store: store, Cluster: "c1", Group: "default", Name: "a1", Software: "v1"})
	admin, dir := serveHandler(t, mux), t.TempDir()
	file := filepath.Join(dir, "c1.snapshot")
	if code, out, errs := shell(t, "snapshot", "save", file, "--admin", "127.0.0.1:1,"+admin); code != exitOK || !strings.Contains(out, "good, SHA-256") {
		t.Fatalf("save: exit %d, %q, %q", code, out, errs)
	}
	code, out, errs := shell(t, "snapshot", "inspect", file)
	if want := []string{"c1", "by a1 v1", "1 keys", "kv   0        12      0"}; code != exitOK || !hasAll(out, want) {
		t.Errorf("inspect: exit %d, %q, %q, want %q", code, out, errs, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
	if code, _, errs := shell(t, "snapshot", "save", file, "--admin", "127.0.0.1:1"); code != exitFailure || !strings.Contains(errs, "cannot reach") {
		t.Errorf("save without an allocator: exit %d, %q", code, errs)
	}
	contents, err := os.ReadFile(file)
	if err != nil {
		t.Fatal("a save that failed took the old file away:", err)
	}
	if err := os.WriteFile(file, contents[:len(contents)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := shell(t, "snapshot", "inspect", file); code != exitFailure || !strings.Contains(errs, file+": snapshot: damaged") {
		t.Errorf("inspect what is damaged: exit %d, %q", code, errs)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func hasAll(text string, want []string) bool {
	for _, w := range want {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
