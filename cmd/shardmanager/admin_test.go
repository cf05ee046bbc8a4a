package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// plane is an allocator's admin side over the real protocol, with answers made up.
type plane struct {
	shardmanagerv1connect.UnimplementedAdminServiceHandler
	leader string       // hint of a follower; empty: this one leads
	left   atomic.Int32 // shards that a drain still has to move
	calls  atomic.Int32
}

func (p *plane) refuse() error {
	p.calls.Add(1)
	if p.leader == "" {
		return nil
	}
	return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, "allocator follower", "the leader", p.leader)
}

func (p *plane) CreateApp(_ context.Context, r *pb.CreateAppRequest) (*pb.CreateAppResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if r.GetSpec().GetKeySpace().GetHash().GetShards() == 13 {
		return nil, wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "spec.key_space.hash.shards", "expected a luckier number", "")
	}
	if r.GetSpec().GetName() == "taken" {
		return nil, wire.Error(connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_CONFLICT, "name", "a new name", "")
	}
	r.Spec.ResourceVersion = 7
	return &pb.CreateAppResponse{Spec: r.GetSpec()}, nil
}

func (p *plane) DrainServer(_ context.Context, r *pb.DrainServerRequest) (*pb.DrainServerResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if r.GetServer() != "node-1.kv" {
		return nil, wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "server", "the id of a server", "")
	}
	return &pb.DrainServerResponse{Remaining: uint32(p.left.Load())}, nil
}

func (p *plane) ReleaseHold(context.Context, *pb.ReleaseHoldRequest) (*pb.ReleaseHoldResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if p.left.Load() == 0 {
		return nil, wire.Error(connect.CodeAborted, pb.ErrorReason_ERROR_REASON_CONFLICT, "hold", "a hold: no server is held now", "")
	}
	return &pb.ReleaseHoldResponse{Servers: uint32(p.left.Swap(0))}, nil
}

func (p *plane) ListQuarantined(_ context.Context, r *pb.ListQuarantinedRequest) (*pb.ListQuarantinedResponse, error) {
	if err := p.refuse(); err != nil || r.GetApp() == "other" {
		return new(pb.ListQuarantinedResponse), err
	}
	return &pb.ListQuarantinedResponse{Shards: []*pb.QuarantinedShard{{App: "kv", Shard: "07", Reason: "3 servers died of it"}}}, nil
}

func (p *plane) ReleaseQuarantine(_ context.Context, r *pb.ReleaseQuarantineRequest) (*pb.ReleaseQuarantineResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if r.GetApp() != "kv" || r.GetShard() != "07" {
		return nil, wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "shard", "a shard in quarantine", "")
	}
	return new(pb.ReleaseQuarantineResponse), nil
}

func (p *plane) ListServers(context.Context, *pb.ListServersRequest) (*pb.ListServersResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	left := max(p.left.Add(-1), 0)
	return &pb.ListServersResponse{Servers: []*pb.ServerStatus{{
		Server: &pb.Server{Id: "node-1.kv", Capacity: map[string]int64{"shards": 9}}, State: pb.ServerState_SERVER_STATE_ATTACHED, Shards: uint32(left), LastRenewalMs: 40, Draining: true,
		Gossip: pb.GossipStatus_GOSSIP_STATUS_FAILED, AgentVersion: "v3",
		Usage: &pb.HostUsage{Host: &pb.Resources{Used: map[string]int64{load.CPUMilli: 250}, Limit: map[string]int64{load.CPUMilli: 4000}}},
	}}}, nil
}

func (p *plane) ListRegions(context.Context, *pb.ListRegionsRequest) (*pb.ListRegionsResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	return &pb.ListRegionsResponse{
		Regions:   []*pb.Region{{Servers: 1}, {Name: "eu", Servers: 3, LocatedAgents: 2}},
		Latencies: []*pb.RegionLatency{{From: "eu", To: "us", MedianNs: 91_234_567, ErrorPermille: 45, AgeMs: 3200, Pairs: 6}, {From: "eu", To: "za", MedianNs: 150_000_000, Configured: true}},
	}, nil
}

