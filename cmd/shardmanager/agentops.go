package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/contexts"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/doctor"
	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/clock"
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
	choice contexts.Choice
	output
}

func (a *agentClient) flags(c *cobra.Command) {
	a.socketFlag(c)
	a.choice.Flag(c)
	a.output.flag(c)
}

func (a *agentClient) socketFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.socket, "socket", "", "unix:///path of the agent (SHARDMANAGER_SOCKET, default "+agent.DefaultSocket+")")
}

func (a *agentClient) dial() (shardmanagerv1connect.AgentServiceClient, func(), error) {
	socket, _, err := a.choice.Value(contexts.Socket(a.socket))
	if err != nil {
		return nil, nil, &usageError{err}
	}
	a.socket = firstOf(socket, agent.DefaultSocket)
	endpoint, err := transport.Dial(a.socket)
	if err != nil {
		return nil, nil, &usageError{fmt.Errorf("--socket: %w", err)}
	}
	return shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL), endpoint.Close, nil
}

func (a *agentClient) explain(err error) error {
	return operator.Explain(err, "the agent at "+a.socket, "start it with `shardmanager agent`, or name its socket by --socket or SHARDMANAGER_SOCKET")
}

// status asks the agent how it is.
func (a *agentClient) status(ctx context.Context) (*pb.StatusResponse, error) {
	client, done, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := brief(ctx)
	defer cancel()
	status, err := client.Status(ctx, &pb.StatusRequest{})
	return status, a.explain(err)
}

// doctorCommand asks the agent of this host, too; where its socket is not there, it has none.
func doctorCommand() *cobra.Command {
	var a agentClient
	var c *cobra.Command
	c = doctor.Command(around(), func(ctx context.Context) (*pb.StatusResponse, error) {
		a.choice.Name(c.Flags().Lookup("context").Value.String())
		status, err := a.status(ctx)
		if errors.Is(err, os.ErrNotExist) {
			err = doctor.ErrNoAgent
		}
		return status, err
	})
	a.socketFlag(c)
	return c
}

func agentStatusCommand() *cobra.Command {
	var a agentClient
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show the agent of this host and what its servers hold",
		Example: "  shardmanager agent status\n  shardmanager agent status -o json",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			status, err := a.status(c.Context())
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), status, func(w io.Writer) { agentTable(w, status) })
		},
	}
	a.flags(c)
	return c
}

func agentTable(w io.Writer, status *pb.StatusResponse) {
	_, _ = fmt.Fprintf(w, "agent %s, version %s\n", status.GetAgent(), status.GetVersion()) // the table's writer keeps the error
	if problem := status.GetRestartProblem(); problem != "" {
		_, _ = fmt.Fprintf(w, "the last planned restart failed: %s\n", problem)
	}
	row(w, append([]string{"SERVER", "INCARNATION", "LEASE", "BY", "ATTACHED", "SHARDS", "PID", "PROBLEM"}, figures.UsageHeader()...)...)
	for _, s := range status.GetServers() {
		attached := yes(s.GetAttached())
		if s.GetDraining() {
			attached += ", draining"
		}
		row(w, append([]string{s.GetServer().GetId(), shard.Incarnation(s.GetServer().GetIncarnation()).String(), milliseconds(s.GetLeaseRemainingMs()),
			dash(s.GetVouchedBy()), attached, fmt.Sprint(held(s)), fmt.Sprint(s.GetPid()), dash(s.GetProblem())}, figures.Usage(s.GetUsage())...)...)
	}
}

func agentDrainCommand() *cobra.Command {
	var a agentClient
	var app string
	var undo bool
	var limit time.Duration
	var question verbs.Question
	c := &cobra.Command{
		Use:     "drain",
		Short:   "Move every shard away from the servers of this agent; waits until nothing is left",
		Example: "  shardmanager agent drain --timeout 1m\n  shardmanager agent drain --app kv --undo",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if !undo {
				if err := question.Ask(c, func() ([]string, error) { return a.drainWould(c.Context(), app) }); err != nil {
					return err
				}
			}
			ctx := c.Context()
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			d := drain{agent: &a, request: &pb.DrainRequest{App: app, Undo: undo}, out: c.OutOrStdout(), notes: c.ErrOrStderr(), bar: verbs.NewBar(c)}
			err := d.run(ctx)
			d.bar.Clear()
			if err != nil && ctx.Err() != nil && c.Context().Err() == nil {
				return fmt.Errorf("drain: not finished after %v, %s left: the drain goes on, see `shardmanager moves`", limit, verbs.Shards(d.left))
			}
			return err
		},
	}
	c.Flags().StringVar(&app, "app", "", "only this app's server (default all)")
	c.Flags().DurationVar(&limit, "timeout", 0, "wait no longer than this, and fail; the drain goes on (default: wait until nothing is left)")
	c.Flags().BoolVar(&undo, "undo", false, "take the drain back")
	question.Flag(c)
	a.flags(c)
	return c
}

// drainWould says what a drain of this host's servers would do.
func (a *agentClient) drainWould(ctx context.Context, app string) ([]string, error) {
	status, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, s := range status.GetServers() {
		if app == "" || s.GetServer().GetApp() == app {
			lines = append(lines, fmt.Sprintf("%s holds %s: all go elsewhere, and it takes no others until `shardmanager agent drain --undo`.", s.GetServer().GetId(), verbs.Shards(uint32(held(s))))) //nolint:gosec // never negative
		}
	}
	return lines, nil
}

