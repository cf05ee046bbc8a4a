package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func leaderCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:     "leader",
		Short:   "Show which allocator leads; exit code 1 if none does",
		Example: "  shardmanager leader\n  shardmanager leader -o json | jq -r .leaderAddress",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := anyAllocator(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
			if err != nil {
				return err
			}
			if answer.GetLeader() == "" {
				return errors.New("no allocator leads, as far as " + answer.GetAllocator() + " knows: ask again in a moment, then see `shardmanager status` at each of them")
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) {
				row(w, "LEADER", "ADDRESS", "EPOCH")
				epoch := "-" // only the leader knows
				if answer.GetLeading() {
					epoch = wire.EpochFromProto(answer.GetEpoch()).String()
				}
				row(w, answer.GetLeader(), dash(answer.GetLeaderAddress()), epoch)
			})
		},
	}
	a.flags(c)
	return watched(c)
}
