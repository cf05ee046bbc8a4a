package main

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// GetPolicy answers as an allocator does.
func (p *plane) GetPolicy(_ context.Context, r *pb.GetPolicyRequest) (*pb.GetPolicyResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	return &pb.GetPolicyResponse{
		Effective: &pb.Policy{Group: r.GetApp(), Moves: &pb.MoveCaps{App: proto.Uint32(20), Server: proto.Uint32(8), Shard: proto.Uint32(1)},
			Constraints: []*pb.Constraint{{Name: "zones of " + r.GetShard(), Kind: &pb.Constraint_Spread{Spread: &pb.Spread{
				Over: &pb.Spread_Domain{Domain: pb.FaultDomain_FAULT_DOMAIN_ZONE}, Limit: &pb.Spread_AtMost{AtMost: 1}}}}}},
		Origins: []*pb.PolicyOrigin{{Field: "constraints[0]", Origin: "policy of app kv: constraints[0]"}, {Field: "moves.app", Origin: "cluster.yaml:5: moves.app"}},
		Notes:   []string{"a note"},
	}, nil
}

func TestPolicyVerbs(t *testing.T) {
	leader := &plane{}
	admin := serve(t, &plane{leader: serve(t, leader)})
	cluster := write(t, "cluster.yaml", "metrics:\n- {name: cpu_milli}\ngoals:\n- tier: 2\n  utilization: {metric: cpu_milli, percent: 80}\n")
	sound := write(t, "kv.yaml", "goals:\n- tier: 6\n  balance: {metric: cpu_milli}\n")
	unknown := write(t, "queue.yaml", "metrics: []\ngoals:\n- tier: 6\n  balance: {metric: disk}\n")
	clash := write(t, "mail.yaml", "goals:\n- tier: 2\n  utilization: {metric: cpu_milli, percent: 70}\n")
	spec := write(t, "spec.yaml", "name: kv\nkey_space:\n  hash:\n    shards: 12\npolicy:\n  constraints:\n  - name: fence\n    eligibility: {expression: server.hight > 3}\n")
	fence := write(t, "fence.yaml", "constraints:\n- {name: fence, eligibility: {expression: 'server.region == \"eu\"'}}\n")
	large := write(t, "large.yaml", "# "+strings.Repeat("x", 10<<20)+"\n")
	for _, test := range []struct {
		line string
		code int
		want []string // in stdout and stderr
	}{
		{"policy check " + sound + " --cluster " + cluster, exitOK, []string{sound, "app kv", "the cluster"}},
		{"policy check " + sound, exitUsage, []string{sound + ":3:", "cpu_milli"}},
		{"policy check " + unknown + " --cluster " + cluster, exitUsage, []string{unknown + ":4:", "disk"}},
		{"policy check " + clash + " --cluster " + cluster + " -o json", exitUsage, []string{clash + ":2: goals[0]", cluster + ":4: goals[0]", "conflict", `"sound":`}},
		{"policy check " + spec, exitUsage, []string{spec + ":8: policy.constraints[0].eligibility.expression", "unknown field of server"}},
		{"policy check " + large, exitUsage, []string{large, "at most"}},
		{"policy check nowhere.yaml", exitUsage, []string{"nowhere.yaml"}},
		{"policy check", exitUsage, []string{"expected FILE"}},
		{"policy show kv --shard 03 --admin " + admin, exitOK, []string{`name: "zones of 03"`, "policy of app kv: constraints[0]", "cluster.yaml:5", "default", "note: a note"}},
		{"policy show kv -o json --admin " + admin, exitOK, []string{`"atMost":`}},
		{"policy show --admin " + admin, exitUsage, []string{"APP"}},
		{"app create -f " + spec + " --admin " + admin, exitUsage, []string{spec + ":8: policy.constraints[0].eligibility.expression", "unknown field of server"}},
		{"simulate kv --policy " + fence + " --admin " + admin, exitOK, []string{"fence"}},
		{"simulate kv --policy " + unknown + " --admin " + admin, exitUsage, []string{"--policy", `unknown metric "disk"`}},
	} {
		code, out, errs := shell(t, strings.Fields(test.line)...)
		if code != test.code {
			t.Errorf("%s: exit %d, expected %d: %s%s", test.line, code, test.code, out, errs)
		}
		for _, want := range test.want {
			if !strings.Contains(out+errs, want) {
				t.Errorf("%s: no %q in %s%s", test.line, want, out, errs)
			}
		}
	}
}
