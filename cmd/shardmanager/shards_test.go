package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func (p *plane) CreateShards(_ context.Context, r *pb.CreateShardsRequest) (*pb.CreateShardsResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if slices.Contains(r.GetShards(), "taken") {
		return nil, wire.Error(connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_CONFLICT, "shards", "a new id", "")
	}
	if slices.Contains(r.GetShards(), "a/b") {
		return nil, wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "shards", `expected a name, not "a/b"`, "")
	}
	return new(pb.CreateShardsResponse), nil
}

func (p *plane) DeleteShards(_ context.Context, r *pb.DeleteShardsRequest) (*pb.DeleteShardsResponse, error) {
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if r.GetApp() != "mail" || slices.Contains(r.GetShards(), "nobody") {
		return nil, wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "shard", "a shard of the app", "")
	}
	return new(pb.DeleteShardsResponse), nil
}

func TestShards(t *testing.T) {
	leader := &plane{}
	admin := serve(t, &plane{leader: serve(t, leader)})
	for _, test := range []struct {
		line  string
		code  int
		shows string
	}{
		{"shards create mail inbox-1 inbox-2", exitOK, "mail: created inbox-1, inbox-2"},
		{"shards create mail inbox-1 -o json", exitOK, "{"},
		{"shards create mail inbox-1 taken", exitFailure, "a new id"},
		{"shards create mail a/b", exitFailure, `expected a name, not "a/b"`},
		{"shards create mail", exitUsage, "expected SHARD; usage: shardmanager shards create APP SHARD…"},
		{"shards create", exitUsage, "expected APP"},
		{"shards delete mail inbox-1", exitOK, "mail: deleted inbox-1"},
		{"shards delete mail inbox-1 nobody", exitFailure, "a shard of the app"},
		{"shards delete other inbox-1", exitFailure, "a shard of the app"},
		{"shards delete mail", exitUsage, "expected SHARD"},
	} {
		code, out, errs := shell(t, append(strings.Fields(test.line), "--admin", admin)...)
		if code != test.code || !strings.Contains(out+errs, test.shows) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; expected exit %d and %q", test.line, code, out, errs, test.code, test.shows)
		}
		if (code == exitOK) != (errs == "") || (code == exitOK) == (out == "") {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", test.line, code, out, errs)
		}
	}
	if leader.calls.Load() != 7 {
		t.Errorf("%d calls of the leader, want 7: those that are well formed", leader.calls.Load())
	}
}
