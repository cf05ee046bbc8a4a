package shell

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const (
	// completeWithin is how long somebody who pressed the tab key waits for a cluster.
	completeWithin = time.Second
	// completeMost is how many names are offered at once.
	completeMost = 200
)

// Complete has the shell complete what commands name: apps, servers, shards and planned events, as the cluster knows them. client is that of a command
// line which is not finished.
func Complete(c *cobra.Command, client func(*cobra.Command) *operator.Client) {
	for _, sub := range c.Commands() {
		Complete(sub, client)
	}
	if wants := strings.Fields(c.Use)[1:]; len(wants) > 0 && c.ValidArgsFunction == nil && wants[0] != "-f" {
		c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			want := strings.Trim(wants[min(len(args), len(wants)-1)], "[]….")
			if len(args) >= len(wants) && !strings.ContainsAny(wants[len(wants)-1], "….") {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			if want == "FILE" || want == "DIR" {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return names(c, client(c), want, args, begun), cobra.ShellCompDirectiveNoFileComp
		}
	}
	if c.Flags().Lookup("app") != nil {
		_ = c.RegisterFlagCompletionFunc("app", func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) { // fails only where it has one
			return names(c, client(c), "APP", args, begun), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// names asks the cluster for names of a kind; none if it does not answer.
func names(c *cobra.Command, client *operator.Client, kind string, args []string, begun string) []string {
	parent := c.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeWithin)
	defer cancel()
	var found []string
	offer := func(name string) {
		if strings.HasPrefix(name, begun) && len(found) < completeMost {
			found = append(found, name)
		}
	}
	switch { // who does not answer offers nothing: there is nobody to tell
	case kind == "APP" || kind == "NAME" && c.Name() != "create":
		answer, _ := operator.Leader(ctx, client, shardmanagerv1connect.AdminServiceClient.ListApps, &pb.ListAppsRequest{})
		for _, spec := range answer.GetSpecs() {
			offer(spec.GetName())
		}
	case kind == "SERVER":
		answer, _ := operator.Leader(ctx, client, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
		for _, s := range answer.GetServers() {
			offer(s.GetServer().GetId())
		}
	case kind == "SHARD" && len(args) > 0:
		answer, _ := operator.Any(ctx, client, shardmanagerv1connect.AdminServiceClient.GetShardMap, &pb.AdminServiceGetShardMapRequest{App: args[0]})
		m, err := wire.SnapshotFromProto(answer.GetSnapshot())
		if err != nil {
			return nil
		}
		for i := range shard.Index(m.Space.Shards) {
			if id := string(m.ID(i)); id != "" {
				offer(id)
			}
		}
	case kind == "ID" && c.Name() != "request" && c.Name() != "rollout":
		answer, _ := operator.Leader(ctx, client, shardmanagerv1connect.AdminServiceClient.ListMaintenance, &pb.ListMaintenanceRequest{})
		for _, e := range answer.GetEvents() {
			offer(e.GetRequest().GetId())
		}
	}
	return found
}
