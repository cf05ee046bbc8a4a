package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func regionsCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:   "regions",
		Short: "Show the regions, their servers, and how far they are from each other",
		Long: "Show the regions, their servers, and how long a round trip between two of them takes: the median over pairs of agents, how far\n" +
			"these disagree (half their span), and how old the coordinates are. Agents measure it by gossip (gossip_listen): good to some 15 % after a minute and 10 %\n" +
			"after four where regions are few; many of them, as on a globe, fit worse. Inside a region it says no more than near: its floor is some milliseconds.\n" +
			"Where nothing is measured, or coordinates are older than five minutes or disagree by half, it is what the allocators have configured (region_latency).",
		Example: "  shardmanager regions\n  shardmanager regions -o json",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.ListRegions, &pb.ListRegionsRequest{})
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) { regionsTable(w, answer) })
		},
	}
	a.flags(c)
	return watched(c)
}

func regionsTable(w io.Writer, answer *pb.ListRegionsResponse) {
	row(w, "REGION", "SERVERS", "LOCATED AGENTS")
	for _, r := range answer.GetRegions() {
		row(w, dash(r.GetName()), fmt.Sprint(r.GetServers()), fmt.Sprint(r.GetLocatedAgents()))
	}
	if len(answer.GetLatencies()) == 0 {
		return
	}
	row(w)
	row(w, "FROM", "TO", "MEDIAN", "SOURCE", "ERROR", "AGE", "PAIRS")
	for _, l := range answer.GetLatencies() {
		cells := []string{l.GetFrom(), l.GetTo(), time.Duration(l.GetMedianNs()).Round(100 * time.Microsecond).String()}
		if l.GetConfigured() {
			row(w, append(cells, "configured", "-", "-", "-")...)
			continue
		}
		row(w, append(cells, "measured", fmt.Sprintf("%d %%", (l.GetErrorPermille()+5)/10), milliseconds(l.GetAgeMs()), fmt.Sprint(l.GetPairs()))...)
	}
}
