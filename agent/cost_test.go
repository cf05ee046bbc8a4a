package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// BenchmarkIdleAgent measures what an agent costs that holds 1 000 shards, whose application pulls, watches and tells loads: memory of its
// own (budget 40 MiB) and share of a core over ten seconds (budget 1 %). The agent is a process of its own, with the default times.
func BenchmarkIdleAgent(b *testing.B) {
	const shards = 1000
	engine, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	listener, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(embedded.NewHandler(engine))
	server := transport.NewServer(context.Background(), mux)
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()

	for b.Loop() {
		l := newLeader(b, 7)
		l.set(func() { l.interval, l.validity, l.grant = time.Second, 6*time.Second, 6*time.Second })
		hub := mapfeed.NewHub(mapfeed.HubConfig{})
		m, err := shard.NewMap("kv", shard.Version{Epoch: shard.Epoch{Index: 7}, Counter: 1}, shard.HashSpace{Shards: shards}, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		hub.Set(m)
		l.mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(hub))
		dir := short(b)
		socket := "unix://" + dir + "/agent.sock"
		child := spawn(b, "agent", "STORE="+listener.Addr().String(), "SOCKET="+socket, "DIR="+dir+"/state", "LEADER="+l.address, "TIMES=default")
		app := application0(b, socket)
		incarnation := app.registered(b)
		app.set(func() { app.loads = shards })
		eventually(b, "the attachment", func() bool { return l.attachedNow() == 1 })
		for i := range shards {
			id := &pb.CommandId{
				Epoch: &pb.Epoch{Index: 7}, Incarnation: incarnation, Shard: fmt.Sprintf("%03d", i), Term: 1, Move: 1, Kind: pb.CommandKind_COMMAND_KIND_ADD_SHARD,
			}
			l.send(&pb.AttachResponse{Message: &pb.AttachResponse_Command{Command: &pb.Command{Id: id, DeadlineMs: 60_000}}})
		}
		l.find("the last shard", func(*pb.AttachRequest) bool { return len(app.request().GetHeld()) == shards })
		go app.attend(incarnation)
		pid := child.cmd.Process.Pid
		before := cpuTime(b, pid)
		const watched = 10 * time.Second
		<-time.After(watched)
		b.ReportMetric(100*float64(cpuTime(b, pid)-before)/float64(watched), "%core")
		b.ReportMetric(float64(rssAnon(b, pid))/1024, "RssAnon-MiB")
		child.kill()
	}
}

// cpuTime is what a process has used, in the kernel's ticks of 10 ms.
func cpuTime(t testing.TB, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')'):])
	ticks := 0
	for _, field := range fields[12:14] { // user and system time
		n, err := strconv.Atoi(string(field))
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rssAnon is a process's memory of its own, in KiB.
func rssAnon(t testing.TB, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("RssAnon:"))
	n, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
