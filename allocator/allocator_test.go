package allocator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// An app is created, placed on the agents that attach, and the map is the same everywhere.
func TestPlaceAndServeMaps(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2")}
	leader := c.leader(nodes...)
	if spec := c.createApp(leader, "kv", 16); spec.ResourceVersion == 0 {
		t.Error("no resource version")
	}
	agents := []*testAgent{c.agent("x", "kv", 1, nodes...), c.agent("y", "kv", 2, nodes...)}
	eventually(t, "16 shards served", func() bool { return placed(16, agents...) && agents[0].granted() > 2 && agents[1].granted() > 2 })
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" has the map", func() bool { return mapShows(mapOf(n, "kv"), agents...) == nil })
	}
	var status *pb.GetStatusResponse
	var err error
	eventually(t, "every shard acknowledged", func() bool { // agents serve before the leader has heard of it
		status, err = leader.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		return err != nil || status.Unplaced == 0
	})
	if err != nil || !status.Leading || status.Leader != leader.cfg.Name || status.StoreError != "" || status.Version != "test" {
		t.Errorf("status %v, %v", status, err)
	}
	servers, err := leader.admin.ListServers(t.Context(), &pb.ListServersRequest{App: "kv"})
	if err != nil || len(servers.Servers) != 2 {
		t.Fatalf("servers %v, %v", servers, err)
	}
	for i, s := range servers.Servers {
		if s.State != pb.ServerState_SERVER_STATE_ATTACHED || int(s.Shards) != len(agents[i].serving()) || s.LastRenewalMs < 0 {
			t.Errorf("server %v", s)
		}
	}
}

// The leader is unseated, then another stops in order: the agents follow, no shard moves, and versions only grow.
func TestLeaderFailover(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2"), c.start("a3")}
	leader := c.leader(nodes...)
	c.createApp(leader, "kv", 12)
	agents := []*testAgent{c.agent("x", "kv", 1, nodes...), c.agent("y", "kv", 2, nodes...)}
	eventually(t, "12 shards served", func() bool { return placed(12, agents...) })
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" has the map", func() bool { return mapShows(mapOf(n, "kv"), agents...) == nil })
	}
	before := []map[string]uint64{agents[0].serving(), agents[1].serving()}

	end := func(*node) { c.unseat() }
	for range 2 {
		old, version := leader.leading.Load(), mapOf(leader, "kv").Version
		end(leader)
		<-old.Ended()
		alive := slices.DeleteFunc(slices.Clone(nodes), (*node).stopped)
		leader = c.leader(alive...)
		for _, a := range agents {
			granted := a.granted()
			eventually(t, "granted by the new leader", func() bool { return a.attachedTo() == leader.address && a.granted() > granted })
		}
		for _, n := range alive {
			eventually(t, n.cfg.Name+" has the new leader's map", func() bool {
				m := mapOf(n, "kv")
				return m.Version.Epoch.Compare(version.Epoch) > 0 && mapShows(m, agents...) == nil
			})
		}
		end = func(n *node) { n.halt(t) }
	}
	for i, a := range agents {
		for id, term := range before[i] {
			if a.serving()[id] != term {
				t.Errorf("shard %s of %s: term %d, before %d", id, a.server.ID, a.serving()[id], term)
			}
		}
	}
}

func (n *node) stopped() bool { return len(n.ended) > 0 }

// A server that vanished is fenced, durably, and its shards go to the other at higher terms.
func TestServerLost(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	c.createApp(n, "kv", 8)
	x, y := c.agent("x", "kv", 1, n), c.agent("y", "kv", 2, n)
	eventually(t, "8 shards served", func() bool { return placed(8, x, y) && len(x.serving()) == 4 })
	lost := x.serving()
	x.die()
	eventually(t, "all shards at the other", func() bool { return len(y.serving()) == 8 })
	for id, term := range lost {
		if y.serving()[id] <= term {
			t.Errorf("shard %s: term %d after %d", id, y.serving()[id], term)
		}
	}
	eventually(t, "map follows", func() bool { return mapShows(mapOf(n, "kv"), y) == nil })
	if _, found, err := c.store.Get(t.Context(), "shardmanager/c1/g/default/fences/x.kv"); err != nil || !found {
		t.Errorf("fence found %t, %v", found, err)
	}
	if _, found, err := c.store.Get(t.Context(), "shardmanager/c1/servers/x.kv"); err != nil || found {
		t.Errorf("server's key found %t, %v", found, err)
	}
	eventually(t, "the fenced session is destroyed", func() bool {
		alive, err := c.store.RenewSession(t.Context(), x.session)
		return err == nil && !alive
	})
	// The same incarnation never comes back (R2).
	_, err := c.attachOnce(n, x.hello())
	wantDetail(t, err, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_FENCED)
}

