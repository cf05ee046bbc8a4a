package maintenance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Look is how often what is waited for is looked at.
const Look = 500 * time.Millisecond

func approveCommand(s shell.Shell) *cobra.Command {
	var question shell.Question
	c := &cobra.Command{
		Use:     "approve ID",
		Short:   "Let a planned event go ahead before its start and outside maintenance windows; caps hold all the same",
		Example: "  shardmanager maintenance approve kernel-7",
		Args:    s.Exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := Confirm(c, s, &question, args[0], "They are prepared now, before the event's start and outside maintenance windows; caps hold all the same."); err != nil {
				return err
			}
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.ApproveMaintenance, &pb.ApproveMaintenanceRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) { shell.Row(w, args[0]+": waits for caps alone") })
		},
	}
	question.Flag(c)
	s.Flags(c)
	return c
}

func doneCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "done ID [SERVER...]",
		Short:   "Say that a planned event is over, for some servers or for all that were approved",
		Example: "  shardmanager maintenance done kernel-7 node-1.kv",
		Long: "Say that a planned event is over, for some servers or for all that were approved. Of a restart or an upgrade nobody need say so: it is over once the server is back.\n" +
			"Saying so twice does no harm.",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return s.Refuse(fmt.Errorf("%s: expected ID; usage: %s", c.CommandPath(), c.UseLine()))
			}
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.FinishMaintenance, &pb.FinishMaintenanceRequest{Id: args[0], Servers: args[1:]})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) { shell.Row(w, args[0]+": done") })
		},
	}
	s.Flags(c)
	return c
}

func cancelCommand(s shell.Shell) *cobra.Command {
	var question shell.Question
	c := &cobra.Command{
		Use:     "cancel ID",
		Short:   "Take back what of a planned event is not over: servers that are up take shards again",
		Example: "  shardmanager maintenance cancel kernel-7",
		Args:    s.Exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := Confirm(c, s, &question, args[0], Cancels); err != nil {
				return err
			}
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.CancelMaintenance, &pb.CancelMaintenanceRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) { shell.Row(w, args[0]+": cancelled") })
		},
	}
	question.Flag(c)
	s.Flags(c)
	return c
}

// Cancels is what to cancel an event does.
const Cancels = "Nobody else may go down; servers that are up take shards again, and nobody is told that those are safe to stop any more."

// Confirm shows how far an event is and what would become of it, and asks.
func Confirm(c *cobra.Command, s shell.Shell, q *shell.Question, id, would string) error {
	return q.Ask(c, func() ([]string, error) {
		e, err := Find(c.Context(), s, id)
		if err != nil {
			return nil, err
		}
		n, _ := Count(e)
		return []string{fmt.Sprintf("%s: %d servers: %d pieces wait, %d are prepared, %d may be down, %d are done.", id, n.Servers, n.Waiting, n.Approved, n.Ready, n.Done), would}, nil
	})
}

// ErrUnsafe is the answer to a script: not now.
var ErrUnsafe = errors.New("not safe")

// SafeToStop is the verb `shardmanager safe-to-stop`.
func SafeToStop(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "safe-to-stop SERVER",
		Short: "Say whether a server may be stopped now without anybody noticing: exit code 0 if so, 3 if not",
		Long: "Say whether a server may be stopped now without anybody noticing. It may when it is primary of nothing, nothing moves from or to it, and the caps on planned events\n" +
			"permit one more server down; or when a piece of a planned event says that it is ready.\n\n" +
			"Exit codes: 0 safe, 1 nobody could say, 2 refused because of the command line, 3 not safe.",
		Example: "  until shardmanager safe-to-stop node-1.kv; do sleep 1; done",
		Args:    s.Exactly("SERVER"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.CheckSafeToStop, &pb.CheckSafeToStopRequest{Server: args[0]})
			if err != nil {
				return err
			}
			if answer.GetSafe() {
				return s.Print(c.OutOrStdout(), answer, func(w io.Writer) { shell.Row(w, args[0]+": safe to stop") })
			}
			return fmt.Errorf("%s is %w to stop: %s", args[0], ErrUnsafe, answer.GetDetail())
		},
	}
	s.Flags(c)
	return c
}

// awaitReady follows an event until a piece of it may go ahead, or none ever will.
func awaitReady(c *cobra.Command, s shell.Shell, id string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(Look)
	defer ticker.Stop()
	last := ""
	for {
		e, err := Find(ctx, s, id)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("maintenance: no piece of %s is ready after %s: %s; it stays asked for", id, patience, last)
		case err != nil:
			return err
		case e != nil:
			n, why := Count(e)
			last = why
			if n.Ready > 0 {
				return s.Print(c.OutOrStdout(), e, func(w io.Writer) { pieces(w, &pb.ListMaintenanceResponse{Events: []*pb.MaintenanceEvent{e}}) })
			}
			if n.Waiting+n.Approved == 0 {
				return fmt.Errorf("maintenance: %s is over, and no piece is ready: see `shardmanager maintenance show %s`", id, id)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// Find is an event; nil: the leader does not show it yet.
func Find(ctx context.Context, s shell.Shell, id string) (*pb.MaintenanceEvent, error) {
	answer, err := shell.Leader(ctx, s, shardmanagerv1connect.AdminServiceClient.ListMaintenance, &pb.ListMaintenanceRequest{})
	if err != nil {
		return nil, err
	}
	for _, e := range answer.GetEvents() {
		if e.GetRequest().GetId() == id {
			return e, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing is an answer
}
