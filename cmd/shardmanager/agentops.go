package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/agent"
	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/figures"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// agentClient reaches the agent of this host.
type agentClient struct {
	socket string
	output
}

func (a *agentClient) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.socket, "socket", "", "unix:///path of the agent (SHARDMANAGER_SOCKET, default "+agent.DefaultSocket+")")
	a.output.flag(c)
}

func (a *agentClient) dial() (shardmanagerv1connect.AgentServiceClient, func(), error) {
	a.socket = firstOf(a.socket, variable("SHARDMANAGER_SOCKET"), agent.DefaultSocket)
	endpoint, err := transport.Dial(a.socket)
	if err != nil {
		return nil, nil, &usageError{fmt.Errorf("--socket: %w", err)}
	}
	return shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL), endpoint.Close, nil
}

func (a *agentClient) explain(err error) error {
	return operator.Explain(err, "the agent at "+a.socket, "start it with `shardmanager agent`, or name its socket by --socket or SHARDMANAGER_SOCKET")
}

func agentStatusCommand() *cobra.Command {
	var a agentClient
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show the agent of this host and what its servers hold",
		Example: "  shardmanager agent status\n  shardmanager agent status -o json",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			client, done, err := a.dial()
			if err != nil {
				return err
			}
			defer done()
			ctx, cancel := brief(c.Context())
			defer cancel()
			status, err := client.Status(ctx, &pb.StatusRequest{})
			if err != nil {
				return a.explain(err)
			}
			return a.print(c.OutOrStdout(), status, func(w io.Writer) { agentTable(w, status) })
		},
	}
	a.flags(c)
	return c
}

func agentTable(w io.Writer, status *pb.StatusResponse) {
	row(w, append([]string{"SERVER", "INCARNATION", "LEASE", "BY", "ATTACHED", "SHARDS", "PID", "PROBLEM"}, figures.UsageHeader()...)...)
	for _, s := range status.GetServers() {
		held := 0
		for _, replica := range s.GetHeld() {
			if replica.GetPhase() != pb.ShardPhase_SHARD_PHASE_NONE {
				held++
			}
		}
		attached := yes(s.GetAttached())
		if s.GetDraining() {
			attached += ", draining"
		}
		row(w, append([]string{s.GetServer().GetId(), shard.Incarnation(s.GetServer().GetIncarnation()).String(), milliseconds(s.GetLeaseRemainingMs()),
			dash(s.GetVouchedBy()), attached, fmt.Sprint(held), fmt.Sprint(s.GetPid()), dash(s.GetProblem())}, figures.Usage(s.GetUsage())...)...)
	}
}

func agentDrainCommand() *cobra.Command {
	var a agentClient
	var app string
	var undo bool
	c := &cobra.Command{
		Use:     "drain",
		Short:   "Move every shard away from the servers of this agent; waits until nothing is left",
		Example: "  shardmanager agent drain\n  shardmanager agent drain --app kv --undo",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			client, done, err := a.dial()
			if err != nil {
				return err
			}
			defer done()
			stream, err := client.Drain(c.Context(), &pb.DrainRequest{App: app, Undo: undo})
			if err != nil {
				return a.explain(err)
			}
			last := uint32(0)
			for stream.Receive() {
				last = stream.Msg().GetRemaining()
				if err := a.progress(c.OutOrStdout(), stream.Msg(), verbs.Shards(last)+" left"); err != nil {
					return err
				}
			}
			if err := stream.Err(); err != nil {
				return a.explain(err)
			}
			if last > 0 {
				return fmt.Errorf("drain: not finished, %s left: see `shardmanager moves`", verbs.Shards(last))
			}
			return stream.Close()
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app's server (default all)")
	c.Flags().BoolVar(&undo, "undo", false, "take the drain back")
	a.flags(c)
	return c
}

func agentRestartCommand() *cobra.Command {
	var a agentClient
	var rest time.Duration
	c := &cobra.Command{
		Use:   "restart",
		Short: "End the agent for a planned restart: its applications serve on",
		Long: "End the agent for a planned restart: its applications serve on under a rest lease. Whoever supervises the agent must start it\n" +
			"again before the lease ends.",
		Example: "  shardmanager agent restart --rest 20s",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			client, done, err := a.dial()
			if err != nil {
				return err
			}
			defer done()
			ctx, cancel := brief(c.Context())
			defer cancel()
			answer, err := client.Restart(ctx, &pb.RestartRequest{RestMs: rest.Milliseconds()})
			if err != nil {
				return a.explain(err)
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) {
				row(w, "the agent ends; its applications may serve for "+milliseconds(answer.GetRestMs())+" without it")
			})
		},
	}
	c.Flags().DurationVar(&rest, "rest", 0, "length of the rest lease, at most 30s (default 30s)")
	a.flags(c)
	return c
}
