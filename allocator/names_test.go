package allocator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/sdk"
)

// mail is an app that names its shards.
const mail = "mail"

func (c *testCluster) createNamed(n *node) {
	c.Helper()
	spec := &pb.AppSpec{Name: mail, KeySpace: wire.KeySpaceToProto(shard.KeySpace{Named: true}), Replication: pb.Replication_REPLICATION_PRIMARY_ONLY}
	if _, err := n.admin.CreateApp(c.Context(), &pb.CreateAppRequest{Spec: spec}); err != nil {
		c.Fatal(err)
	}
}

func (c *testCluster) createShards(n *node, ids ...string) {
	c.Helper()
	if _, err := n.admin.CreateShards(c.Context(), &pb.CreateShardsRequest{App: mail, Shards: ids}); err != nil {
		c.Fatal(err)
	}
}

func (c *testCluster) deleteShards(n *node, ids ...string) {
	c.Helper()
	if _, err := n.admin.DeleteShards(c.Context(), &pb.DeleteShardsRequest{App: mail, Shards: ids}); err != nil {
		c.Fatal(err)
	}
}

// router follows the app's map at the nodes.
func (c *testCluster) router(nodes ...*node) *sdk.Router {
	c.Helper()
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.deps.Listener.Addr().String())
	}
	r, err := sdk.NewRouter(mail, sdk.WithAgent(""), sdk.WithAllocators(addresses...), sdk.WithCluster("c1"))
	if err != nil {
		c.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	c.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			c.Errorf("router: %v", err)
		}
	})
	return r
}

// leads reports whether a Router leads to the one agent that serves a shard, at its term.
func leads(r *sdk.Router, id string, agents ...*testAgent) bool {
	route, ok := r.LookupString(id)
	return ok && route.Shard() == id && slices.ContainsFunc(agents, func(a *testAgent) bool {
		term, serves := a.serving()[id]
		return serves && string(a.server.ID) == route.Server() && term == route.Term()
	})
}

