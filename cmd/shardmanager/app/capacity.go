package app

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func capacityCommand(a shell.Shell) *cobra.Command {
	var utilisation, tolerance uint32
	c := &cobra.Command{
		Use:   "capacity NAME",
		Short: "Say how many servers an app needs, for whoever adds and removes them",
		Long: "Say how many servers an app needs: for its load, with so much of their capacity used; for its replicas to be apart; and with as many down as planned events\n" +
			"may take. An autoscaler or a script follows `wanted` of -o json: it is the present number as long as that is from least to most, and no smaller while\n" +
			"something moves or is missing (hold). Servers are removed by a request, so that nothing is lost:\n" +
			"`shardmanager maintenance request ID --kind decommission --server SERVER`.",
		Example: "  shardmanager app capacity kv\n  shardmanager app capacity kv --utilisation 60 -o json",
		Args:    a.Exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			request := &pb.AdviseCapacityRequest{App: args[0], UtilisationPercent: utilisation, TolerancePercent: tolerance}
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.AdviseCapacity, request)
			if err != nil {
				return err
			}
			return a.Print(c.OutOrStdout(), answer, func(w io.Writer) { capacityTable(w, answer) })
		},
	}
	c.Flags().Uint32Var(&utilisation, "utilisation", 70, "how much of their capacity servers are to use, in percent")
	c.Flags().Uint32Var(&tolerance, "tolerance", 10, "servers are needless only once so many percent less than that are used")
	a.Flags(c)
	return c
}

func capacityTable(w io.Writer, r *pb.AdviseCapacityResponse) {
	advice := "as they are"
	if n := int64(r.GetWanted()) - int64(r.GetServers()); n > 0 {
		advice = fmt.Sprintf("add %d", n)
	} else if n < 0 {
		advice = fmt.Sprintf("remove %d", -n)
	}
	shell.Row(w, "servers", fmt.Sprintf("%d; %s (%d to %d will do)", r.GetServers(), advice, r.GetLeast(), r.GetMost()))
	shell.Row(w, "because of", r.GetWhy())
	if r.GetHold() != "" {
		shell.Row(w, "remove none", r.GetHold())
	}
	shell.Row(w)
	shell.Row(w, "METRIC", "LOAD", "OF ONE SERVER", "USED", "SERVERS")
	for _, m := range r.GetMetrics() {
		shell.Row(w, m.GetMetric(), fmt.Sprint(m.GetLoad()), fmt.Sprint(m.GetServer()), fmt.Sprintf("%d %%", m.GetUtilisationPercent()), fmt.Sprint(m.GetServers()))
	}
	shell.Row(w)
	shell.Row(w, "REGION", "SERVERS", "LEAST")
	for _, g := range r.GetRegions() {
		shell.Row(w, g.GetRegion(), fmt.Sprint(g.GetServers()), fmt.Sprint(g.GetLeast()))
	}
}
