package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func movesAbortCommand() *cobra.Command {
	var a adminClient
	var question verbs.Question
	request := new(pb.AbortMoveRequest)
	c := &cobra.Command{
		Use:   "abort APP SHARD",
		Short: "Abort an open move, before its target owns the shard",
		Long: "Abort an open move, before its target owns the shard. The answer comes once the decision is durable; the target then stops, the source goes\n" +
			"on, and the target is not asked again for a while.",
		Example: "  shardmanager moves abort kv 07 --reason \"node-3 is slow\"",
		Args:    exactly("APP", "SHARD"),
		RunE: func(c *cobra.Command, args []string) error {
			request.App, request.Shard = args[0], args[1]
			if err := question.Ask(c, func() ([]string, error) {
				return moveWould(c, &a, args, "Its target stops, its source goes on, and the target is not asked again for a while.")
			}); err != nil {
				return err
			}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.AbortMove, request)
			if err != nil {
				return err
			}
			return a.progress(c.OutOrStdout(), answer, args[0]+"/"+args[1]+": "+answer.GetOutcome())
		},
	}
	c.Flags().Uint64Var(&request.Move, "move", 0, "refuse if another move is open (default whichever it is)")
	c.Flags().StringVar(&request.Reason, "reason", "", "why, for the events")
	question.Flag(c)
	a.flags(c)
	return c
}

func movesSkipCommand() *cobra.Command {
	var a adminClient
	var question verbs.Question
	var step string
	request := new(pb.SkipStepRequest)
	c := &cobra.Command{
		Use:   "skip APP SHARD",
		Short: "Skip the step at which a move is stuck, where that is safe",
		Long: "Skip the step at which a move is stuck, where that is safe: the linger, and the drop at the source. With --force also prepare-drop, add and\n" +
			"the stop of an aborted move: the server that is waited for is fenced, and loses everything that it holds. A target that has not loaded the\n" +
			"shard must not own it: abort such a move instead.",
		Example: "  shardmanager moves skip kv 07\n  shardmanager moves skip kv 07 --step prepare-drop --force --reason \"requests hang\"",
		Args:    exactly("APP", "SHARD"),
		RunE: func(c *cobra.Command, args []string) error {
			number, err := stepNumber(step)
			if err != nil {
				return err
			}
			request.App, request.Shard, request.Step = args[0], args[1], number
			if request.GetForce() { // without, it is done only where it is safe
				if err := question.Ask(c, func() ([]string, error) {
					return moveWould(c, &a, args, "If nothing else helps, the server that the step waits for is fenced, and loses everything that it holds.")
				}); err != nil {
					return err
				}
			}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.SkipStep, request)
			if err != nil {
				return err
			}
			return a.progress(c.OutOrStdout(), answer, args[0]+"/"+args[1]+": "+answer.GetOutcome())
		},
	}
	c.Flags().StringVar(&step, "step", "", "refuse if the move is at another step (default whichever it is)")
	c.Flags().Uint64Var(&request.Move, "move", 0, "refuse if another move is open (default whichever it is)")
	c.Flags().BoolVar(&request.Force, "force", false, "fence the server that the step waits for, if nothing else helps")
	c.Flags().StringVar(&request.Reason, "reason", "", "why, for the events")
	question.Flag(c)
	a.flags(c)
	return c
}

// moveWould shows the open move of a shard, and what would become of it.
func moveWould(c *cobra.Command, a *adminClient, args []string, would string) ([]string, error) {
	answer, err := theLeader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.ListMoves, &pb.ListMovesRequest{App: args[0]})
	if err != nil {
		return nil, err
	}
	for _, m := range answer.GetOpen() {
		if m.GetShard() == args[1] {
			return []string{fmt.Sprintf("Move %d of %s/%s from %s to %s is at %s for %s.", m.GetMove(), args[0], args[1], dash(m.GetFrom()), dash(m.GetTo()),
				enumName(m.GetStep().String(), "MOVE_STEP_"), milliseconds(m.GetStepAgeMs())), would}, nil
		}
	}
	return []string{fmt.Sprintf("No move of %s/%s is open.", args[0], args[1])}, nil
}

// stepNumber is the step of a name as `moves` shows it; none for an empty one.
func stepNumber(name string) (pb.MoveStep, error) {
	if name == "" {
		return 0, nil
	}
	var known []string
	for number := range pb.MoveStep_name {
		if step := pb.MoveStep(number); number != 0 {
			if known = append(known, enumName(step.String(), "MOVE_STEP_")); known[len(known)-1] == name {
				return step, nil
			}
		}
	}
	slices.Sort(known)
	return 0, &usageError{fmt.Errorf("--step: expected one of %s, not %q", strings.Join(known, ", "), name)}
}
