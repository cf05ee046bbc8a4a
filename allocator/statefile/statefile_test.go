package statefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestStateRemembersTheSession(t *testing.T) {
	dir := t.TempDir()
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	session, err := store.CreateSession(t.Context(), coord.SessionSpec{Name: "a1", TTL: 10 * time.Second, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	first := mustOpenState(t, dir)
	if err := first.Remember(session); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, "c1", "a1"); err == nil || !strings.Contains(err.Error(), "in use by another") {
		t.Fatalf("second opening: %v, expected a refusal while the first lives", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := mustOpenState(t, dir)
	if err := second.EndOld(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if alive, err := store.RenewSession(t.Context(), session); err != nil || alive {
		t.Errorf("the old session lives: %t, %v", alive, err)
	}
	if second.Old != "" {
		t.Error("would destroy it again")
	}
}

func mustOpenState(t *testing.T, dir string) *File {
	t.Helper()
	s, moved, err := Open(dir, "c1", "a1")
	if err != nil || moved != "" {
		t.Fatal(moved, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// A file of another boot may come from a machine that still lives: its session is left to end by itself.
func TestStateOfAnotherBoot(t *testing.T) {
	dir := t.TempDir()
	record := &pb.AllocatorState{Cluster: "c1", Allocator: "a1", Session: "s", BootId: "another"}
	if err := wire.WriteFile(filepath.Join(dir, "allocator.state"), record); err != nil {
		t.Fatal(err)
	}
	if s := mustOpenState(t, dir); s.Old != "" {
		t.Errorf("would destroy session %s", s.Old)
	}
}

func TestStateOfAnother(t *testing.T) {
	for name, record := range map[string]*pb.AllocatorState{
		"cluster":   {Cluster: "c2", Allocator: "a1", Session: "s"},
		"allocator": {Cluster: "c1", Allocator: "a2", Session: "s"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := wire.WriteFile(filepath.Join(dir, "allocator.state"), record); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Open(dir, "c1", "a1"); err == nil || !strings.Contains(err.Error(), "belongs to") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestCorruptStateIsMovedAside(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "allocator.state"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, moved, err := Open(dir, "c1", "a1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if kept, err := os.ReadFile(moved); err != nil || string(kept) != "rubbish" {
		t.Errorf("moved to %q: %q, %v", moved, kept, err)
	}
}
