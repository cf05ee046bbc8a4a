package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestTransfersThereAndBack(t *testing.T) {
	want := []progress.Transfer{{Shard: "7", Order: shard.Order{Term: 2, Move: 3}, Received: 5, Total: 9}, {Shard: "8"}}
	if diff := cmp.Diff(want, wire.TransfersFromProto(wire.TransfersToProto(want))); diff != "" {
		t.Error(diff)
	}
	odd := wire.TransfersFromProto([]*pb.TransferProgress{{Shard: "7", ReceivedBytes: -1, TotalBytes: -1}})
	if diff := cmp.Diff([]progress.Transfer{{Shard: "7"}}, odd); diff != "" {
		t.Error(diff)
	}
}