// attachOnce opens a stream with one first message and returns the first answer.
func (c *testCluster) attachOnce(n *node, first *pb.AttachRequest) (*pb.AttachResponse, error) {
	c.Helper()
	endpoint, err := transport.Dial(n.deps.Listener.Addr().String())
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(endpoint.Close)
	stream, err := shardmanagerv1connect.NewAllocatorServiceClient(endpoint.Client, endpoint.URL).Attach(c.Context())
	if err != nil {
		return nil, err
	}
	if err := stream.Send(first); err != nil {
		c.Fatal(err)
	}
	m, err := stream.Receive()
	if m.GetFenced() != nil {
		_, err = stream.Receive()
	}
	return m, err
}

func TestHelloIsChecked(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2")}
	leader := c.leader(nodes...)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	a := c.registered("x", "kv", 1)
	with := func(change func(*pb.Hello)) *pb.AttachRequest {
		m := a.hello()
		change(m.GetHello())
		return m
	}
	_, err := c.attachOnce(leader, with(func(h *pb.Hello) { h.Cluster = "c2" }))
	wantDetail(t, err, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_WRONG_CLUSTER, `"c1"`, `"c2"`)
	_, err = c.attachOnce(leader, with(func(h *pb.Hello) { h.ProtocolVersion = 7 }))
	wantDetail(t, err, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_WRONG_PROTOCOL, "1", "7")
	_, err = c.attachOnce(leader, with(func(h *pb.Hello) { h.Server.Incarnation = 0 }))
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "server.incarnation")
	_, err = c.attachOnce(leader, with(func(h *pb.Hello) { h.Server.Id = "y.kv" }))
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "server.id")
	_, err = c.attachOnce(leader, &pb.AttachRequest{Message: &pb.AttachRequest_Renew{Renew: &pb.Renew{Sequence: 1}}})
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "hello")
	_, err = c.attachOnce(leader, with(func(h *pb.Hello) { h.Server.Incarnation = 99 }))
	wantDetail(t, err, connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_DUPLICATE_SERVER)

	eventually(t, "the follower knows the leader", func() bool { return follower.Status().Leader != "" })
	_, err = c.attachOnce(follower, a.hello())
	wantDetail(t, err, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, leader.cfg.Name)
	if detail, _ := wire.DetailOf(err); detail.GetHint() != leader.address {
		t.Errorf("hint %q, expected %q", detail.GetHint(), leader.address)
	}
	if m, err := c.attachOnce(leader, a.hello()); err != nil || m.GetWelcome() == nil {
		t.Errorf("good hello: %v, %v", m, err)
	}
}

// The newest stream of an incarnation closes the older one.
func TestNewestStreamWins(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	first := c.agent("x", "kv", 1, n)
	eventually(t, "attached", func() bool { return first.granted() > 0 })
	second := &testAgent{T: t, cluster: c, server: first.server, held: map[string]*pb.HeldShard{}, told: map[string]int{}, gone: make(chan struct{})}
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	go func() {
		defer close(second.gone)
		_ = second.attach(ctx, n.address)
	}()
	eventually(t, "the older stream is closed", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return len(first.ends) > 0 && connect.CodeOf(first.ends[0]) == connect.CodeAborted
	})
	first.die()
	kill()
	<-second.gone
}

// When a leader steps down, its streams say where to go.
func TestStreamsEndWithTheLeadership(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	a := c.agent("x", "kv", 1, n)
	eventually(t, "attached", func() bool { return a.granted() > 0 })
	c.unseat()
	eventually(t, "told so", func() bool {
		reasons := a.reasons()
		return len(reasons) > 0 && reasons[0] == pb.ErrorReason_ERROR_REASON_NOT_LEADER
	})
	granted := a.granted()
	eventually(t, "granted again", func() bool { return a.granted() > granted })
}

