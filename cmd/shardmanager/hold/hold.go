// Package hold is the verbs `shardmanager hold` and `shardmanager quarantine`: what the leader keeps back until an operator releases it.
//
// Called by cmd/shardmanager. Everything is asked of the leader.
package hold

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Command is the verb; each of its own verbs gets a shell.
func Command(around func() shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "hold",
		Short: "Release a hold: let servers be fenced that were lost at once",
		Long: "When more than half of all servers are lost at once (hold_fraction) and no zone or region explains it, the leader suspects itself:\n" +
			"it holds, and fences nobody. `shardmanager status` and `shardmanager servers` say so. Whoever returns resumes.",
		RunE: around().Group,
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(releaseCommand(around()))
	return c
}

func releaseCommand(a shell.Shell) *cobra.Command {
	var question shell.Question
	c := &cobra.Command{
		Use:   "release",
		Short: "Give up the servers that are held now: they are fenced, and their shards go elsewhere",
		Long: "Give up the servers that are held now: they are fenced, and their shards go elsewhere. It is safe in any case: a server that lives\n" +
			"has no lease any more when another owns its shards. But the servers that are left must bear the load of all.",
		Example: "  shardmanager servers          # which are held, and why\n  shardmanager hold release",
		Args:    a.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := question.Ask(c, func() ([]string, error) { return releaseWould(c, a) }); err != nil {
				return err
			}
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.ReleaseHold, &pb.ReleaseHoldRequest{})
			if err != nil {
				return err
			}
			return a.Progress(c.OutOrStdout(), answer, fmt.Sprintf("hold released: %d servers are given up", answer.GetServers()))
		},
	}
	question.Flag(c)
	a.Flags(c)
	return c
}

// releaseWould says what to release a hold would do.
func releaseWould(c *cobra.Command, a shell.Shell) ([]string, error) {
	status, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
	if err != nil {
		return nil, err
	}
	if status.GetHold() == "" {
		return []string{"Nothing is held: nothing will happen."}, nil
	}
	return []string{
		"Held: " + status.GetHold() + ".",
		fmt.Sprintf("%d of %d servers are attached, and must bear the load of all: the others are fenced, and end what they do.", status.GetAttached(), status.GetServers()),
	}, nil
}
