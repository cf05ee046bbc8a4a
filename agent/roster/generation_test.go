package roster_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// A generation that was obeyed is in the file at once, is said to every later leader, also after agent and application began anew, and nothing of an earlier
// one is obeyed any more (R14).
func TestTheGenerationOutlivesAgentAndApplication(t *testing.T) {
	t.Parallel()
	w := registered(t, 0xa1)
	saved := func() (files []roster.Saved) {
		for _, op := range w.out.Store {
			switch op := op.(type) {
			case roster.Save:
				files = append(files, op.Saved)
			case roster.RegisterKey:
				files = append(files, roster.Saved{Incarnation: op.Server.Incarnation, Highest: op.Highest})
			case roster.DestroySession, roster.ReadKey, roster.RenewSession:
			}
		}
		return files
	}
	w.out.Reset()
	w.step(roster.Attached{Stream: 1, Incarnation: 0xa1, Epoch: shard.Epoch{Index: 9}, Interval: settings().Interval, Validity: settings().Validity})
	if files := saved(); len(files) > 0 {
		t.Fatalf("every leader costs a write of the file: %+v", files)
	}
	raised := shard.Epoch{Generation: 3, Index: 2}
	w.step(roster.Attached{Stream: 2, Incarnation: 0xa1, Epoch: raised, Interval: settings().Interval, Validity: settings().Validity})
	files := saved()
	if len(files) != 1 || files[0].Highest != raised || files[0].Incarnation != 0xa1 {
		t.Fatalf("saved %+v", files)
	}

	w = newWorld(t)
	w.step(roster.Started{Saved: files[0]}) // the application died meanwhile
	w.step(roster.Attached{Stream: 3, Incarnation: 0xa1, Epoch: shard.Epoch{Generation: 2, Index: 100}, Interval: settings().Interval, Validity: settings().Validity})
	if hello, ok := w.r.Hello(); !ok || hello.Highest != raised {
		t.Errorf("says %+v, %t after the restart", hello, ok)
	}
}
