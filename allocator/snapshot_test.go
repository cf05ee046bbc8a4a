package allocator

import (
	"bytes"
	"io"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/snapshot"
	"github.com/shardmanager/shardmanager/internal/operator"
)

// A snapshot is taken from an allocator that does not lead; where the first one named is gone, from the next.
func TestSnapshotOfWhatIsLive(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	c.createApp(n, "kv", 8)
	x := c.agent("x", "kv", 1, n)
	eventually(t, "x serves", func() bool { return placed(8, x) })
	standby := c.start("a2")
	client := &operator.Client{Addresses: []string{"127.0.0.1:1", standby.deps.AdminListener.Addr().String()}}
	var file bytes.Buffer
	begun := 0
	if err := client.Snapshot(t.Context(), func() (io.Writer, error) { begun++; file.Reset(); return &file, nil }); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	summary, err := s.Summary()
	if err != nil {
		t.Fatal(err)
	}
	if apps := summary.GetApps(); len(apps) != 1 || apps[0].GetShards() != 8 || apps[0].GetPrimaries() != 8 || apps[0].GetTerm() == 0 || summary.GetServers() != 1 ||
		summary.GetLeader() != "a1" || s.Header.GetAllocator() != "a2" || s.Header.GetCluster() != "c1" || begun != 2 {
		t.Errorf("begun %d times: %v", begun, summary)
	}
}
