package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// drainLook is how often --wait looks at what is left.
const drainLook = 500 * time.Millisecond

func drainCommand() *cobra.Command {
	var a adminClient
	var undo, wait bool
	var patience time.Duration
	c := &cobra.Command{
		Use:   "drain SERVER",
		Short: "Move every shard away from a server and keep new ones off",
		Long: "Move every shard away from a server and keep new ones off, until undone: the wish is durable and outlives restarts of the server.\n" +
			"A server is <agent>.<app>.",
		Example: "  shardmanager drain node-1.kv --wait\n  shardmanager drain node-1.kv --undo",
		Args:    exactly("SERVER"),
		RunE: func(c *cobra.Command, args []string) error {
			if undo && wait {
				return &usageError{errors.New("drain: --wait waits for a drain, --undo takes it back: expected one of them")}
			}
			request := &pb.DrainServerRequest{Server: args[0], Undo: undo}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.DrainServer, request)
			if err != nil {
				return err
			}
			if wait {
				ctx, cancel := context.WithTimeout(c.Context(), patience)
				defer cancel()
				return a.awaitDrain(ctx, c.OutOrStdout(), args[0], patience, answer)
			}
			text := fmt.Sprintf("%s: draining, %s left", args[0], shards(answer.GetRemaining()))
			if undo {
				text = args[0] + ": takes shards again"
			}
			return a.progress(c.OutOrStdout(), answer, text)
		},
	}
	c.Flags().BoolVar(&undo, "undo", false, "take the drain back")
	c.Flags().BoolVar(&wait, "wait", false, "wait until no shard and no move is left")
	c.Flags().DurationVar(&patience, "timeout", 10*time.Minute, "how long --wait waits; the drain goes on after it")
	a.flags(c)
	return c
}

// undrainCommand is `drain --undo` for people who look for it.
func undrainCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:     "undrain SERVER",
		Short:   "Let a drained server take shards again",
		Example: "  shardmanager undrain node-1.kv",
		Args:    exactly("SERVER"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.DrainServer, &pb.DrainServerRequest{Server: args[0], Undo: true})
			if err != nil {
				return err
			}
			return a.progress(c.OutOrStdout(), answer, args[0]+": takes shards again")
		},
	}
	a.flags(c)
	return c
}

// awaitDrain follows a drain to its end. A leader that changes meanwhile is waited for.
func (a *adminClient) awaitDrain(ctx context.Context, w io.Writer, server string, patience time.Duration, last *pb.DrainServerResponse) error {
	shown := uint32(0)
	ticker := time.NewTicker(drainLook)
	defer ticker.Stop()
	for {
		if left := last.GetRemaining(); left != shown {
			if err := a.progress(w, last, fmt.Sprintf("%s: %s left", server, shards(left))); err != nil {
				return err
			}
			shown = left
		}
		answer, err := theLeader(ctx, a, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
		_, said := wire.DetailOf(err)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("drain: %s still has %s after %s: see `shardmanager moves`; the drain goes on", server, shards(last.GetRemaining()), patience)
		case err != nil && said:
			return err
		case err == nil:
			status := find(answer.GetServers(), server)
			last = &pb.DrainServerResponse{Remaining: status.GetShards() + status.GetSecondaries()}
			if status.GetShards() == 0 && status.GetSecondaries() == 0 && status.GetMoves() == 0 {
				return a.progress(w, last, server+": drained")
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// find is nil, which has no shards, if the server is gone.
func find(servers []*pb.ServerStatus, id string) *pb.ServerStatus {
	for _, s := range servers {
		if s.GetServer().GetId() == id {
			return s
		}
	}
	return nil
}
