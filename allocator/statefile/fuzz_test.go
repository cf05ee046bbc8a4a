package statefile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FuzzOpen: whatever is in the file, it is taken whole, refused by its name, or moved aside as it was; of a damaged one nothing is used.
func FuzzOpen(f *testing.F) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, record := range []*pb.AllocatorState{
		{}, {Cluster: "c1", Allocator: "a1", Session: "s", BootId: string(bytes.TrimSpace(boot))}, {Cluster: "c1", Allocator: "a1", Session: "s", BootId: "another"}, {Cluster: "c2"},
	} {
		good, err := wire.Encode(record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good)
		f.Add(good[:len(good)-1])
	}
	f.Fuzz(func(t *testing.T, contents []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "allocator.state")
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		record := new(pb.AllocatorState)
		damage := wire.Decode(contents, record)
		s, moved, err := Open(dir, "c1", "a1")
		if err != nil {
			if damage != nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("refused: %v (damage: %v)", err, damage)
			}
			return
		}
		defer func() { _ = s.Close() }()
		if damage == nil {
			if moved != "" || s.Old != "" && s.Old != coord.SessionID(record.GetSession()) {
				t.Fatalf("%v: moved to %q, session %q", record, moved, s.Old)
			}
			return
		}
		if kept, err := os.ReadFile(moved); err != nil || !bytes.Equal(kept, contents) || s.Old != "" {
			t.Fatalf("damaged: %q is in %s, and session %q is used (%v)", kept, moved, s.Old, err)
		}
	})
}