// wantMissing checks that a Router says that there is no shard of a name, long before the request's time is over.
func wantMissing(t *testing.T, r *sdk.Router, id string) {
	t.Helper()
	eventually(t, "the map has no "+id, func() bool {
		_, ok := r.LookupString(id)
		return !ok
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.Do(ctx, id, func(_ context.Context, route sdk.Route) error {
		return fmt.Errorf("led to %s", route.Server())
	})
	outcome, _ := sdk.OutcomeOf(err)
	if !errors.Is(err, sdk.ErrNoShard) || outcome != sdk.NotExecuted || !strings.Contains(err.Error(), id) || ctx.Err() != nil {
		t.Errorf("a request for %s: %v; expected %v", id, err, sdk.ErrNoShard)
	}
}

// Shards come and go while the app runs, and a Router knows.
func TestNamedShardsComeAndGo(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	c.createNamed(n)
	x, y := c.agent("x", mail, 1, n), c.agent("y", mail, 2, n)
	eventually(t, "both are attached", func() bool { return x.granted() > 0 && y.granted() > 0 })
	r := c.router(n)
	c.createShards(n, "inbox-1", "inbox-2", "inbox-3")
	for _, id := range []string{"inbox-1", "inbox-2", "inbox-3"} {
		eventually(t, id+" is served", func() bool { return leads(r, id, x, y) })
	}
	wantMissing(t, r, "inbox-4")
	waiting := make(chan error, 1)
	go func() { // it asks for a shard that is created meanwhile
		waiting <- r.Do(t.Context(), "inbox-4", func(context.Context, sdk.Route) error { return nil })
	}()
	c.createShards(n, "inbox-4")
	if err := <-waiting; err != nil {
		t.Errorf("a request for a shard that is being created: %v", err)
	}
	eventually(t, "inbox-4 is served", func() bool { return leads(r, "inbox-4", x, y) })
	c.deleteShards(n, "inbox-1", "inbox-3")
	for _, id := range []string{"inbox-1", "inbox-3"} {
		wantMissing(t, r, id)
		eventually(t, "nobody holds "+id, func() bool { return idle(id, x, y) })
	}
	for _, id := range []string{"inbox-2", "inbox-4"} {
		if !leads(r, id, x, y) {
			t.Errorf("%s is served no more", id)
		}
	}
}

// idle reports whether nobody holds a shard.
func idle(id string, agents ...*testAgent) bool {
	return !slices.ContainsFunc(agents, func(a *testAgent) bool { return a.phase(id) != pb.ShardPhase_SHARD_PHASE_NONE })
}

// What is wrong is refused by name, and changes nothing: not even what was right in the same wish.
func TestNamedShardsThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2")}
	n := c.leader(nodes...)
	follower := nodes[0]
	if follower == n {
		follower = nodes[1]
	}
	c.createNamed(n)
	c.createApp(n, "kv", 4)
	c.createShards(n, "a", "b")
	x := c.agent("x", mail, 1, nodes...)
	r := c.router(nodes...)
	for _, id := range []string{"a", "b"} {
		eventually(t, id+" is served", func() bool { return leads(r, id, x) })
	}
	before := x.serving()
	eventually(t, "the follower knows the leader", func() bool { return follower.Status().Leader != "" })

	const invalid, missing, exists = connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeAlreadyExists
	for _, test := range []struct {
		create, remove []string
		code           connect.Code
		reason         pb.ErrorReason
		mentions       string
	}{
		{[]string{"c", "a"}, nil, exists, pb.ErrorReason_ERROR_REASON_CONFLICT, `a shard "a"`},
		{[]string{"c", "d", "c"}, nil, invalid, pb.ErrorReason_ERROR_REASON_INVALID, `not "c" again`},
		{[]string{"c", ""}, nil, invalid, pb.ErrorReason_ERROR_REASON_INVALID, `not ""`},
		{[]string{"c", "-d"}, nil, invalid, pb.ErrorReason_ERROR_REASON_INVALID, `not "-d"`},
		{[]string{"c", "d/e"}, nil, invalid, pb.ErrorReason_ERROR_REASON_INVALID, `not "d/e"`},
		{[]string{"c", strings.Repeat("d", 129)}, nil, invalid, pb.ErrorReason_ERROR_REASON_INVALID, "1 to 128"},
		{[]string{"c", "d\n"}, nil, invalid, pb.ErrorReason_ERROR_REASON_INVALID, `not "d\n"`},
		{manyNames(8193), nil, invalid, pb.ErrorReason_ERROR_REASON_INVALID, "at most 8192"},
		{nil, []string{"a", "c"}, missing, pb.ErrorReason_ERROR_REASON_INVALID, `"c"`},
		{nil, []string{"a", "a"}, invalid, pb.ErrorReason_ERROR_REASON_INVALID, `not "a" again`},
		{nil, []string{"a", ""}, missing, pb.ErrorReason_ERROR_REASON_INVALID, `""`},
	} {
		var err error
		if test.remove == nil {
			_, err = n.admin.CreateShards(t.Context(), &pb.CreateShardsRequest{App: mail, Shards: test.create})
		} else {
			_, err = n.admin.DeleteShards(t.Context(), &pb.DeleteShardsRequest{App: mail, Shards: test.remove})
		}
		wantDetail(t, err, test.code, test.reason, "shard", test.mentions)
	}
	for app, want := range map[string]connect.Code{"kv": invalid, "nope": missing} {
		_, err := n.admin.CreateShards(t.Context(), &pb.CreateShardsRequest{App: app, Shards: []string{"c"}})
		wantDetail(t, err, want, pb.ErrorReason_ERROR_REASON_INVALID, app)
		_, err = n.admin.DeleteShards(t.Context(), &pb.DeleteShardsRequest{App: app, Shards: []string{"1"}})
		wantDetail(t, err, want, pb.ErrorReason_ERROR_REASON_INVALID, app)
	}
	_, err := follower.admin.CreateShards(t.Context(), &pb.CreateShardsRequest{App: mail, Shards: []string{"c"}})
	wantDetail(t, err, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, n.adminAddress)

	if now := x.serving(); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("it serves %v, before %v", now, before)
	}
	if m := mapOf(n, mail); m.Space.Shards != 2 {
		t.Errorf("the map has room for %d shards, expected 2", m.Space.Shards)
	}
}

func manyNames(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint("n", i)
	}
	return list
}

