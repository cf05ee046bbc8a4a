package hold

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Quarantine is the verb of quarantine; each of its own verbs gets a shell.
func Quarantine(around func() shell.Shell) *cobra.Command {
	a := around()
	var app string
	c := &cobra.Command{
		Use:   "quarantine",
		Short: "List shards that are not placed any more because servers died of them; release one",
		Long: "A shard that several servers died of within minutes (quarantine_deaths, quarantine_window) is not placed any more, so that it kills\n" +
			"no further ones. Nobody serves it until an operator has found the cause and releases it.",
		Example: "  shardmanager quarantine\n  shardmanager quarantine release kv 042",
		Args:    a.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.ListQuarantined, &pb.ListQuarantinedRequest{App: app})
			if err != nil {
				return err
			}
			return a.Print(c.OutOrStdout(), answer, func(w io.Writer) {
				shell.Row(w, "APP", "SHARD", "REASON")
				for _, q := range answer.GetShards() {
					shell.Row(w, q.GetApp(), q.GetShard(), q.GetReason())
				}
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app's (default all)")
	a.Flags(c)
	c.AddCommand(quarantineReleaseCommand(around()))
	return c
}

func quarantineReleaseCommand(a shell.Shell) *cobra.Command {
	var question shell.Question
	c := &cobra.Command{
		Use:     "release APP SHARD",
		Short:   "Place a shard again that is in quarantine",
		Example: "  shardmanager quarantine release kv 042",
		Args:    a.Exactly("APP", "SHARD"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := question.Ask(c, func() ([]string, error) { return placeAgainWould(c, a, args[0], args[1]) }); err != nil {
				return err
			}
			request := &pb.ReleaseQuarantineRequest{App: args[0], Shard: args[1]}
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.ReleaseQuarantine, request)
			if err != nil {
				return err
			}
			return a.Progress(c.OutOrStdout(), answer, fmt.Sprintf("shard %s of %s is placed again", args[1], args[0]))
		},
	}
	question.Flag(c)
	a.Flags(c)
	return c
}

// placeAgainWould says what to release a shard from quarantine would do.
func placeAgainWould(c *cobra.Command, a shell.Shell, app, id string) ([]string, error) {
	answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.ListQuarantined, &pb.ListQuarantinedRequest{App: app})
	if err != nil {
		return nil, err
	}
	for _, q := range answer.GetShards() {
		if q.GetShard() == id {
			return []string{fmt.Sprintf("%s/%s is in quarantine: %s.", app, id, q.GetReason()), "It goes to a server again, which may die of it like the others."}, nil
		}
	}
	return []string{fmt.Sprintf("%s/%s is in no quarantine.", app, id)}, nil
}
