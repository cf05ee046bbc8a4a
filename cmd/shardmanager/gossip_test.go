package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func (p *plane) ListGossipMembers(context.Context, *pb.ListGossipMembersRequest) (*pb.ListGossipMembersResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	return &pb.ListGossipMembersResponse{Members: []*pb.GossipMember{
		{Life: "agent.node-1.0f", Role: "agent", Name: "node-1", Region: "eu", Address: "127.0.0.1:7430", Status: pb.GossipStatus_GOSSIP_STATUS_LEFT, Apps: []string{"kv", "mail"}},
	}}, nil
}

func (p *plane) ListGossipKeys(context.Context, *pb.ListGossipKeysRequest) (*pb.ListGossipKeysResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	answer := &pb.ListGossipKeysResponse{Keys: []*pb.GossipKey{{Name: "1f4c09a83b77", Members: 3, Primary: 2}}, Members: 3, Answered: 3}
	if p.left.Load() > 0 {
		answer.Answered, answer.Trouble = 2, "list key: 1 of 3 members did not answer"
	}
	return answer, nil
}

func (p *plane) RotateGossipKey(_ context.Context, r *pb.RotateGossipKeyRequest) (*pb.RotateGossipKeyResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	answer := &pb.RotateGossipKeyResponse{Key: "of " + r.GetKey(), Members: 3, Answered: 3}
	switch r.GetStep() {
	case pb.GossipKeyStep_GOSSIP_KEY_STEP_USE:
		answer.Answered, answer.Trouble = 2, "use key: 1 of 3 members did not answer"
	case pb.GossipKeyStep_GOSSIP_KEY_STEP_REMOVE:
		return nil, wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_GOSSIP, "", "remove key: 1 of 3 members encrypt with it", "")
	case pb.GossipKeyStep_GOSSIP_KEY_STEP_INSTALL, pb.GossipKeyStep_GOSSIP_KEY_STEP_UNSPECIFIED:
	}
	return answer, nil
}

// A step that not all members answered prints what was answered, and fails.
func TestGossipVerbs(t *testing.T) {
	leader, silent := &plane{}, &plane{}
	silent.left.Store(1)
	admins := map[bool]string{true: serve(t, &plane{leader: serve(t, leader)}), false: serve(t, silent)}
	for _, test := range []struct {
		line        string
		whole       bool // every member answers lists
		code        int
		out, errors string
	}{
		{"gossip members", true, exitOK, "agent  node-1  left    127.0.0.1:7430  eu      -     -        kv,mail  agent.node-1.0f\n", ""},
		{"gossip members -o json", true, exitOK, `"GOSSIP_STATUS_LEFT"`, ""},
		{"gossip keys list", true, exitOK, "KEY           MEMBERS  ENCRYPT WITH IT\n1f4c09a83b77  3/3      2/3\n", ""},
		{"gossip keys list", false, exitFailure, "1f4c09a83b77", "list key: 1 of 3 members did not answer: repeat this until all members answer"},
		{"gossip keys list -o json", false, exitFailure, `"trouble"`, "repeat this"},
		{"gossip keys install AAAA", true, exitOK, "install of AAAA: 3 of 3 members answered\n", ""},
		{"gossip keys install -", true, exitOK, "install of from-stdin: 3 of 3 members answered\n", ""},
		{"gossip keys use 1f4c", true, exitFailure, "use of 1f4c: 2 of 3 members answered\n", "use key: 1 of 3 members did not answer: repeat this"},
		{"gossip keys use 1f4c -o json", true, exitFailure, `"answered":2`, "repeat this"},
		{"gossip keys remove 1f4c", true, exitFailure, "", "refused: gossip: remove key: 1 of 3 members encrypt with it"},
		{"gossip keys remove", true, exitUsage, "", "expected KEY"},
	} {
		stdin(t, "from-stdin\n")
		code, out, errs := shell(t, append(strings.Fields(test.line), "--admin", admins[test.whole])...)
		text := strings.ReplaceAll(out, `": `, `":`)
		if code != test.code || !strings.Contains(text, test.out) || !strings.Contains(errs, test.errors) || (test.out == "") != (out == "") || (test.errors == "") != (errs == "") {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", test.line, code, out, errs)
		}
	}
	code, out, _ := shell(t, "gossip", "keys", "--help")
	at := strings.Index(out, "1. install")
	if at < 0 || strings.Index(out, "2. use") < at || strings.Index(out, "3. remove") < strings.Index(out, "2. use") || code != exitOK {
		t.Errorf("the help tells no three steps: %q", out)
	}
}

// stdin makes a text what commands read, until the test ends.
func stdin(t *testing.T, text string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = r
	t.Cleanup(func() {
		os.Stdin = before
		_ = r.Close()
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
