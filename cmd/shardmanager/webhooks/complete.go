package webhooks

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// completeWithin is how long somebody who pressed the tab key waits.
const completeWithin = time.Second

// complete has the shell complete the names of targets.
func complete(s shell.Shell, c *cobra.Command) *cobra.Command {
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		parent := c.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completeWithin)
		defer cancel()
		answer, _ := shell.Leader(ctx, s, shardmanagerv1connect.AdminServiceClient.ListWebhooks, &pb.ListWebhooksRequest{}) // who does not answer offers nothing
		var names []string
		for _, t := range answer.GetWebhooks() {
			if strings.HasPrefix(t.GetName(), begun) {
				names = append(names, t.GetName())
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}
