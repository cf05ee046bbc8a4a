package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/gossip"
	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/figures"
	"github.com/shardmanager/shardmanager/internal/filter"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func mapCommand() *cobra.Command {
	var a adminClient
	var only verbs.Filter
	c := &cobra.Command{
		Use:   "map APP",
		Short: "Show who serves which shard",
		Long:  "Show who serves which shard. With --filter, -o json and yaml print rows, too, where they else print the map as it travels, in columns.",
		Example: "  shardmanager map kv\n  shardmanager map kv -o json\n" +
			"  shardmanager map kv --filter 'primary == \"\" || secondaries.size() < 2'",
		Args: exactly("APP"),
		RunE: func(c *cobra.Command, args []string) error {
			picked, err := only.Compile(new(pb.ShardMapRow), refuse)
			if err != nil {
				return err
			}
			request := &pb.AdminServiceGetShardMapRequest{App: args[0]}
			answer, err := anyAllocator(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.GetShardMap, request)
			if err != nil {
				return err
			}
			if a.forPrograms() && !only.Given() {
				return a.print(c.OutOrStdout(), answer.GetSnapshot(), nil)
			}
			shards, err := wire.SnapshotFromProto(answer.GetSnapshot())
			if err != nil {
				return fmt.Errorf("map %s: %w", args[0], err)
			}
			rows, err := filter.Rows(picked, mapRows(shards))
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), &pb.ShardMapRows{Rows: rows}, func(w io.Writer) { mapTable(w, rows) })
		},
	}
	only.Flag(c)
	a.flags(c)
	return watched(c)
}

func mapRows(shards *shard.Map) (rows []*pb.ShardMapRow) {
	for i := range shard.Index(shards.Space.Shards) {
		id := string(shards.ID(i))
		if id == "" {
			continue // of a named key space: deleted
		}
		r := &pb.ShardMapRow{Shard: id}
		for k := 0; shards.Secondary(i, k) != nil; k++ {
			r.Secondaries = append(r.Secondaries, string(shards.Secondary(i, k).ID))
		}
		if server, term := shards.Lookup(i); server != nil {
			r.Primary, r.Address, r.Term = string(server.ID), server.DataAddress, uint64(term)
		}
		rows = append(rows, r)
	}
	return rows
}

func mapTable(w io.Writer, rows []*pb.ShardMapRow) {
	row(w, "SHARD", "PRIMARY", "ADDRESS", "TERM", "SECONDARIES")
	for _, r := range rows {
		others := dash(strings.Join(r.GetSecondaries(), ", "))
		if r.GetPrimary() == "" {
			row(w, r.GetShard(), "-", "-", "-", others)
			continue
		}
		row(w, r.GetShard(), r.GetPrimary(), r.GetAddress(), fmt.Sprint(r.GetTerm()), others)
	}
}

func serversCommand() *cobra.Command {
	var a adminClient
	var app string
	var only verbs.Filter
	c := &cobra.Command{
		Use:   "servers",
		Short: "List servers, where they are and how they stand",
		Long: "List servers, where they are and how they stand. With -o wide also what their hosts use, the version of\n" +
			"their agents, and how those stand by the leader's gossip (gossip_listen): alive, leaving, left, failed, or unknown. That is a hint; the\n" +
			"state is what counts.",
		Example: "  shardmanager servers\n  shardmanager servers --app kv -o wide\n  shardmanager servers --filter 'server.locality.region == \"eu\" && shards > 10'",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			picked, err := only.Compile(new(pb.ServerStatus), refuse)
			if err != nil {
				return err
			}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{App: app})
			if err != nil {
				return err
			}
			if answer.Servers, err = filter.Rows(picked, answer.GetServers()); err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) { serversTable(w, answer.GetServers(), a.format == wide) })
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app's (default all)")
	only.Flag(c)
	a.flags(c, wide)
	return watched(c)
}

func serversTable(w io.Writer, servers []*pb.ServerStatus, measured bool) {
	header := []string{"SERVER", "STATE", "PRIMARIES", "SECONDARIES", "MOVES", "REGION", "ZONE", "ADDRESS", "VERSION", "RENEWED", "REASON"}
	if measured {
		header = append(header, append(figures.UsageHeader(), "CAPACITY", "GOSSIP", "AGENT")...)
	}
	row(w, header...)
	for _, s := range servers {
		state := enumName(s.GetState().String(), "SERVER_STATE_")
		if s.GetDraining() {
			state += ", draining"
		}
		reason := s.GetReason()
		if left := time.Duration(s.GetProbationMs()) * time.Millisecond; left > 0 {
			state += ", on probation"
			reason = strings.TrimPrefix(reason+"; no shards for "+left.Round(time.Second).String()+": "+s.GetProbationReason(), "; ")
		}
		renewed := milliseconds(s.GetLastRenewalMs())
		if renewed != "-" {
			renewed += " ago"
		}
		server := s.GetServer()
		cells := []string{server.GetId(), state, fmt.Sprint(s.GetShards()), fmt.Sprint(s.GetSecondaries()), fmt.Sprint(s.GetMoves()), dash(server.GetLocality().GetRegion()),
			dash(server.GetLocality().GetZone()), dash(server.GetDataAddress()), dash(server.GetVersion()), renewed, dash(reason)}
		if measured {
			cells = append(cells, append(figures.Usage(s.GetUsage()), figures.Capacity(server.GetCapacity()), gossip.Status(s.GetGossip()), dash(s.GetAgentVersion()))...)
		}
		row(w, cells...)
	}
}