// Operators' wishes: what is wrong is refused by name, what is right is done.
func TestAdministration(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2")}
	n := c.leader(nodes...)
	follower := nodes[0]
	if follower == n {
		follower = nodes[1]
	}
	eventually(t, "the follower knows the leader", func() bool { return follower.Status().Leader != "" })
	ctx := t.Context()
	spec := c.createApp(n, "kv", 8)

	_, err := n.admin.CreateApp(ctx, &pb.CreateAppRequest{Spec: appSpec("kv", 8)})
	wantDetail(t, err, connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_CONFLICT)
	_, err = n.admin.CreateApp(ctx, &pb.CreateAppRequest{Spec: appSpec("Not A Name", 8)})
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "name")
	_, err = n.admin.CreateApp(ctx, &pb.CreateAppRequest{Spec: appSpec("zero", 0)})
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "shards")
	_, err = n.admin.CreateApp(ctx, &pb.CreateAppRequest{Spec: &pb.AppSpec{Name: "r", KeySpace: &pb.KeySpace{}}})
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "key_space", "hash or named")
	_, err = n.admin.CreateApp(ctx, new(pb.CreateAppRequest))
	wantDetail(t, err, connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "spec")
	_, err = n.admin.GetApp(ctx, &pb.GetAppRequest{Name: "nope"})
	wantDetail(t, err, connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "nope")
	_, err = n.admin.GetShardMap(ctx, &pb.AdminServiceGetShardMapRequest{App: "nope"})
	wantDetail(t, err, connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "nope")
	_, err = n.admin.DrainServer(ctx, &pb.DrainServerRequest{Server: "nope.kv"})
	wantDetail(t, err, connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID)
	_, err = follower.admin.ListApps(ctx, new(pb.ListAppsRequest))
	wantDetail(t, err, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, n.adminAddress)
	_, err = follower.admin.CreateApp(ctx, &pb.CreateAppRequest{Spec: appSpec("b", 8)})
	wantDetail(t, err, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, n.adminAddress)
	if status, err := follower.admin.GetStatus(ctx, new(pb.GetStatusRequest)); err != nil || status.Leading || status.LeaderAddress != n.address || status.Goroutines == 0 {
		t.Errorf("the follower's status: %v, %v", status, err)
	}

	changed := appSpec("kv", 8)
	changed.ResourceVersion, changed.Labels = spec.ResourceVersion+1, map[string]string{"team": "x"}
	_, err = n.admin.UpdateApp(ctx, &pb.UpdateAppRequest{Spec: changed})
	wantDetail(t, err, connect.CodeAborted, pb.ErrorReason_ERROR_REASON_CONFLICT)
	changed.ResourceVersion = spec.ResourceVersion
	updated, err := n.admin.UpdateApp(ctx, &pb.UpdateAppRequest{Spec: changed})
	if err != nil || updated.Spec.Labels["team"] != "x" || updated.Spec.ResourceVersion == spec.ResourceVersion {
		t.Fatalf("update: %v, %v", updated, err)
	}
	eventually(t, "the change is seen", func() bool {
		got, err := n.admin.GetApp(ctx, &pb.GetAppRequest{Name: "kv"})
		return err == nil && got.Spec.Labels["team"] == "x"
	})
	eventually(t, "the follower has the app's map", func() bool { return mapOf(follower, "kv") != nil })
	if _, err := n.admin.DeleteApp(ctx, &pb.DeleteAppRequest{Name: "kv", ResourceVersion: updated.Spec.ResourceVersion}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody has the app's map", func() bool { return mapOf(n, "kv") == nil && mapOf(follower, "kv") == nil })
}

