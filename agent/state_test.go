package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// All that a restart believes comes back from the file.
func TestStateComesBack(t *testing.T) {
	t.Parallel()
	dir, err := openStateDir(t.TempDir(), claims{cluster: "c", agent: "a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.close() })
	want := roster.Saved{Incarnation: 7, Session: "s", Create: 9, Ended: true, ProvenDead: true, ServeOn: true,
		Process: roster.Process{PID: 5, StartTicks: 6, ExitProves: true}, Highest: shard.Epoch{Generation: 2, Index: 8}}
	if err := dir.save("kv", want); err != nil {
		t.Fatal(err)
	}
	list, err := dir.load()
	if err != nil || len(list) != 1 || list[0].app != "kv" || list[0].rebooted {
		t.Fatalf("%+v, %v", list, err)
	}
	if diff := cmp.Diff(want, list[0].saved); diff != "" {
		t.Error(diff)
	}
}
