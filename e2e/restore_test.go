package e2e

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// verb runs a verb to its end.
func (f *fleet) verb(args ...string) (code int, out string) {
	f.t.Helper()
	text, err := exec.CommandContext(f.t.Context(), binary, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(text)
}

// must runs a verb that has to succeed.
func (f *fleet) must(args ...string) string {
	f.t.Helper()
	code, out := f.verb(args...)
	if code != 0 {
		f.t.Fatalf("%v: exit %d: %s", args, code, out)
	}
	return out
}

// asked adds the addresses of the allocators to a verb.
func (f *fleet) asked(args ...string) []string {
	return append(args, "--admin", strings.Join(f.admins, ","))
}

// create makes an app without servers.
func (f *fleet) create(app string) {
	f.t.Helper()
	file := filepath.Join(f.dir, app+".yaml")
	if err := os.WriteFile(file, []byte("name: "+app+"\nkey_space: {hash: {shards: 4}}\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.command("app", "create", "-f", file)
}

// appNames lists the apps by name.
func (f *fleet) appNames() (names []string) {
	lead := f.leading()
	if lead < 0 {
		return nil
	}
	answer, err := ask(f, lead, &pb.ListAppsRequest{}, shardmanagerv1connect.AdminServiceClient.ListApps)
	if err != nil {
		return nil
	}
	for _, spec := range answer.GetSpecs() {
		names = append(names, spec.GetName())
	}
	slices.Sort(names)
	return names
}

// vacated waits until a server that is drained has nothing, and everything has an owner.
func (f *fleet) vacated(server string) map[int]owner {
	f.t.Helper()
	f.command("drain", server, "--wait")
	var owners map[int]owner
	f.await(patience, "every shard to be elsewhere", func() bool {
		owners = f.owners()
		return len(owners) == fleetShards && !slices.ContainsFunc(slices.Collect(maps.Values(owners)), func(o owner) bool { return o.server == server })
	})
	return owners
}

// regained waits until every shard is served in a generation, by terms above earlier ones.
func (f *fleet) regained(generation uint64, before ...map[int]owner) {
	f.t.Helper()
	var owners map[int]owner
	f.await(time.Minute, "every shard to be served in the new generation", func() bool {
		owners = f.owners()
		for _, o := range owners {
			if shard.Term(o.term).Generation() != generation {
				return false
			}
		}
		return len(owners) == fleetShards
	})
	for _, earlier := range before {
		for at, was := range earlier {
			if owners[at].term <= was.term || owners[at].incarnation == was.incarnation {
				f.t.Errorf("shard %d was at %+v, and is at %+v", at, was, owners[at])
			}
		}
	}
}

// servedAgain waits until requests are answered again.
func (f *fleet) servedAgain() {
	f.t.Helper()
	begun, _, _ := f.lines.Now()
	f.await(time.Minute, "requests to be served again", func() bool {
		last, _, _ := f.lines.Now()
		return last.Requests-last.Failed > begun.Requests-begun.Failed+200
	})
}

// A copy is put back while the cluster has gone on: apps are as they were, every shard is served again at a higher term than ever, no write is lost that
// storage has, and no two servers ever serve one shard.
func TestASnapshotIsRestored(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	store := onCluster(cluster.Addresses())
	f := newFleet(t, "restored", "fast", size{allocators: 2, agents: 3}, store, "")
	f.create("before")
	file := filepath.Join(f.dir, "copy.snapshot")
	f.command("snapshot", "save", file)
	f.run("100", "--allocators", strings.Join(f.serve, ","))
	first := f.owners()
	f.create("after")
	f.command("app", "delete", "before")
	second := f.vacated("n0.kv")

	restore := append([]string{"snapshot", "restore", file, "--cluster", f.name, "--profile", "fast"}, store...)
	if code, out := f.verb(restore...); code != 1 || !strings.Contains(out, "holds the leader's lock: stop every allocator") || strings.Count(out, "\n") != 1 {
		t.Errorf("while somebody leads: exit %d: %s", code, out)
	}
	contents, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(f.dir, "damaged.snapshot")
	if err := os.WriteFile(damaged, contents[:len(contents)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	for says, args := range map[string][]string{
		"damaged":                  append([]string{"snapshot", "restore", damaged, "--cluster", f.name}, store...),
		"of cluster restored, not": append([]string{"snapshot", "restore", file, "--cluster", "other"}, store...),
		"no such file":             append([]string{"snapshot", "restore", file + "2", "--cluster", f.name}, store...),
		"expected FILE":            append([]string{"snapshot", "restore", "--cluster", f.name}, store...),
		"--cluster":                append([]string{"snapshot", "restore", file}, store...),
	} {
		if code, out := f.verb(args...); code != 2 || !strings.Contains(out, says) {
			t.Errorf("%v: exit %d, %q, expected %q", args, code, out, says)
		}
	}
	for _, u := range f.allocators {
		if err := u.Stop(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	out := f.must(restore...)
	if !strings.Contains(out, "generation 1 begins: 3 servers end") || !strings.Contains(out, "start the allocators now") {
		t.Errorf("it said %q", out)
	}
	for _, u := range f.allocators {
		f.start(u)
	}
	f.regained(1, first, second)
	if names := f.appNames(); !slices.Equal(names, []string{"before", "kv"}) {
		t.Errorf("apps %v", names)
	}
	f.servedAgain()
	f.rest()
	f.overlaps()
}

// Consul itself is taken back in time while everything runs: nobody leads as soon as an agent says what it obeyed, servers serve on, and an operator has
// the cluster go on in a new generation.
func TestConsulIsTakenBack(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	store := onCluster(cluster.Addresses())
	f := newFleet(t, "back", "fast", size{allocators: 2, agents: 3}, store, "")
	consul := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), consultest.Binary(t), append(args[:2:2], append([]string{"-http-addr=http://" + cluster.Addresses()[0]}, args[2:]...)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("consul %v: %v: %s", args, err, out)
		}
	}
	f.run("100", "--allocators", strings.Join(f.serve, ","))
	file := filepath.Join(f.dir, "consul.snapshot")
	consul("snapshot", "save", file)
	before := f.vacated("n0.kv")
	consul("snapshot", "restore", file)
	_, _ = f.verb(f.asked("undrain", "n0.kv")...) // whatever becomes of it: the leader finds that what it writes is not as it was
	var said string
	f.await(time.Minute, "allocators to say why nobody leads", func() bool {
		_, said = f.verb(f.asked("status")...)
		return strings.Contains(said, "the store went back in time")
	})
	if lead := f.leading(); lead >= 0 || !strings.Contains(said, "raise-generation") {
		t.Errorf("allocator %d leads, and status says %s", lead, said)
	}
	if code, out := f.verb(f.asked("drain", "n1.kv")...); code != 1 || !strings.Contains(out, "nobody may lead") {
		t.Errorf("drain: exit %d: %s", code, out)
	}
	f.servedAgain()
	out := f.must(append([]string{"snapshot", "raise-generation", "--cluster", f.name, "--profile", "fast"}, store...)...)
	if !strings.Contains(out, "generation 1 begins") {
		t.Errorf("it said %q", out)
	}
	f.regained(1, before)
	f.servedAgain()
	f.rest()
	f.overlaps()
}
