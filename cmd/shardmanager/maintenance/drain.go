package maintenance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Drain is the verb `shardmanager drain`.
func Drain(s shell.Shell) *cobra.Command {
	var undo, wait bool
	var question shell.Question
	var patience time.Duration
	c := &cobra.Command{
		Use:   "drain SERVER",
		Short: "Move every shard away from a server and keep new ones off",
		Long: "Move every shard away from a server and keep new ones off, until undone: the wish is durable and outlives restarts of the server.\n" +
			"A server is <agent>.<app>.",
		Example: "  shardmanager drain node-1.kv --wait\n  shardmanager drain node-1.kv --undo",
		Args:    s.Exactly("SERVER"),
		RunE: func(c *cobra.Command, args []string) error {
			if undo && wait {
				return s.Refuse(errors.New("drain: --wait waits for a drain, --undo takes it back: expected one of them"))
			}
			if !undo {
				if err := question.Ask(c, func() ([]string, error) { return drainWould(c.Context(), s, args[0]) }); err != nil {
					return err
				}
			}
			request := &pb.DrainServerRequest{Server: args[0], Undo: undo}
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.DrainServer, request)
			if err != nil {
				return err
			}
			if wait {
				ctx, cancel := context.WithTimeout(c.Context(), patience)
				defer cancel()
				return awaitDrain(ctx, s, c, args[0], patience, answer)
			}
			text := fmt.Sprintf("%s: draining, %s left", args[0], shell.Shards(answer.GetRemaining()))
			if undo {
				text = args[0] + ": takes shards again"
			}
			return s.Progress(c.OutOrStdout(), answer, text)
		},
	}
	c.Flags().BoolVar(&undo, "undo", false, "take the drain back")
	c.Flags().BoolVar(&wait, "wait", false, "wait until no shard and no move is left")
	c.Flags().DurationVar(&patience, "timeout", 10*time.Minute, "how long --wait waits; the drain goes on after it")
	question.Flag(c)
	s.Flags(c)
	return c
}

// drainWould says what a drain of a server would do.
func drainWould(ctx context.Context, s shell.Shell, server string) ([]string, error) {
	answer, err := shell.Leader(ctx, s, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
	if err != nil {
		return nil, err
	}
	status, others := statusOf(answer.GetServers(), server), 0
	for _, o := range answer.GetServers() {
		if o.GetServer().GetApp() == status.GetServer().GetApp() && o.GetState() == pb.ServerState_SERVER_STATE_ATTACHED && !o.GetDraining() && o != status {
			others++
		}
	}
	return []string{
		fmt.Sprintf("%s is primary of %s and secondary of %s: all go elsewhere.", server, shell.Shards(status.GetShards()), shell.Shards(status.GetSecondaries())),
		fmt.Sprintf("It takes no others until `shardmanager undrain %s`; %d other servers of its app take shards.", server, others),
	}, nil
}

// Undrain is `drain --undo` for people who look for it.
func Undrain(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "undrain SERVER",
		Short:   "Let a drained server take shards again",
		Example: "  shardmanager undrain node-1.kv",
		Args:    s.Exactly("SERVER"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.DrainServer, &pb.DrainServerRequest{Server: args[0], Undo: true})
			if err != nil {
				return err
			}
			return s.Progress(c.OutOrStdout(), answer, args[0]+": takes shards again")
		},
	}
	s.Flags(c)
	return c
}

// awaitDrain follows a drain to its end. A leader that changes meanwhile is waited for.
func awaitDrain(ctx context.Context, s shell.Shell, c *cobra.Command, server string, patience time.Duration, last *pb.DrainServerResponse) error {
	w, bar, all := c.OutOrStdout(), shell.NewBar(c), last.GetRemaining()
	defer bar.Clear()
	shown := uint32(0)
	ticker := time.NewTicker(Look)
	defer ticker.Stop()
	for {
		left := last.GetRemaining()
		all = max(all, left)
		if bar.Show(uint64(all-left), uint64(all), server+": "+shell.Shards(left)+" left"); bar == nil && left != shown {
			if err := s.Progress(w, last, fmt.Sprintf("%s: %s left", server, shell.Shards(left))); err != nil {
				return err
			}
			shown = left
		}
		answer, err := shell.Leader(ctx, s, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
		_, said := wire.DetailOf(err)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("drain: %s still has %s after %s: see `shardmanager moves`; the drain goes on", server, shell.Shards(last.GetRemaining()), patience)
		case err != nil && said:
			return err
		case err == nil:
			status := statusOf(answer.GetServers(), server)
			last = &pb.DrainServerResponse{Remaining: status.GetShards() + status.GetSecondaries()}
			if status.GetShards() == 0 && status.GetSecondaries() == 0 && status.GetMoves() == 0 {
				bar.Clear()
				return s.Progress(w, last, server+": drained")
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// statusOf is nil, which has no shards, if the server is gone.
func statusOf(servers []*pb.ServerStatus, id string) *pb.ServerStatus {
	for _, s := range servers {
		if s.GetServer().GetId() == id {
			return s
		}
	}
	return nil
}