func movesCommand() *cobra.Command {
	var a adminClient
	var app string
	var only verbs.Filter
	c := &cobra.Command{
		Use:     "moves",
		Short:   "List moves under way and the latest finished ones; abort or skip what is stuck",
		Example: "  shardmanager moves\n  shardmanager moves --app kv\n  shardmanager moves --filter 'from == \"node-1.kv\" && ageMs > 60000'\n  shardmanager moves abort kv 07",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			picked, err := only.Compile(new(pb.MoveStatus), refuse)
			if err != nil {
				return err
			}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.ListMoves, &pb.ListMovesRequest{App: app})
			if err != nil {
				return err
			}
			if answer.Open, err = filter.Rows(picked, answer.GetOpen()); err != nil {
				return err
			}
			if answer.Finished, err = filter.Rows(picked, answer.GetFinished()); err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) {
				movesTable(w, append(answer.GetOpen(), answer.GetFinished()...))
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app's (default all)")
	only.Flag(c)
	a.flags(c)
	c.AddCommand(movesAbortCommand(), movesSkipCommand())
	return watched(c)
}

func movesTable(w io.Writer, moves []*pb.MoveStatus) {
	row(w, "APP", "SHARD", "MOVE", "FROM", "TO", "WHY", "STEP", "AGE", "IN STEP", "DEADLINE", "ATTEMPTS", "DETAIL")
	for _, m := range moves {
		inStep, deadline := milliseconds(m.GetStepAgeMs()), milliseconds(m.GetDeadlineMs())
		if m.GetStep() >= pb.MoveStep_MOVE_STEP_DONE {
			inStep, deadline = "-", "-"
		}
		row(w, m.GetApp(), m.GetShard(), fmt.Sprint(m.GetMove()), dash(m.GetFrom()), dash(m.GetTo()), enumName(m.GetReason().String(), "MOVE_REASON_"),
			enumName(m.GetStep().String(), "MOVE_STEP_"), milliseconds(m.GetAgeMs()), inStep, deadline, fmt.Sprint(m.GetAttempts()), dash(figures.Progress(m)))
	}
}

func statusCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show who leads and how healthy the allocator is",
		Example: "  shardmanager status --admin 10.0.0.1:7440,10.0.0.2:7440",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := anyAllocator(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) { statusTable(w, answer) })
		},
	}
	a.flags(c)
	return watched(c)
}

func statusTable(w io.Writer, s *pb.GetStatusResponse) {
	leader := "none known"
	if s.GetLeader() != "" {
		leader = strings.TrimSpace(s.GetLeader() + " " + s.GetLeaderAddress())
	}
	row(w, "cluster", s.GetCluster())
	row(w, "allocator", s.GetAllocator())
	row(w, "leading", yes(s.GetLeading()))
	row(w, "leader", leader)
	row(w, "store", firstOf(s.GetStoreError(), "good"))
	if s.GetLeading() { // only the leader knows
		row(w, "epoch", wire.EpochFromProto(s.GetEpoch()).String())
		row(w, "unplaced shards", fmt.Sprint(s.GetUnplaced()))
		row(w, "lacking replicas", verbs.Shards(s.GetLacking()))
		row(w, "open moves", fmt.Sprint(s.GetOpenMoves()))
		row(w, "hold", firstOf(s.GetHold(), "none"))
		row(w, "servers", fmt.Sprintf("%d, %d attached, %d suspected", s.GetServers(), s.GetAttached(), s.GetSuspected()))
		row(w, "lock proven", milliseconds(s.GetLockAgeMs())+" ago")
		row(w, "loop", fmt.Sprintf("%s late at most, %d waiting", milliseconds(s.GetLoopLateMs()), s.GetLoopWaiting()))
		row(w, "quarantine", verbs.Shards(s.GetQuarantined()))
	}
	row(w, "goroutines", fmt.Sprint(s.GetGoroutines()))
	row(w, "version", s.GetVersion())
}
