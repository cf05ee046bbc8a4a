package wire

import (
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// TransfersToProto converts transfers.
func TransfersToProto(list []progress.Transfer) []*pb.TransferProgress {
	var out []*pb.TransferProgress
	for _, t := range list {
		out = append(out, &pb.TransferProgress{
			Shard: string(t.Shard), Term: uint64(t.Order.Term), Move: uint64(t.Order.Move), ReceivedBytes: t.Received, TotalBytes: t.Total,
		})
	}
	return out
}

// TransfersFromProto converts transfers. They are news for people, so numbers that make no sense become 0.
func TransfersFromProto(list []*pb.TransferProgress) []progress.Transfer {
	var out []progress.Transfer
	for _, t := range list {
		out = append(out, progress.Transfer{
			Shard: shard.ID(t.GetShard()), Order: shard.Order{Term: shard.Term(t.GetTerm()), Move: shard.MoveID(t.GetMove())},
			Received: max(t.GetReceivedBytes(), 0), Total: max(t.GetTotalBytes(), 0),
		})
	}
	return out
}
