package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/gossip"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func gossipKey(of byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{of}, 32))
}

// takePart opens a member of gossip that joins another and encrypts with the first key.
func takePart(t *testing.T, role gossip.Role, name string, seeds ...string) *gossip.Node {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "keyring")
	if err := os.WriteFile(keyring, []byte(gossipKey(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := gossip.Open(gossip.Config{Listen: "127.0.0.1:0", Join: seeds, KeyFile: keyring}, gossip.Identity{Role: role, Cluster: "c1", Name: name, Region: "eu"}, gossip.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Run(ctx) // the end of ctx
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := n.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// await waits for a condition that gossip brings about.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for !condition() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-limit:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// refusal is the typed part of an error that must be there.
func refusal(t *testing.T, err error) *pb.ErrorDetail {
	t.Helper()
	detail, ok := wire.DetailOf(err)
	if !ok {
		t.Fatalf("no typed refusal: %v", err)
	}
	return detail
}

// A leader that takes no part says which setting that is; a follower names the leader.
func TestWithoutGossip(t *testing.T) {
	s := newServer(t)
	admin := shardmanagerv1connect.NewAdminServiceClient(s.endpoint.Client, s.endpoint.URL)
	calls := map[string]func() error{
		"members": func() error { _, err := admin.ListGossipMembers(t.Context(), nil); return err },
		"keys":    func() error { _, err := admin.ListGossipKeys(t.Context(), nil); return err },
		"rotate": func() error {
			_, err := admin.RotateGossipKey(t.Context(), &pb.RotateGossipKeyRequest{Step: pb.GossipKeyStep_GOSSIP_KEY_STEP_INSTALL, Key: gossipKey(2)})
			return err
		},
	}
	for name, call := range calls {
		if d := refusal(t, call()); d.GetReason() != pb.ErrorReason_ERROR_REASON_GOSSIP || d.GetSubject() != "gossip_listen" || !strings.Contains(d.GetExpected(), "takes no part") {
			t.Errorf("%s: %v", name, d)
		}
	}
	s.node.leader.view = func(context.Context) (*api.View, error) {
		return &api.View{Servers: []report.ServerStatus{{Server: shard.Server{ID: "x.kv", Agent: "x"}}}}, nil
	}
	if answer, err := admin.ListServers(t.Context(), nil); err != nil || answer.GetServers()[0].GetGossip() != pb.GossipStatus_GOSSIP_STATUS_UNSPECIFIED {
		t.Errorf("%v, %v", answer, err)
	}
	s.node.mu.Lock()
	s.node.leader = nil
	s.node.mu.Unlock()
	for name, call := range calls {
		if d := refusal(t, call()); d.GetReason() != pb.ErrorReason_ERROR_REASON_NOT_LEADER {
			t.Errorf("%s at a follower: %v", name, d)
		}
	}
}

// Servers show how their agents stand by the leader's gossip, and a rotation goes through the leader, step by step.
func TestGossip(t *testing.T) {
	leader := takePart(t, gossip.RoleAllocator, "a1")
	x := takePart(t, gossip.RoleAgent, "x", leader.Address())
	s := newServerIn(t, leader)
	s.node.leader.view = func(context.Context) (*api.View, error) {
		return &api.View{Servers: []report.ServerStatus{{Server: shard.Server{ID: "x.kv", Agent: "x"}}, {Server: shard.Server{ID: "a1.kv", Agent: "a1"}}}}, nil
	}
	admin := shardmanagerv1connect.NewAdminServiceClient(s.endpoint.Client, s.endpoint.URL)
	shows := func(want pb.GossipStatus) {
		t.Helper()
		await(t, "the agent is shown as "+want.String(), func() bool {
			answer, err := admin.ListServers(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.GetServers()[1].GetGossip(); got != pb.GossipStatus_GOSSIP_STATUS_UNSPECIFIED {
				t.Fatalf("an allocator's name is taken for an agent's: %s", got)
			}
			return answer.GetServers()[0].GetGossip() == want
		})
	}
	shows(pb.GossipStatus_GOSSIP_STATUS_ALIVE)
	members, err := admin.ListGossipMembers(t.Context(), nil)
	if err != nil || len(members.GetMembers()) != 2 {
		t.Fatalf("%v, %v", members, err)
	}
	want := &pb.GossipMember{Role: "agent", Name: "x", Region: "eu", Address: x.Address(), Status: pb.GossipStatus_GOSSIP_STATUS_ALIVE}
	if diff := cmp.Diff(want, members.GetMembers()[0], protocmp.Transform(), protocmp.IgnoreFields(&pb.GossipMember{}, "life")); diff != "" {
		t.Error(diff)
	}

	rotate := func(step pb.GossipKeyStep, key string) (*pb.RotateGossipKeyResponse, error) {
		return admin.RotateGossipKey(t.Context(), &pb.RotateGossipKeyRequest{Step: step, Key: key})
	}
	first, second := gossip.KeyName(gossipKey(1)), gossip.KeyName(gossipKey(2))
	if _, err := rotate(pb.GossipKeyStep_GOSSIP_KEY_STEP_UNSPECIFIED, second); connect.CodeOf(err) != connect.CodeInvalidArgument || refusal(t, err).GetSubject() != "step" {
		t.Errorf("no step: %v", err)
	}
	if _, err := rotate(pb.GossipKeyStep_GOSSIP_KEY_STEP_INSTALL, "c2hvcnQ="); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("a short key: %v", err)
	}
	if _, err := rotate(pb.GossipKeyStep_GOSSIP_KEY_STEP_USE, gossipKey(2)); refusal(t, err).GetReason() != pb.ErrorReason_ERROR_REASON_GOSSIP || strings.Contains(err.Error(), gossipKey(2)) {
		t.Errorf("a key that nobody has: %v", err)
	}
	for _, step := range []struct {
		step pb.GossipKeyStep
		key  string
	}{{pb.GossipKeyStep_GOSSIP_KEY_STEP_INSTALL, gossipKey(2)}, {pb.GossipKeyStep_GOSSIP_KEY_STEP_USE, second}, {pb.GossipKeyStep_GOSSIP_KEY_STEP_REMOVE, first}} {
		answer, err := rotate(step.step, step.key)
		if err != nil || answer.GetKey() != gossip.KeyName(step.key) || answer.GetMembers() != 2 || answer.GetAnswered() != 2 || answer.GetTrouble() != "" {
			t.Fatalf("%s: %v, %v", step.step, answer, err)
		}
	}
	keys, err := admin.ListGossipKeys(t.Context(), nil)
	if diff := cmp.Diff(&pb.ListGossipKeysResponse{Keys: []*pb.GossipKey{{Name: second, Members: 2, Primary: 2}}, Members: 2, Answered: 2}, keys, protocmp.Transform()); diff != "" || err != nil {
		t.Error(err, diff)
	}

	if err := x.Shutdown(); err != nil { // without a word
		t.Fatal(err)
	}
	keys, err = admin.ListGossipKeys(t.Context(), nil)
	if err != nil || keys.GetMembers() != 2 || keys.GetAnswered() != 1 || !strings.Contains(keys.GetTrouble(), "1 of 2 members did not answer") {
		t.Errorf("%v, %v", keys, err)
	}
	shows(pb.GossipStatus_GOSSIP_STATUS_FAILED)
}
