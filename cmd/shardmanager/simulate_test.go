package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/capacity"
	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/whatif"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Simulate answers as an allocator does, for an app of 12 shards with two replicas on four servers.
func (p *plane) Simulate(ctx context.Context, r *pb.SimulateRequest) (*pb.SimulateResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if r.GetApp() != "kv" {
		return nil, wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "app", "expected an app of this cluster", "")
	}
	answer, err := whatif.Answer(ctx, simulated(), whatif.Policies{}, r)
	if bad, ok := err.(*wire.FieldError); ok {
		return nil, wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, bad.Field, "expected "+bad.Expected, "")
	}
	return answer, err
}

// AdviseCapacity answers likewise.
func (p *plane) AdviseCapacity(_ context.Context, r *pb.AdviseCapacityRequest) (*pb.AdviseCapacityResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if field, expected := (capacity.Aim{Utilisation: int(r.GetUtilisationPercent()), Tolerance: int(r.GetTolerancePercent())}).Check(); field != "" {
		return nil, wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, field, "expected "+expected, "")
	}
	a := capacity.Advise(simulated(), caps.Caps{}, capacity.Aim{Utilisation: int(r.GetUtilisationPercent()), Tolerance: int(r.GetTolerancePercent())})
	return &pb.AdviseCapacityResponse{App: r.GetApp(), Servers: uint32(a.Servers), Wanted: uint32(a.Wanted), Least: uint32(a.Least), Most: uint32(a.Most), Why: a.Why,
		Regions: []*pb.RegionCapacity{{Region: "eu", Servers: 2}}, Metrics: []*pb.MetricCapacity{{Metric: "cpu", Load: 240, Server: 100, UtilisationPercent: 60, Servers: 4}}}, nil
}

func TestCapacity(t *testing.T) {
	admin := serve(t, &plane{leader: serve(t, &plane{})})
	for line, c := range map[string]struct {
		code int
		want []string
	}{
		"app capacity kv":                          {exitOK, []string{"servers 4; as they are (4 to 4 will do)", "240 of cpu, on servers with 100; and 1 that may be down at once", "cpu 240 100 60 % 4", "eu 2 0"}},
		"app capacity kv --utilisation 40":         {exitOK, []string{"servers 4; add 2 (6 to 7 will do)", "used to 40 %"}},
		"app capacity kv --utilisation 40 -o json": {exitOK, []string{`"servers": 4`, `"wanted": 6`, `"least": 6`, `"most": 7`}},
		"app capacity":                             {exitUsage, []string{"expected NAME"}},
		"app capacity kv --utilisation 101":        {exitFailure, []string{"utilisation_percent: expected 1 to 100"}},
		"app capacity kv --utilisation=x":          {exitUsage, []string{"utilisation"}},
	} {
		args := strings.Fields(line)
		if !strings.HasSuffix(line, "capacity") {
			args = append(args, "--admin", admin)
		}
		code, out, errs := shell(t, args...)
		got := strings.Join(strings.Fields(out+errs), " ")
		for _, want := range c.want {
			if code != c.code || !strings.Contains(got, want) {
				t.Errorf("%s: exit %d, %q; want %d with %q", line, code, got, c.code, want)
			}
		}
	}
}

func simulated() placement.Input {
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 2, Primary: true, Moves: 64, MovesPerServer: 2, TolerancePercent: 10}}
	for i := range 4 {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID(fmt.Sprintf("node-%d.kv", i+1)), Accepts: true,
			Locality: shard.Locality{Region: []string{"eu", "us"}[i%2], Zone: "1"}, Capacity: map[string]int64{"cpu": 100}})
	}
	for i := range 12 {
		in.Shards = append(in.Shards, placement.Shard{Index: shard.Index(i), ID: shard.HashSpace{Shards: 12}.ID(shard.Index(i)),
			Load: map[string]int64{placement.MetricShards: 1, "cpu": 10}, Replicas: []placement.Replica{
				{On: i % 4, To: -1, Role: shard.Primary, Settled: true}, {On: (i + 1) % 4, To: -1, Role: shard.Secondary, Settled: true}}})
	}
	return in
}