func TestDrain(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	c.createApp(n, "kv", 8)
	x, y := c.agent("x", "kv", 1, n), c.agent("y", "kv", 2, n)
	eventually(t, "8 shards served", func() bool { return placed(8, x, y) && len(x.serving()) == 4 })
	if _, err := n.admin.DrainServer(t.Context(), &pb.DrainServerRequest{Server: "x.kv"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "drained", func() bool { return len(x.serving()) == 0 && len(y.serving()) == 8 })
	eventually(t, "map follows", func() bool { return mapShows(mapOf(n, "kv"), y) == nil })
	eventually(t, "moves are over", func() bool {
		moves, err := n.admin.ListMoves(t.Context(), &pb.ListMovesRequest{App: "kv"})
		return err == nil && len(moves.Open) == 0 && len(moves.Finished) >= 4 && moves.Finished[0].To == "y.kv"
	})
}

// Unary calls work without any client of ours.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	post := func(address, path, body string) (int, map[string]any) {
		t.Helper()
		answer, err := http.Post("http://"+address+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&out); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return answer.StatusCode, out
	}
	const admin = "/shardmanager.v1.AdminService/"
	if code, out := post(n.adminAddress, admin+"CreateApp", `{"spec":{"name":"kv","keySpace":{"hash":{"shards":4}}}}`); code != http.StatusOK {
		t.Errorf("create: %d %v", code, out)
	}
	for path, body := range map[string]string{
		"CreateApp": `{"spec":{"name":"kv2","keySpace":{"hash":{"shards":4}},"placment":{}}}`, "ListApps": `{"placment":1}`,
	} {
		if code, out := post(n.adminAddress, admin+path, body); code != http.StatusBadRequest || !strings.Contains(fmt.Sprint(out["message"]), "placment") {
			t.Errorf("%s with an unknown field: %d %v", path, code, out)
		}
	}
	eventually(t, "listed", func() bool {
		_, out := post(n.adminAddress, admin+"ListApps", `{}`)
		specs, _ := out["specs"].([]any)
		return len(specs) == 1
	})
	for _, address := range []string{n.address, n.adminAddress} {
		if code, out := post(address, "/grpc.health.v1.Health/Check", `{}`); code != http.StatusOK || out["status"] != "SERVING_STATUS_SERVING" {
			t.Errorf("health: %d %v", code, out)
		}
		eventually(t, "the map is served", func() bool {
			code, _ := post(address, "/shardmanager.v1.ShardMapService/GetShardMap", `{"app":"kv"}`)
			return code == http.StatusOK
		})
	}
	if code, _ := post(n.address, "/grpc.health.v1.Health/Check", `{"service":"nope"}`); code != http.StatusNotFound {
		t.Errorf("health of an unknown service: %d", code)
	}
}

// A store that cannot be used is said to be so; a leader keeps its wishes and goes on when the store comes back.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	g := &gate{Store: c.store}
	n := c.startOn(g, fastConfig("a1", t.TempDir()))
	c.leader(n)
	g.set(true)
	done := make(chan error, 1)
	go func() {
		_, err := n.admin.CreateApp(context.Background(), &pb.CreateAppRequest{Spec: appSpec("kv", 4)})
		done <- err
	}()
	eventually(t, "health is honest", func() bool { return strings.Contains(n.Status().StoreTrouble, coord.ErrUnavailable.Error()) })
	eventually(t, "it grants no more", func() bool {
		status, err := n.admin.GetStatus(t.Context(), new(pb.GetStatusRequest))
		return err == nil && !status.Leading && status.StoreError != ""
	})
	g.set(false)
	eventually(t, "the app is there", func() bool { return mapOf(n, "kv") != nil })
	if err := <-done; err != nil {
		t.Errorf("create: %v", err)
	}
	c.leader(n)
}

// Requests and answers of the leader's transactions get lost at random; everything ends up placed, as the store has it.
func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	flaky := &faultyStore{Store: c.store}
	n := c.startOn(flaky, fastConfig("a1", t.TempDir()))
	c.leader(n)
	r, mu := rand.New(rand.NewSource(1)), sync.Mutex{}
	lose := func(ctx context.Context, ops []coord.Op) (coord.Index, error) {
		mu.Lock()
		luck := r.Intn(4)
		mu.Unlock()
		switch luck {
		case 0:
			return flaky.answerLost(ctx, ops)
		case 1:
			return requestLost(ctx, ops)
		default:
			return c.store.Txn(ctx, ops)
		}
	}
	flaky.onTxn.Store(&lose)
	c.createApp(n, "kv", 32)
	x, y := c.agent("x", "kv", 1, n), c.agent("y", "kv", 2, n)
	eventually(t, "32 shards served", func() bool { return placed(32, x, y) && len(x.serving()) == 16 })
	if _, err := n.admin.DrainServer(t.Context(), &pb.DrainServerRequest{Server: "x.kv"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "drained", func() bool { return len(y.serving()) == 32 && len(x.serving()) == 0 })
	eventually(t, "map follows", func() bool { return mapShows(mapOf(n, "kv"), y) == nil })
	entries, err := c.store.List(t.Context(), n.keys.Root())
	if err != nil {
		t.Fatal(err)
	}
	contents, err := n.keys.Load(entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range contents.Apps[0].Rows {
		if id := string(shard.HashSpace{Shards: 32}.ID(shard.Index(i))); row.Primary.Server != "y.kv" || uint64(row.PrimaryTerm) != y.serving()[id] {
			t.Errorf("shard %s stored as %+v, served at term %d", id, row, y.serving()[id])
		}
	}
}
