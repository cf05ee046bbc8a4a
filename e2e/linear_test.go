package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/linear"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk"
)

// The tests of this file ask whether a service that hands its shards over, planned or not, still looks like one that never does: every key of the
// example is a counter, and what its clients saw must be linearizable.
//
// With storage that checks terms, it is under whatever happens to servers, allocators and Consul. Replicas in memory are asked under planned events, and
// under what costs none of them; with everything, under crashes too, one at a time, each when all replicas are in sync again: whoever kills all replicas
// of a shard kills its data.

// seedVariable repeats what a run that failed did.
const seedVariable = "E2E_SEED"

// seed of a test, which is logged.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d", seedVariable, n)
	return n
}

// counters are the example's service as clients of package linear call it.
type counters struct {
	rpc     kvv1connect.KvServiceClient
	session uint64 // tells the clients of a run from those of others
	read    func(ctx context.Context, key string) context.Context
}

// newCounters makes a client with a router of its own; reads go where read sends them.
func newCounters(f *fleet, session uint64, read func(context.Context, string) context.Context) *counters {
	f.t.Helper()
	router, err := sdk.NewRouter("kv", sdk.WithAllocators(f.serve...), sdk.WithCluster(f.name))
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var routing sync.WaitGroup
	routing.Go(func() { _ = router.Run(ctx) })
	pool := &http.Transport{}
	f.t.Cleanup(func() {
		cancel()
		routing.Wait()
		pool.CloseIdleConnections()
	})
	if err := router.Ready(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return &counters{rpc: kvv1connect.NewKvServiceClient(&http.Client{Transport: router.Transport(pool)}, "http://kv"), session: session, read: read}
}

// atPrimary reads what is acknowledged; anywhere reads what some replica knows.
func atPrimary(ctx context.Context, key string) context.Context {
	return sdk.WithIdempotent(sdk.WithKey(ctx, key))
}

func anywhere(ctx context.Context, key string) context.Context {
	return sdk.WithNearestRead(sdk.WithKey(ctx, key))
}

func (c *counters) Read(ctx context.Context, key string) (int64, linear.Outcome) {
	answer, err := c.rpc.Get(c.read(ctx, key), &kvv1.GetRequest{Key: key})
	return answer.GetValue(), outcomeOf(err)
}

func (c *counters) Increment(ctx context.Context, key string, client, number uint64) (int64, linear.Outcome) {
	id := &kvv1.RequestId{Client: c.session + client, Number: number}
	ctx = sdk.WithRequestID(sdk.WithKey(ctx, key), fmt.Sprintf("%x-%s-%d", id.GetClient(), key, number))
	answer, err := c.rpc.Increment(ctx, &kvv1.IncrementRequest{Key: key, RequestId: id})
	return answer.GetValue(), outcomeOf(err)
}

func outcomeOf(err error) linear.Outcome {
	known, _ := sdk.OutcomeOf(err)
	switch {
	case err == nil:
		return linear.Done
	case known == sdk.NotExecuted, connect.CodeOf(err) == connect.CodeInvalidArgument:
		return linear.Refused
	}
	return linear.Open
}

// drama is a fleet that something is done to while clients ask.
type drama struct {
	*fleet
	consul      *consulserver.Cluster
	random      *rand.Rand
	secondaries int // of a shard
	kills       []overlap.Kill
}

// whole waits until every server is attached and every shard is served, by all of them, and has all its replicas in sync.
func (d *drama) whole() {
	d.t.Helper()
	d.await(time.Minute, "every server to serve", func() bool {
		serving, owners := map[string]bool{}, d.owners()
		for _, o := range owners {
			serving[o.server] = true
		}
		return len(owners) == fleetShards && len(serving) == len(d.agents) && d.attached() == len(d.agents) && d.inSync()
	})
}

// inSync reports whether every shard has as many secondaries in sync as it should have, and nothing moves.
func (d *drama) inSync() bool {
	lead := d.leading()
	if lead < 0 {
		return false
	}
	status, err := ask(d.fleet, lead, &pb.GetStatusRequest{}, shardmanagerv1connect.AdminServiceClient.GetStatus)
	if err != nil || status.GetOpenMoves() > 0 {
		return false
	}
	answer, err := ask(d.fleet, lead, &pb.AdminServiceGetShardMapRequest{App: "kv"}, shardmanagerv1connect.AdminServiceClient.GetShardMap)
	if err != nil {
		return false
	}
	m, err := wire.SnapshotFromProto(answer.GetSnapshot())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range m.Entries() {
		if d.secondaries > 0 && m.Secondary(e.Index, d.secondaries-1) == nil {
			return false
		}
	}
	return true
}

// moved waits until a server of the fleet serves nothing, and others everything.
func (d *drama) moved(i int) {
	d.t.Helper()
	d.await(time.Minute, fmt.Sprintf("others to serve the shards of n%d", i), func() bool {
		owners := d.owners()
		for _, o := range owners {
			if o.server == d.server(i) {
				return false
			}
		}
		return len(owners) == fleetShards
	})
}

func (d *drama) server(i int) string { return fmt.Sprintf("n%d.kv", i) }

// rebalance takes a drain back: nothing else moves shards to a server that has none, in a fleet where balance moves nothing.
func (d *drama) rebalance(i int) {
	for j := range d.agents {
		if j != i {
			d.command("drain", d.server(j))
			d.moved(j)
			d.command("drain", d.server(j), "--undo")
			return
		}
	}
}

// killApp notes a kill for the detector of overlaps.
func (d *drama) killApp(i int) {
	d.t.Helper()
	pid := d.apps[i].PID()
	at, err := d.apps[i].Kill(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	d.kills = append(d.kills, overlap.Kill{Process: overlap.Process{File: d.history(i), PID: pid}, At: at})
}

// signal sends a signal that ends nobody.
func (d *drama) signal(sig syscall.Signal, units ...*process.Unit) {
	d.t.Helper()
	for _, u := range units {
		if _, err := u.Signal(sig, false); err != nil {
			d.t.Fatal(err)
		}
	}
}

// act is something that happens to the fleet, to a server of it if it says so. It returns once the fleet is as it was.
type act struct {
	name string
	play func(d *drama, i int)
}

// paused is longer than any lease of the fast profile.
const paused = 5 * time.Second

// gentle are acts that cost no replica: planned ones, and those that only the control plane notices.
func gentle() []act {
	return []act{
		{"a drain", func(d *drama, i int) {
			d.command("drain", d.server(i))
			d.moved(i)
			d.command("drain", d.server(i), "--undo")
			d.rebalance(i)
		}},
		{"a rolling restart's step", func(d *drama, i int) {
			for _, u := range []*process.Unit{d.agents[i], d.apps[i]} {
				if err := u.Stop(time.Minute); err != nil {
					d.t.Error(err)
				}
			}
			d.start(d.agents[i])
			d.start(d.apps[i])
			d.await(time.Minute, "the server to be back", func() bool { return d.attached() == len(d.agents) })
			d.rebalance(i)
		}},
		{"the agent is restarted", func(d *drama, i int) {
			run := d.status(i).GetRun()
			d.signal(syscall.SIGUSR2, d.agents[i])
			d.restarted(i, run)
		}},
		{"kill -9 of the agent", func(d *drama, i int) {
			run := d.status(i).GetRun()
			d.kill(d.agents[i])
			d.start(d.agents[i])
			d.restarted(i, run)
		}},
		{"kill -9 of the leader", func(d *drama, _ int) {
			lead := d.leading()
			if lead < 0 {
				d.t.Fatal("no allocator leads")
			}
			d.kill(d.allocators[lead])
			d.await(time.Minute, "another leader", func() bool { return d.leading() >= 0 })
			d.start(d.allocators[lead])
		}},
		{"kill -9 of Consul's leader", func(d *drama, _ int) {
			leader, err := d.consul.Leader(d.t.Context())
			if err != nil {
				d.t.Fatal(err)
			}
			d.kill(leader.Unit)
			if err := d.consul.Ready(d.t.Context()); err != nil {
				d.t.Fatal(err)
			}
			if err := d.consul.Start(d.t.Context()); err != nil {
				d.t.Fatal(err)
			}
		}},
	}
}

// rough are acts that end or stop applications without a word.
func rough() []act {
	return []act{
		{"kill -9 of the application", func(d *drama, i int) {
			d.killApp(i)
			d.moved(i)
			d.start(d.apps[i])
			d.await(time.Minute, "the server to be back", func() bool { return d.attached() == len(d.agents) })
			d.rebalance(i)
		}},
		{"kill -9 of the agent and the application", func(d *drama, i int) {
			d.kill(d.agents[i])
			d.killApp(i)
			d.moved(i)
			d.start(d.agents[i])
			d.start(d.apps[i])
			d.await(time.Minute, "the server to be back", func() bool { return d.attached() == len(d.agents) })
			d.rebalance(i)
		}},
		{"the agent and the application are stopped for a while", func(d *drama, i int) {
			d.signal(syscall.SIGSTOP, d.agents[i], d.apps[i])
			time.Sleep(paused)
			d.signal(syscall.SIGCONT, d.agents[i], d.apps[i])
			d.await(time.Minute, "the server to be back", func() bool { return d.attached() == len(d.agents) })
			d.rebalance(i)
		}},
		{"the leader is stopped for a while", func(d *drama, _ int) {
			lead := d.leading()
			if lead < 0 {
				d.t.Fatal("no allocator leads")
			}
			d.signal(syscall.SIGSTOP, d.allocators[lead])
			d.await(time.Minute, "another leader", func() bool { return d.leading() >= 0 })
			d.signal(syscall.SIGCONT, d.allocators[lead])
		}},
	}
}

// rounds is how often every act is played.
func rounds() int {
	if os.Getenv(everything) != "" {
		return 5
	}
	return 1
}

// watch plays acts in an order that chance chooses while clients ask, and returns what these noted.
func (d *drama) watch(n uint64, acts []act, service linear.Service) *linear.History {
	d.t.Helper()
	return d.asked(linear.Config{Seed: n, Keys: 2 * fleetShards, Pause: 20 * time.Millisecond}, service, func() {
		for range rounds() {
			for _, k := range d.random.Perm(len(acts)) {
				began, i := time.Now(), d.random.IntN(len(d.agents))
				acts[k].play(d, i)
				d.whole()
				d.t.Logf("%s: %s, n%d: %.1f s", d.name, acts[k].name, i, time.Since(began).Seconds())
			}
		}
	})
}

// asked lets clients ask while something is done.
func (d *drama) asked(cfg linear.Config, service linear.Service, do func()) *linear.History {
	d.t.Helper()
	cfg.Clients, cfg.Name, cfg.Deadline = 6, fmt.Sprintf("%x", cfg.Seed), 2*time.Second
	clients, err := linear.NewClients(cfg, service)
	if err != nil {
		d.t.Fatal(err)
	}
	asking, end := context.WithCancel(d.t.Context())
	var history *linear.History
	var failed error
	var asked sync.WaitGroup
	asked.Go(func() { history, failed = clients.Run(asking) })
	defer asked.Wait() // if the test ends in the middle
	defer end()
	do()
	end()
	asked.Wait()
	if failed != nil {
		d.t.Error(failed)
	}
	d.t.Logf("%s: %+v", d.name, history.Count())
	return history
}

// checked is the verdict on a history. What is not linearizable is drawn in the test's artifacts.
func (d *drama) checked(h *linear.History) linear.Verdict {
	d.t.Helper()
	began := time.Now()
	verdict, err := h.Check(time.Minute, d.t.ArtifactDir())
	if err != nil {
		d.t.Error(err)
	}
	d.t.Logf("%s: %d keys are not linearizable, found in %.1f s", d.name, len(verdict.Illegal), time.Since(began).Seconds())
	return verdict
}

func newDrama(t *testing.T, name string, secondaries int, n uint64) *drama {
	consul, spec := consultest.Start(t, 3, nil), ""
	if secondaries > 0 {
		spec = fmt.Sprintf("replication: primary-secondary\nreplicas: %d\n", 1+secondaries)
	}
	// The same servers are fenced again and again: probation has tests of its own.
	of := size{allocators: 2, agents: 3, replicas: secondaries > 0, flags: []string{"--probation-first", "1s", "--probation-most", "1s"}}
	return &drama{
		fleet:  newFleet(t, name, "fast", of, onCluster(consul.Addresses()), spec),
		consul: consul, random: rand.New(rand.NewPCG(n, 0)), secondaries: secondaries,
	}
}

func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	n := seed(t)
	d := newDrama(t, "crashes", 0, n)
	h := d.watch(n, append(gentle(), rough()...), newCounters(d.fleet, n, atPrimary))
	if v := d.checked(h); len(v.Illegal) > 0 {
		t.Errorf("keys %v are not linearizable: open %v", v.Illegal, v.Pictures)
	}
	d.overlaps(d.kills...)
}

func TestHistoriesOfReplicasAreLinearizable(t *testing.T) {
	t.Parallel()
	n := seed(t)
	d := newDrama(t, "replicas", 1, n)
	acts := gentle()
	if os.Getenv(everything) != "" {
		acts = append(acts, rough()...)
	}
	h := d.watch(n, acts, newCounters(d.fleet, n, atPrimary))
	if v := d.checked(h); len(v.Illegal) > 0 {
		t.Errorf("keys %v are not linearizable: open %v", v.Illegal, v.Pictures)
	}
	d.overlaps(d.kills...)

	// Reads of any replica are older than what was acknowledged, which nobody promised otherwise: were they found linearizable, the check would find nothing.
	h = d.asked(linear.Config{Seed: n + 1, Keys: 1}, newCounters(d.fleet, n+1<<32, anywhere), func() { time.Sleep(5 * time.Second) })
	if v := d.checked(h); len(v.Illegal) == 0 {
		t.Error("what reads of any replica see is linearizable, says the check")
	}
}