// held is how many shards a server has.
func held(s *pb.AgentServerStatus) (n int) {
	for _, replica := range s.GetHeld() {
		if replica.GetPhase() != pb.ShardPhase_SHARD_PHASE_NONE {
			n++
		}
	}
	return n
}

// An agent that ends in the middle of a drain may be replaced; its successor knows nothing of the drain.
const successorWait, successorPause = 20 * time.Second, 200 * time.Millisecond

// drain is a drain that is asked for, and followed.
type drain struct {
	agent      *agentClient
	request    *pb.DrainRequest
	out, notes io.Writer
	left, all  uint32 // shards; all: the most that were left
	bar        *verbs.Bar
}

// run follows the drain to its end. Where the agent is replaced meanwhile, its successor is asked again.
func (d *drain) run(ctx context.Context) error {
	var lost time.Time // when the agent ended that had begun
	var refused *usageError
	for {
		begun, err := d.once(ctx)
		switch {
		case err == nil && d.left > 0:
			return fmt.Errorf("drain: not finished, %s left: see `shardmanager moves`", verbs.Shards(d.left))
		case errors.As(err, &refused):
			return err
		case err == nil, ctx.Err() != nil:
			return d.agent.explain(err)
		case begun:
			lost = time.Now()
			d.bar.Clear()
			_, _ = fmt.Fprintln(d.notes, "drain: the agent ended: waiting for one that replaces it")
		case lost.IsZero() || time.Since(lost) > successorWait || connect.CodeOf(err) == connect.CodeNotFound:
			return d.agent.explain(err)
		}
		if !clock.Pause(ctx, successorPause) {
			return d.agent.explain(err)
		}
	}
}

// once asks one agent; begun: it answered before it failed.
func (d *drain) once(ctx context.Context) (begun bool, err error) {
	client, done, err := d.agent.dial()
	if err != nil {
		return false, err
	}
	defer done()
	stream, err := client.Drain(ctx, d.request)
	if err != nil {
		return false, err
	}
	for stream.Receive() {
		begun, d.left = true, stream.Msg().GetRemaining()
		d.all = max(d.all, d.left)
		if d.bar.Show(uint64(d.all-d.left), uint64(d.all), verbs.Shards(d.left)+" left"); d.bar != nil && d.left > 0 {
			continue
		}
		d.bar.Clear()
		if err := d.agent.progress(d.out, stream.Msg(), verbs.Shards(d.left)+" left"); err != nil {
			return false, err
		}
	}
	return begun, errors.Join(stream.Err(), stream.Close())
}

func agentRestartCommand() *cobra.Command {
	var a agentClient
	var rest time.Duration
	request := &pb.RestartRequest{}
	c := &cobra.Command{
		Use:   "restart",
		Short: "Replace the agent by the program on disk: its applications serve on",
		Long: "Replace the agent by the program on disk, in the same process, and wait until it is there: its applications serve on under a rest lease.\n" +
			"The program has to stand a trial first. If it cannot start, or does not take up every server, the agent that is there goes on, and this\n" +
			"command fails and says why. With --end the agent ends, and whoever supervises it must start it again before the lease ends.",
		Example: "  shardmanager agent restart --version v1.2.0\n  shardmanager agent restart --end --rest 20s",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			client, done, err := a.dial()
			if err != nil {
				return err
			}
			defer done()
			ctx, cancel := context.WithTimeout(c.Context(), restartTime)
			defer cancel()
			before, err := client.Status(ctx, &pb.StatusRequest{})
			if err != nil {
				return a.explain(err)
			}
			request.RestMs = rest.Milliseconds()
			answer, err := client.Restart(ctx, request)
			if err != nil {
				return a.explain(err)
			}
			if answer.GetVersion() == "" {
				return a.print(c.OutOrStdout(), answer, func(w io.Writer) {
					row(w, "the agent ends; its applications may serve for "+milliseconds(answer.GetRestMs())+" without it")
				})
			}
			after, err := restarted(ctx, client, before.GetRun())
			if err != nil {
				return fmt.Errorf("restart: the agent does not answer: see its log: %w", err)
			}
			if problem := after.GetRestartProblem(); problem != "" {
				return fmt.Errorf("restart: version %s failed, %s is back: %s", answer.GetVersion(), after.GetVersion(), problem)
			}
			return a.print(c.OutOrStdout(), after, func(w io.Writer) {
				row(w, "the agent is version "+after.GetVersion()+" now; before it was "+before.GetVersion())
			})
		},
	}
	c.Flags().DurationVar(&rest, "rest", 0, "length of the rest lease, at most 30s (default 30s)")
	c.Flags().BoolVar(&request.End, "end", false, "only end: whoever supervises the agent starts it again")
	c.Flags().StringVar(&request.Version, "version", "", "refuse unless the program on disk has this version")
	a.flags(c)
	return c
}

const (
	// restartTime bounds a planned restart: a program that is prepared, on trial and back.
	restartTime = 75 * time.Second
	// restartLook is how often its end is looked for.
	restartLook = 100 * time.Millisecond
)

// restarted waits until another agent than that of a run is there to stay.
func restarted(ctx context.Context, client shardmanagerv1connect.AgentServiceClient, run uint64) (*pb.StatusResponse, error) {
	for {
		look, cancel := brief(ctx)
		status, err := client.Status(look, &pb.StatusRequest{})
		cancel()
		if err == nil && status.GetRun() != run && !status.GetOnTrial() {
			return status, nil
		}
		select {
		case <-time.After(restartLook):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}
