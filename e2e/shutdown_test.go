package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/logind/logindtest"
)

// A host goes down by systemd-logind: it waits until the agent has drained, and no request fails. What does not happen after all, or ends, is taken
// back. An agent that is replaced goes on delaying.
func TestShutdownWaitsForTheDrain(t *testing.T) {
	t.Parallel()
	bus := logindtest.Start(t, 30*time.Second)
	f := newFleet(t, "shutdown", "default", size{allocators: 1, agents: 2}, []string{"--store-address", storeOf(t)}, "")
	f.install(0, script(t, "exec env DBUS_SYSTEM_BUS_ADDRESS="+bus.Address+" "+binary+` "$@"`))
	f.kill(f.agents[0])
	f.start(f.agents[0])
	f.await(patience, "the agent to be back", func() bool { return f.attached() == 2 })
	f.run("100", "--allocators", strings.Join(f.serve, ","))

	delaying := func() (list []*logindtest.Delay) {
		for _, d := range bus.Delays() {
			select {
			case <-d.Ended:
			default:
				list = append(list, d)
			}
		}
		return list
	}
	var lock *logindtest.Delay // the latest; the bus may be slow to see that the one before has ended
	one := func(what string) {
		t.Helper()
		before := lock
		f.await(patience, what+": a shutdown to be delayed", func() bool {
			list := delaying()
			if len(list) != 1 || list[0] == before {
				return false
			}
			lock = list[0]
			return true
		})
		if d := lock; d.What != "shutdown:sleep" || d.Mode != "delay" || d.Who != "shardmanager agent n0" {
			t.Errorf("%s: it delays %+v", what, d)
		}
	}
	one("at first")
	run := f.status(0).GetRun()
	if _, err := f.agents[0].Signal(syscall.SIGUSR2, false); err != nil {
		t.Fatal(err)
	}
	if problem := f.restarted(0, run).GetRestartProblem(); problem != "" {
		t.Error(problem)
	}
	f.await(patience, "the new agent, after its trial, to delay shutdowns", func() bool { // on trial it has a lock, too
		text, err := os.ReadFile(filepath.Join(f.dir, "n0.log"))
		at := bytes.LastIndex(text, []byte("takes over"))
		return err == nil && at >= 0 && bytes.Contains(text[at:], []byte("waits for the drain"))
	})
	one("after an upgrade")

	for _, signal := range []string{"PrepareForSleep", "PrepareForShutdown"} {
		bus.Say(signal, true)
		select {
		case <-lock.Ended:
		case <-time.After(patience):
			t.Fatal(signal + ": the host waits for ever")
		}
		for i, at := range f.owners() {
			if at.server != "n1.kv" {
				t.Errorf("%s: the host goes down while %s serves shard %d", signal, at.server, i)
			}
		}
		if signal == "PrepareForSleep" {
			bus.Say(signal, false)
			one("after a sleep")
			f.await(patience, "the drain to be taken back", func() bool { return !f.status(0).GetServers()[0].GetDraining() })
		}
	}
	begun := time.Now()
	if err := f.agents[0].Stop(time.Minute); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("drained as it was, it took %v to stop", took)
	}
	if list := f.rest(); failed(list) > 0 {
		t.Errorf("%d of %d requests failed", failed(list), len(list))
	}
	if text, err := os.ReadFile(filepath.Join(f.dir, "n0.log")); err != nil || strings.Contains(string(text), "drain not finished") {
		t.Errorf("not drained: %v\n%s", err, text)
	}
	f.overlaps()
}