// A shard is deleted in the middle of its move, whoever is waited for: everybody drops it, the move is over, and it is quiet then.
func TestNamedShardDeletedWhileItMoves(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		hangs  pb.CommandKind
		source bool // hangs, not the target
		step   pb.MoveStep
	}{
		{"loading", pb.CommandKind_COMMAND_KIND_PREPARE_ADD_SHARD, false, pb.MoveStep_MOVE_STEP_PREPARE_ADD},
		{"handing over", pb.CommandKind_COMMAND_KIND_PREPARE_DROP_SHARD, true, pb.MoveStep_MOVE_STEP_PREPARE_DROP},
		{"taking over", pb.CommandKind_COMMAND_KIND_ADD_SHARD, false, pb.MoveStep_MOVE_STEP_ADD},
		{"dropping", pb.CommandKind_COMMAND_KIND_DROP_SHARD, true, pb.MoveStep_MOVE_STEP_DROP},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newTestCluster(t)
			n := c.start("a1")
			c.leader(n)
			c.createNamed(n)
			x := c.agent("x", mail, 1, n)
			r := c.router(n)
			c.createShards(n, "inbox")
			eventually(t, "it is served", func() bool { return leads(r, "inbox", x) })
			y := c.agent("y", mail, 2, n)
			hung := y
			if test.source {
				hung = x
			}
			hung.hang(test.hangs)
			eventually(t, "y is attached", func() bool { return y.granted() > 0 })
			if _, err := n.admin.DrainServer(t.Context(), &pb.DrainServerRequest{Server: "x." + mail}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the move waits", func() bool { return c.moves(n, "inbox") == test.step })
			c.deleteShards(n, "inbox")
			wantMissing(t, r, "inbox")
			if test.hangs == pb.CommandKind_COMMAND_KIND_DROP_SHARD {
				_, again := n.admin.CreateShards(t.Context(), &pb.CreateShardsRequest{App: mail, Shards: []string{"inbox"}})
				wantDetail(t, again, connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_STORE, "being deleted")
			}
			hung.hang(0)
			eventually(t, "nobody holds it", func() bool { return idle("inbox", x, y) })
			eventually(t, "the deletion is over", func() bool { return c.decided(n, "inbox", "shard deleted") == 1 })
			eventually(t, "its move is over", func() bool { return c.moves(n, "inbox") == 0 })
			quiet(t, "inbox", x, y)
			c.createShards(n, "inbox")
			eventually(t, "it is served again", func() bool { return leads(r, "inbox", y) })
		})
	}
}

// moves is the step of a shard's open move; 0: it has none.
func (c *testCluster) moves(n *node, id string) pb.MoveStep {
	c.Helper()
	list, err := n.admin.ListMoves(c.Context(), &pb.ListMovesRequest{App: mail})
	if err != nil {
		c.Fatal(err)
	}
	for _, m := range list.Open {
		if m.Shard == id {
			return m.Step
		}
	}
	return 0
}

// decided counts decisions of a leader about a shard.
func (c *testCluster) decided(n *node, id, what string) int {
	c.Helper()
	_, list, err := readEvents(c.Context(), n, nil, nil)
	if err != nil {
		c.Fatal(err)
	}
	count := 0
	for _, e := range list {
		if d := e.GetDecision(); d.GetShard() == id && d.GetWhat() == what {
			count++
		}
	}
	return count
}

// quiet checks that nobody is told anything of a shard for a while, as the agents' renewals count it.
func quiet(t *testing.T, id string, agents ...*testAgent) {
	t.Helper()
	var told []int
	for _, a := range agents {
		told = append(told, a.commands(id))
	}
	for i, a := range agents {
		granted := a.granted()
		eventually(t, "renewals", func() bool { return a.granted() > granted+5 })
		if now := a.commands(id); now != told[i] {
			t.Errorf("%s was told %d times more what to do with %s", a.server.ID, now-told[i], id)
		}
	}
}

// What was created and deleted stays so under the next leader, who ends what the last one began.
func TestNamedShardsOverAChangeOfLeaders(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2")}
	first := c.leader(nodes...)
	c.createNamed(first)
	x := c.agent("x", mail, 1, nodes...)
	r := c.router(nodes...)
	c.createShards(first, "kept", "gone", "going")
	for _, id := range []string{"kept", "gone", "going"} {
		eventually(t, id+" is served", func() bool { return leads(r, id, x) })
	}
	before := x.serving()
	c.deleteShards(first, "gone")
	eventually(t, "gone is dropped", func() bool { return c.decided(first, "gone", "shard deleted") == 1 })
	x.hang(pb.CommandKind_COMMAND_KIND_DROP_SHARD)
	c.deleteShards(first, "going")
	eventually(t, "x is told", func() bool { return x.commands("going") > 1 })

	old, told := first.leading.Load(), x.commands("going")
	c.unseat()
	<-old.Ended()
	next := c.leader(nodes...)
	eventually(t, "granted by the new leader", func() bool { return x.attachedTo() == next.address })
	wantMissing(t, r, "gone")
	wantMissing(t, r, "going")
	eventually(t, "the new leader tells x, too", func() bool { return x.commands("going") > told })
	x.hang(0)
	eventually(t, "the deletion is over", func() bool { return idle("going", x) && c.decided(next, "going", "shard deleted") == 1 })
	quiet(t, "going", x)
	if !leads(r, "kept", x) || x.serving()["kept"] != before["kept"] {
		t.Errorf("it serves %v, before %v", x.serving(), before)
	}
	c.createShards(next, "going", "gone")
	for _, id := range []string{"gone", "going"} {
		eventually(t, id+" is served again", func() bool { return leads(r, id, x) })
		if now := x.serving()[id]; now <= before[id] {
			t.Errorf("%s: term %d after %d", id, now, before[id])
		}
	}
}