func (p *plane) GetShardMap(context.Context, *pb.AdminServiceGetShardMapRequest) (*pb.AdminServiceGetShardMapResponse, error) {
	return &pb.AdminServiceGetShardMapResponse{Snapshot: &pb.ShardMapSnapshot{
		App: "kv", Version: &pb.MapVersion{Epoch: &pb.Epoch{Index: 3}, Counter: 2},
		KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 2}}},
		Servers:  []*pb.Server{{Id: "node-1.kv", App: "kv", Agent: "node-1", Incarnation: 5, DataAddress: "127.0.0.1:9"}}, Primaries: []uint32{1, 0}, Terms: []uint64{4, 0},
	}}, nil
}

func serve(t *testing.T, p shardmanagerv1connect.AdminServiceHandler) string {
	t.Helper()
	_, handler := shardmanagerv1connect.NewAdminServiceHandler(p)
	return serveHandler(t, handler)
}

func serveHandler(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = transport.NewServer(context.Background(), handler)
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestOperatorsFollowTheLeader(t *testing.T) {
	leader := &plane{}
	follower := &plane{leader: serve(t, leader)}
	admin := "127.0.0.1:1," + serve(t, follower) // the first does not run
	spec := write(t, "app.yaml", "name: kv\nkey_space: {hash: {shards: 96}}\n")
	code, out, errs := shell(t, "app", "create", "-f", spec, "--admin", admin)
	if code != exitOK || !strings.Contains(out, "hash, 96 shards") || !strings.Contains(out, "primary-only") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, errs)
	}
	if leader.calls.Load() != 1 || follower.calls.Load() != 1 {
		t.Errorf("%d calls of the leader and %d of the follower, want 1 each", leader.calls.Load(), follower.calls.Load())
	}
	code, out, errs = shell(t, "app", "create", "-f", spec, "--admin", admin, "-o", "json")
	var answer struct{ ResourceVersion string }
	if err := json.Unmarshal([]byte(out), &answer); code != exitOK || err != nil || answer.ResourceVersion != "7" {
		t.Errorf("exit %d, %v, stdout %q, stderr %q", code, err, out, errs)
	}
}

func TestHoldRelease(t *testing.T) {
	p := &plane{}
	p.left.Store(4)
	admin := serve(t, p)
	code, out, errs := shell(t, "hold", "release", "--admin", admin)
	if code != exitOK || !strings.Contains(out, "4 servers are given up") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, errs)
	}
	code, _, errs = shell(t, "hold", "release", "--admin", admin)
	if code != exitFailure || !strings.Contains(errs, "no server is held now") {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
}

func TestQuarantine(t *testing.T) {
	leader := &plane{}
	admin := serve(t, &plane{leader: serve(t, leader)})
	for _, test := range []struct {
		args  []string
		code  int
		shows string
	}{
		{[]string{"quarantine"}, exitOK, "3 servers died of it"},
		{[]string{"quarantine", "--app", "other"}, exitOK, "REASON"},
		{[]string{"quarantine", "release", "kv", "07"}, exitOK, "shard 07 of kv is placed again"},
		{[]string{"quarantine", "release", "kv", "08"}, exitFailure, "a shard in quarantine"},
		{[]string{"quarantine", "release", "kv"}, exitUsage, "expected SHARD"},
		{[]string{"quarantine", "kv"}, exitUsage, "kv"},
	} {
		code, out, errs := shell(t, append(test.args, "--admin", admin)...)
		if code != test.code || !strings.Contains(out+errs, test.shows) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; expected exit %d and %q", test.args, code, out, errs, test.code, test.shows)
		}
	}
}

func TestServersRefusalNamesTheLine(t *testing.T) {
	spec := write(t, "app.yaml", "name: kv\nkey_space:\n  hash:\n    shards: 13\n")
	code, _, errs := shell(t, "app", "create", "-f", spec, "--admin", serve(t, &plane{}))
	if want := spec + ":4: key_space.hash.shards: expected a luckier number"; code != exitUsage || !strings.Contains(errs, want) {
		t.Errorf("exit %d, stderr %q, want %q", code, errs, want)
	}
}

