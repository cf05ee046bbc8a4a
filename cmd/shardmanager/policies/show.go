// Package policies is the verb `shardmanager policy`: it checks policies in files, and shows what holds for an app.
//
// Called by cmd/shardmanager. What a policy means, allocator/policy knows.
package policies

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Command is the verb; each of its own verbs gets a shell.
func Command(around func() shell.Shell) *cobra.Command {
	top := around()
	c := &cobra.Command{
		Use:   "policy",
		Short: "Check policies, and show what holds for an app",
		Long: "Check policies, and show what holds for an app: the cluster's defaults (shardmanager allocator --policy), the policy in the app's spec, and what that says\n" +
			"of single shards. docs/policy.md says how they are written.",
		Args: cobra.ArbitraryArgs,
		RunE: top.Group,
	}
	c.AddCommand(checkCommand(around()), showCommand(around()))
	return c
}

func showCommand(s shell.Shell) *cobra.Command {
	var id string
	c := &cobra.Command{
		Use:     "show APP",
		Short:   "Show what holds for an app, or for one shard of it, and where each statement comes from",
		Example: "  shardmanager policy show kv\n  shardmanager policy show kv --shard us-0001 -o json",
		Args:    s.Exactly("APP"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.GetPolicy, &pb.GetPolicyRequest{App: args[0], Shard: id})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) { table(w, answer) })
		},
	}
	c.Flags().StringVar(&id, "shard", "", "`ID` of one shard, as `shardmanager map APP` shows it (default what holds for all)")
	s.Flags(c)
	return c
}

// table shows a statement a line, as it would be written.
func table(w io.Writer, a *pb.GetPolicyResponse) {
	from := map[string]string{}
	for _, o := range a.GetOrigins() {
		from[o.GetField()] = o.GetOrigin()
	}
	line := func(what, text, field string) {
		origin := from[field]
		if origin == "" {
			origin = "default"
		}
		shell.Row(w, what, text, origin)
	}
	p := a.GetEffective()
	shell.Row(w, "WHAT", "SAYS", "FROM")
	for i, m := range p.GetMetrics() {
		line("metric", written(m), fmt.Sprintf("metrics[%d]", i))
	}
	for i, c := range p.GetConstraints() {
		line("constraint", written(c), fmt.Sprintf("constraints[%d]", i))
	}
	for i, g := range p.GetGoals() {
		line("goal", written(g), fmt.Sprintf("goals[%d]", i))
	}
	line("moves of the app", fmt.Sprint(p.GetMoves().GetApp()), "moves.app")
	line("moves of a server", fmt.Sprint(p.GetMoves().GetServer()), "moves.server")
	line("moves of a shard", fmt.Sprint(p.GetMoves().GetShard()), "moves.shard")
	shell.Row(w, "group", p.GetGroup())
	for _, note := range a.GetNotes() {
		shell.Row(w, "note: "+note)
	}
}

// written is a statement as people write it, on one line.
func written(m proto.Message) string {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return err.Error()
	}
	var value map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return err.Error()
	}
	return flow(value)
}
