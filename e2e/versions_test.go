package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/process"
)

// former builds the program that promised the wire: that of the commit with proto/baseline.binpb, the version that others run while they upgrade to
// this one. It needs the repository's history.
func former(t *testing.T) string {
	t.Helper()
	git := func(args ...string) []byte {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", ".."}, args...)...).Output()
		if err != nil {
			t.Skipf("SKIPPED: the version before cannot be built without the repository's history: git %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	if string(bytes.TrimSpace(git("rev-parse", "--is-shallow-repository"))) != "false" {
		t.Skip("SKIPPED: a shallow clone has not got the version before")
	}
	commit := string(bytes.TrimSpace(git("log", "-1", "--format=%H", "--", "proto/baseline.binpb")))
	if commit == "" {
		t.Skip("SKIPPED: no commit in the repository's history promises a wire")
	}
	tree := t.TempDir()
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", tree)
	unpack.Stdin = bytes.NewReader(git("archive", commit))
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", commit, err, out)
	}
	t.Logf("the version before is %s", commit)
	return build(t, tree, formerVersion)
}

const formerVersion = "v0.0.1-former"

// A cluster of the version before is upgraded under load as docs/upgrade.md says: allocators, the leader last, then agents, then applications. At every
// stage shards move between whatever versions there are. And agents go back again. No request fails, nobody serves what another one does.
func TestTwoVersions(t *testing.T) {
	t.Parallel()
	before := former(t)
	f := newFleet(t, "versions", "default", size{allocators: 2, agents: 2, program: before}, []string{"--store-address", storeOf(t)}, "")
	f.run("100", "--allocators", strings.Join(f.serve, ","))
	versions := func() (list []string) {
		for i := range f.agents {
			list = append(list, f.status(i).GetVersion())
		}
		return list
	}
	if v := versions(); !slices.Equal(v, []string{formerVersion, formerVersion}) {
		t.Fatalf("agents of versions %v", v)
	}

	lead := f.leading()
	for _, i := range []int{1 - lead, lead} {
		f.replace(f.allocators[i])
		f.await(patience, "a leader with every server", func() bool { return f.attached() == 2 })
		f.emptied(0)
		f.emptied(1)
	}
	if now := f.leading(); now != 1-lead {
		t.Errorf("allocator %d leads, expected that which was upgraded first", now)
	}

	become := func(i int, program string) {
		run := f.status(i).GetRun()
		f.install(i, program)
		if out, err := exec.CommandContext(t.Context(), binary, "agent", "restart", "--socket", f.socket(i)).CombinedOutput(); err != nil {
			t.Fatalf("agent %d: %v\n%s", i, err, out)
		}
		f.restarted(i, run)
		f.await(patience, "every server to be attached", func() bool { return f.attached() == 2 })
	}
	become(0, binary)
	if v := versions(); v[0] == formerVersion || v[1] != formerVersion {
		t.Errorf("agents of versions %v, expected this one and the one before", v)
	}
	f.emptied(0)
	f.emptied(1)
	become(1, binary)
	for i, app := range f.apps {
		f.vacated(serverOf(i))
		f.replace(app)
		f.await(patience, "every server to be attached", func() bool { return f.attached() == 2 })
		f.undrained(i)
		f.emptied(1 - i)
	}

	become(0, before)
	f.emptied(1)
	if list := f.rest(); failed(list) > 0 {
		t.Errorf("%d of %d requests failed", failed(list), len(list))
	}
	f.overlaps()
}

// replace ends a process in order, and starts this version in its place.
func (f *fleet) replace(u *process.Unit) {
	f.t.Helper()
	if err := u.Stop(time.Minute); err != nil {
		f.t.Fatal(err)
	}
	u.Binary = binary
	f.start(u)
}

func (f *fleet) undrained(i int) { f.command("undrain", serverOf(i)) }

// emptied moves everything off a server, and lets it be given shards again.
func (f *fleet) emptied(i int) {
	f.t.Helper()
	f.vacated(serverOf(i))
	f.undrained(i)
}

func serverOf(i int) string { return fmt.Sprintf("n%d.kv", i) }