func TestConflictIsNoUsageError(t *testing.T) {
	spec := write(t, "app.yaml", "key_space: {hash: {shards: 8}}\nname: taken\n")
	code, _, errs := shell(t, "app", "create", "-f", spec, "--admin", serve(t, &plane{}))
	if want := spec + ":2: name: expected a new name"; code != exitFailure || !strings.Contains(errs, want) {
		t.Errorf("exit %d, stderr %q, want %q", code, errs, want)
	}
}

func TestDrainWaits(t *testing.T) {
	p := &plane{}
	p.left.Store(3)
	code, out, errs := shell(t, "drain", "node-1.kv", "--wait", "--admin", serve(t, p))
	if want := "node-1.kv: 3 shards left\nnode-1.kv: 2 shards left\nnode-1.kv: 1 shard left\nnode-1.kv: drained\n"; code != exitOK || out != want {
		t.Errorf("exit %d, stdout %q, stderr %q, want %q", code, out, errs, want)
	}
	p.left.Store(1000)
	code, _, errs = shell(t, "drain", "node-1.kv", "--wait", "--timeout", "100ms", "--admin", serve(t, p))
	if code != exitFailure || !strings.Contains(errs, "the drain goes on") {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
	if code, _, errs := shell(t, "drain", "nobody", "--admin", serve(t, p)); code != exitFailure || !strings.Contains(errs, "the id of a server") {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
}

func TestTables(t *testing.T) {
	admin := serve(t, &plane{})
	_, out, _ := shell(t, "map", "kv", "--admin", admin)
	if want := "SHARD  PRIMARY    ADDRESS      TERM  SECONDARIES\n0      node-1.kv  127.0.0.1:9  4     -\n1      -          -            -     -\n"; out != want {
		t.Errorf("map: got %q, want %q", out, want)
	}
	_, out, _ = shell(t, "servers", "--admin", admin)
	if !strings.Contains(out, "node-1.kv  attached, draining  0          0            0") || !strings.Contains(out, "40ms ago") {
		t.Errorf("servers: got %q", out)
	}
	_, out, _ = shell(t, "regions", "--admin", admin)
	want := "REGION  SERVERS  LOCATED AGENTS\n-       1        0\neu      3        2\n\nFROM  TO  MEDIAN  SOURCE      ERROR  AGE   PAIRS\neu    us  91.2ms  measured    5 %    3.2s  6\neu    za  150ms   configured  -      -     -\n"
	if out != want {
		t.Errorf("regions: got %q, want %q", out, want)
	}
	if _, out, _ = shell(t, "regions", "--admin", admin, "-o", "json"); !strings.Contains(strings.ReplaceAll(out, " ", ""), `"medianNs":"91234567"`) {
		t.Errorf("regions as JSON: got %q", out)
	}
	if strings.Contains(out, "CPU") {
		t.Errorf("servers shows usage unasked: %q", out)
	}
	if _, out, _ = shell(t, "servers", "-o", "wide", "--admin", admin); !strings.Contains(out, "CAPACITY  GOSSIP  AGENT\n") || !strings.Contains(out, "0.25 of 4  -       -     -") || !strings.Contains(out, "shards=9  failed  v3\n") {
		t.Errorf("servers -o wide: got %q", out)
	}
	if _, out, _ = shell(t, "servers", "-o", "json", "--admin", admin); !strings.Contains(out, `"cpu_milli":`) {
		t.Errorf("servers -o json: got %q", out)
	}
	if code, _, errs := shell(t, "moves", "-o", "wide", "--admin", admin); code != exitUsage || !strings.Contains(errs, "expected table or json") {
		t.Errorf("moves -o wide: exit %d, stderr %q", code, errs)
	}
	code, _, errs := shell(t, "moves", "--admin", admin)
	if code != exitFailure || !strings.Contains(errs, "does not know the request: it is of an older version") {
		t.Errorf("moves of an allocator without them: exit %d, stderr %q", code, errs)
	}
}
