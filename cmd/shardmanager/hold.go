package main

import (
	"fmt"

	"github.com/spf13/cobra"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func holdCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "hold",
		Short: "Release a hold: let servers be fenced that were lost at once",
		Long: "When more than half of all servers are lost at once (hold_fraction) and no zone or region explains it, the leader suspects itself:\n" +
			"it holds, and fences nobody. `shardmanager status` and `shardmanager servers` say so. Whoever returns resumes.",
		RunE: needsVerb,
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(holdReleaseCommand())
	return c
}

func holdReleaseCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:   "release",
		Short: "Give up the servers that are held now: they are fenced, and their shards go elsewhere",
		Long: "Give up the servers that are held now: they are fenced, and their shards go elsewhere. It is safe in any case: a server that lives\n" +
			"has no lease any more when another owns its shards. But the servers that are left must bear the load of all.",
		Example: "  shardmanager servers          # which are held, and why\n  shardmanager hold release",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.ReleaseHold, &pb.ReleaseHoldRequest{})
			if err != nil {
				return err
			}
			return a.progress(c.OutOrStdout(), answer, fmt.Sprintf("hold released: %d servers are given up", answer.GetServers()))
		},
	}
	a.flags(c)
	return c
}
