package agent_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// addressOf is where the agent's TCP listener is, as its server record says.
func addressOf(t *testing.T, r *running) string {
	t.Helper()
	var address string
	eventually(t, "the server", func() bool {
		status, err := r.Status(context.Background())
		if err != nil || len(status.Servers) == 0 {
			return false
		}
		address = status.Servers[0].Server.AgentAddress
		return address != ""
	})
	return address
}

// TestProbes: an answer, a refusal, silence; and a successor at the address is no sign of the incarnation asked about.
func TestProbes(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	r := run(t, cfg, store)
	app := application0(t, cfg.Socket)
	incarnation := app.registered(t)
	eventually(t, "the attachment", func() bool { return l.attachedNow() == 1 })
	own := addressOf(t, r)

	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardHostServiceHandler(app))
	server := transport.NewServer(context.Background(), mux)
	data, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(data) }()
	t.Cleanup(func() { _ = server.Close() })
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing, as a stopped process does
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()

	const answered, refused, quiet = pb.ProbeOutcome_PROBE_OUTCOME_ANSWERED, pb.ProbeOutcome_PROBE_OUTCOME_REFUSED, pb.ProbeOutcome_PROBE_OUTCOME_SILENT
	for id, c := range map[uint64]struct {
		agent, data        string
		incarnation        uint64
		agentSays, appSays pb.ProbeOutcome
		timeout            time.Duration // long where an answer is expected, and else long enough for a refusal
	}{
		1: {own, data.Addr().String(), incarnation, answered, answered, 5 * time.Second},
		2: {own, data.Addr().String(), incarnation + 1, answered, refused, 5 * time.Second},
		3: {closed.Addr().String(), silent.Addr().String(), incarnation, refused, quiet, 2 * time.Second},
		4: {silent.Addr().String(), closed.Addr().String(), incarnation, quiet, refused, 2 * time.Second},
	} {
		l.send(&pb.AttachResponse{Message: &pb.AttachResponse_Probe{Probe: &pb.Probe{
			Id: id, Server: "a.kv", Incarnation: c.incarnation, AgentAddress: c.agent, DataAddress: c.data, TimeoutMs: c.timeout.Milliseconds(),
		}}})
		got := l.find("the probe's answer", func(m *pb.AttachRequest) bool { return m.GetProbeAnswer().GetId() == id }).GetProbeAnswer()
		if got.GetAgent() != c.agentSays || got.GetApplication() != c.appSays || got.GetServer() != "a.kv" {
			t.Errorf("probe %d: %v, expected %v and %v", id, got, c.agentSays, c.appSays)
		}
	}
}

// TestPublicDoor: over TCP nothing but Ping and maps is answered; the health and the list of services are.
func TestPublicDoor(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	cfg.Apps = []string{"kv"}
	r := run(t, cfg, store)
	endpoint, err := transport.Dial(addressOf(t, r))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(endpoint.Close)
	client := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL)
	if pong, err := client.Ping(context.Background(), &pb.AgentServicePingRequest{}); err != nil || pong.GetAgent() != "a" {
		t.Errorf("Ping: %v, %v", pong, err)
	}
	_, err = client.Register(context.Background(), &pb.RegisterRequest{App: "kv"})
	if connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Errorf("Register over TCP: %v", err)
	}
	if _, err := client.Restart(context.Background(), &pb.RestartRequest{}); connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Errorf("Restart over TCP: %v", err)
	}
	for path, wants := range map[string]string{
		"/grpc.health.v1.Health/Check":                 `"status":"SERVING_STATUS_SERVING"`,
		"/shardmanager.v1.ShardMapService/GetShardMap": `nobodyherehasitsmap`,
		"/shardmanager.v1.AgentService/Ping":           `"agent":"a"`,
	} {
		response, err := http.Post("http://"+addressOf(t, r)+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 1000)
		n, _ := response.Body.Read(body)
		_ = response.Body.Close()
		if !strings.Contains(strings.ReplaceAll(string(body[:n]), " ", ""), wants) {
			t.Errorf("%s: %s", path, body[:n])
		}
	}
}

// TestMaps: the agent follows the allocators' maps and serves them; after a restart with nobody there, it serves the last one (promise 7).
func TestMaps(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	upstream := mapfeed.NewHub(mapfeed.HubConfig{Cluster: "c"})
	l.mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(upstream))
	version := shard.Version{Epoch: shard.Epoch{Index: 7}, Counter: 1}
	m, err := shard.NewMap("kv", version, shard.HashSpace{Shards: 4},
		[]shard.Server{{ID: "a.kv", App: "kv", Agent: "a"}}, []shard.Entry{{Index: 2, Primary: "a.kv", Term: 3}})
	if err != nil {
		t.Fatal(err)
	}
	upstream.Set(m)
	cfg := config(t, l)
	first := run(t, cfg, store)
	get := func() (*pb.GetShardMapResponse, error) {
		endpoint, err := transport.Dial(cfg.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer endpoint.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return shardmanagerv1connect.NewShardMapServiceClient(endpoint.Client, endpoint.URL).GetShardMap(ctx, &pb.GetShardMapRequest{App: "kv"})
	}
	check := func(when string) {
		t.Helper()
		eventually(t, "the map "+when, func() bool {
			got, err := get()
			return err == nil && got.GetSnapshot().GetTerms()[2] == 3 && got.GetSnapshot().GetServers()[0].GetId() == "a.kv"
		})
	}
	check("that a watcher asked for")
	eventually(t, "the map on disk", func() bool { _, err := os.Stat(filepath.Join(cfg.StateDir, "kv.map")); return err == nil })
	first.cancel()
	if err := first.wait(); err != nil {
		t.Fatal(err)
	}
	l.stop()
	run(t, cfg, store)
	check("from the disk")
}

// TestLeaderSeen: the agent tells whoever asks which leader answers it, and for how long none does.
func TestLeaderSeen(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	r := run(t, cfg, store)
	application0(t, cfg.Socket).registered(t)
	eventually(t, "the attachment", func() bool { return l.attachedNow() == 1 })
	endpoint, err := transport.Dial(addressOf(t, r))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(endpoint.Close)
	client := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL)
	seen := func() *pb.LeaderSeenResponse {
		answer, err := client.LeaderSeen(t.Context(), new(pb.LeaderSeenRequest))
		if err != nil {
			t.Fatal(err)
		}
		if answer.GetAgent() != cfg.Name {
			t.Fatalf("agent %q", answer.GetAgent())
		}
		return answer
	}
	eventually(t, "it is answered", func() bool {
		s := seen()
		return s.GetAsking() && s.GetEpoch().GetIndex() == 7 && s.GetSilentMs() < 2*interval.Milliseconds()
	})
	l.stop()
	eventually(t, "it asks in vain", func() bool {
		s := seen()
		return s.GetAsking() && s.GetEpoch().GetIndex() == 7 && s.GetSilentMs() > 3*interval.Milliseconds()
	})
}
