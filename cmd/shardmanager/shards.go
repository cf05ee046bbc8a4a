package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func shardsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "shards",
		Short: "Create and delete shards of an app with a named key space",
		Long: "Create and delete shards of an app with a named key space, in which the application names its shards. Where shards are, `shardmanager map`\n" +
			"tells.",
		Args: cobra.ArbitraryArgs,
		RunE: needsVerb,
	}
	c.AddCommand(shardsCreateCommand(), shardsDeleteCommand())
	return c
}

func shardsCreateCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:     "create APP SHARD…",
		Short:   "Create shards, all of them or none",
		Long:    "Create shards, all of them or none. The answer comes once they are durable; they are placed at once.",
		Example: "  shardmanager shards create mail inbox-1 inbox-2",
		Args:    atLeast("APP", "SHARD"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.CreateShards,
				&pb.CreateShardsRequest{App: args[0], Shards: args[1:]})
			if err != nil {
				return err
			}
			return a.progress(c.OutOrStdout(), answer, args[0]+": created "+strings.Join(args[1:], ", "))
		},
	}
	a.flags(c)
	return c
}

func shardsDeleteCommand() *cobra.Command {
	var a adminClient
	var question verbs.Question
	c := &cobra.Command{
		Use:   "delete APP SHARD…",
		Short: "Delete shards, all of them or none",
		Long: "Delete shards, all of them or none, also while they move. The answer comes once that is durable: nobody is sent to them any more. Whoever\n" +
			"holds one drops it, and once nobody does, its id may be used again. What the application stored for a shard is the application's to remove.",
		Example: "  shardmanager shards delete mail inbox-2",
		Args:    atLeast("APP", "SHARD"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := question.Ask(c, func() ([]string, error) {
				return []string{fmt.Sprintf("%s of app %s are deleted: %s.", verbs.Shards(uint32(len(args)-1)), args[0], strings.Join(args[1:], ", ")), //nolint:gosec // arguments are few
					"Their holders drop them. What the application stored for them is the application's to remove."}, nil
			}); err != nil {
				return err
			}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.DeleteShards,
				&pb.DeleteShardsRequest{App: args[0], Shards: args[1:]})
			if err != nil {
				return err
			}
			return a.progress(c.OutOrStdout(), answer, args[0]+": deleted "+strings.Join(args[1:], ", "))
		},
	}
	question.Flag(c)
	a.flags(c)
	return c
}