func TestSimulate(t *testing.T) {
	leader := &plane{}
	admin := serve(t, &plane{leader: serve(t, leader)})
	spec := write(t, "kv.yaml", "name: kv\nkey_space:\n  hash:\n    shards: 12\nreplication: primary-secondary\nreplicas: 3\n")
	wrong := write(t, "wrong.yaml", "name: kv\nkey_space:\n  hash:\n    shards: 12\nreplication: primary-secondary\nreplicas: 99\n")
	other := write(t, "other.yaml", "name: mail\nkey_space:\n  hash:\n    shards: 12\n")
	broken := write(t, "broken.json", "{")
	policy := write(t, "policy.yaml", "metrics:\n  - {name: cpu}\ngoals:\n  - {tier: 1, region_preference: {regions: [eu, us]}}\n  - {tier: 2, latency: {clients: {eu: 1}}}\n"+
		"  - {tier: 3, balance: {metric: cpu, scope: region}}\n  - {tier: 5, movement: {}}\n")
	unsound := write(t, "unsound.yaml", "goals:\n  - tier: 3\n    balance: {metric: disk}\n")
	saved := filepath.Join(t.TempDir(), "kv.json")
	for _, test := range []struct {
		line string
		code int
		want []string // in stdout and stderr
	}{
		{"simulate kv --drain node-1.kv", exitOK, []string{"kv: at rest after ", "migrate (drain)", "that take shards 4 3"}},
		{"simulate kv --lose-region us", exitOK, []string{"lost by the changes: the primary of 6 shards, every replica of 0 shards", "6 promote (failover)", "us 2 → 0"}},
		{"simulate kv --lose-server node-1.kv,node-2.kv --lose-zone us/1", exitOK, []string{"STAYS UNDONE", "add (replicas)", "capacity.cpu", "00 01 02 03 04"}},
		{"simulate kv --add-servers 4@za/1/r --load-factor cpu=1.5 --load 07=cpu:40", exitOK, []string{"za 0 → 4"}},
		{"simulate kv --lose-region eu,us --add-servers 2@za/1", exitOK, []string{"za 0 → 2", "simulated-1.kv", "simulated-2.kv"}},
		{"simulate kv --spec " + spec, exitOK, []string{"12 add (replicas)"}},
		{"simulate kv --drain node-1.kv --max-rounds 1", exitOK, []string{"NOT at rest after 1 round: the most rounds (1) are over"}},
		{"simulate kv --drain node-1.kv -o json", exitOK, []string{`"atRest": true`, `"MOVE_KIND_MIGRATE"`, `"goal": "balance of cpu"`, `"deviationPermille"`, `"mostMoves": 1`}},
		{"simulate kv --drain node-1.kv -o yaml", exitOK, []string{"atRest: true", "goal: balance of cpu"}},
		{"simulate kv --drain node-1.kv", exitOK, []string{"COST OF A GOAL TIER BEFORE AFTER", "balance of cpu - 0 %", "DEVIATION BEFORE", "60 %, at most 60 %", "most moved: shard 00, 1 time"}},
		{"simulate kv --policy " + policy, exitOK, []string{"region preference 1 6 places 0 places", "latency 2 0 ms each 0 ms each", "balance of cpu, in each region: eu 3 0 % 0 %", "balance of cpu, in each region: us 3 0 % 0 %", "movement 5 0 moves", "cpu, region eu"}},
		{"simulate kv --policy " + policy + " --lose-region us --add-servers 1@us/2", exitOK, []string{"region preference 1 6 places 0 places"}},
		{"simulate kv --load-factor cpu=2", exitOK, []string{"BROKEN CONSTRAINT BEFORE AFTER SUCH AS", "capacity.cpu 0 4 node-1.kv"}},
		{"simulate kv --policy " + unsound, exitUsage, []string{`--policy: expected a policy that is admitted: app kv: policy.goals[0].balance.metric: unknown metric "disk": declare it in metrics`}},
		{"simulate kv -o wide --drain node-1.kv", exitUsage, []string{"--output: expected table or json or yaml"}},
		{"simulate kv --save " + saved, exitOK, []string{"placement would move nothing", "saved the state of kv to " + saved}},
		{"simulate kv --snapshot " + saved + " --drain node-1.kv --admin 127.0.0.1:1", exitOK, []string{"at rest after"}},

		{"simulate", exitUsage, []string{"expected APP"}},
		{"simulate kv", exitUsage, []string{"nothing to simulate: give a change (--drain"}},
		{"simulate nobody --drain x", exitFailure, []string{"expected an app of this cluster; `shardmanager app list`"}},
		{"simulate kv --drain node-9.kv", exitUsage, []string{`--drain: expected a server of kv (node-1.kv, `, `not "node-9.kv"; ` + "`shardmanager servers`"}},
		{"simulate kv --lose-region mars", exitUsage, []string{"--lose-region: expected a region of kv (eu, us)"}},
		{"simulate kv --lose-zone eu", exitUsage, []string{"--lose-zone: expected REGION/ZONE"}},
		{"simulate kv --add-servers -3@eu/1", exitUsage, []string{"--add-servers: expected N@REGION/ZONE"}},
		{"simulate kv --add-servers 0@eu/1", exitUsage, []string{"--add-servers: expected N@REGION/ZONE"}},
		{"simulate kv --add-servers 99999@eu/1", exitUsage, []string{"--add-servers: expected 1 to 10000"}},
		{"simulate kv --load 07=cpu:-1", exitUsage, []string{"--load: expected SHARD=METRIC:VALUE with a whole VALUE of 0 or more"}},
		{"simulate kv --load 99=cpu:1", exitUsage, []string{"--load: expected the id of a shard of kv"}},
		{"simulate kv --load-factor cpu=NaN", exitUsage, []string{"--load-factor: expected METRIC=FACTOR"}},
		{"simulate kv --load-factor disk=2", exitUsage, []string{"--load-factor: expected a metric of kv (cpu)"}},
		{"simulate kv --spec " + wrong, exitUsage, []string{"--spec: " + wrong + ":6: replicas: expected 0 (the default) to 16, not 99"}},
		{"simulate kv --spec " + other, exitUsage, []string{"--spec: " + other + ":1: name: expected kv"}},
		{"simulate kv --spec nowhere.yaml", exitUsage, []string{"--spec: "}},
		{"simulate kv --within 1s --drain node-1.kv", exitUsage, []string{"--within: expected 2s to 2m0s"}},
		{"simulate kv --snapshot nowhere.json --drain node-1.kv", exitUsage, []string{"--snapshot: open nowhere.json"}},
		{"simulate kv --snapshot " + broken + " --drain node-1.kv", exitUsage, []string{"--snapshot: " + broken + ": expected what --save wrote"}},
		{"simulate mail --snapshot " + saved + " --drain node-1.kv", exitUsage, []string{"expected the state of app mail, not of kv"}},
		{"simulate kv --snapshot " + saved + " --drain x", exitUsage, []string{"--drain: expected a server of kv"}},
		{"simulate kv --snapshot " + saved + " --save x", exitUsage, []string{"--save: expected without --snapshot"}},
	} {
		args := strings.Fields(test.line)
		if !strings.Contains(test.line, "--admin") {
			args = append(args, "--admin", admin)
		}
		code, out, errs := shell(t, args...)
		text := strings.Join(strings.Fields(out+errs), " ")
		for _, want := range test.want {
			if code != test.code || !strings.Contains(text, want) {
				t.Errorf("%s: exit %d, stdout %q, stderr %q, want exit %d and %q", test.line, code, out, errs, test.code, want)
			}
		}
	}
	if _, err := os.Stat(saved); err != nil || leader.calls.Load() == 0 {
		t.Errorf("%v, %d calls", err, leader.calls.Load())
	}
}
