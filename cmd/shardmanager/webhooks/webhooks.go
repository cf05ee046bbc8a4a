// Package webhooks is the verb of webhooks: how far the targets are that the leader tells of events, what they did not take, and trying one.
//
// Called by cmd/shardmanager. It asks the leader and decides nothing.
package webhooks

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/operator"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// testWithin is how long a test may take: longer than the leader waits for a target.
const testWithin = 20 * time.Second

// Command is the verb, with its own. around makes the binary around each of them.
func Command(around func() shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "webhooks",
		Short: "Look at the targets that the leader tells of events, and at what they did not take",
		Long: "The leader tells targets outside of events, by HTTP, as the file of the allocators' setting webhooks says (docs/events.md).\n" +
			"What is known of a target, its dead letters included, is known to the leader alone, and forgotten with its leadership.",
		Example: "  shardmanager webhooks list\n  shardmanager webhooks replay pager",
		RunE:    around().Group,
	}
	c.AddCommand(list(around()), dead(around()), replay(around()), try(around()))
	return c
}

func list(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the targets: what was delivered, what failed, what waits",
		Example: "  shardmanager webhooks list\n  shardmanager webhooks list -o json",
		Args:    s.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.ListWebhooks, &pb.ListWebhooksRequest{})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) {
				shell.Row(w, "NAME", "STATE", "DELIVERED", "FAILED", "WAITING", "DEAD", "URL", "LAST ERROR")
				for _, t := range answer.GetWebhooks() {
					shell.Row(w, t.GetName(), shell.EnumName(t.GetState().String(), "WEBHOOK_STATE_"), number(t.GetDelivered()), number(t.GetFailed()), number(t.GetLag()),
						number(uint64(t.GetDead())), t.GetUrl(), dash(t.GetLastError()))
				}
			})
		},
	}
	s.Flags(c)
	return c
}

func dead(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "dead NAME",
		Short:   "List the events that a target did not take, as far as they are kept",
		Example: "  shardmanager webhooks dead pager\n  shardmanager webhooks dead pager -o json",
		Args:    s.Exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.ListDeadLetters, &pb.ListDeadLettersRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) {
				shell.Row(w, "TIME", "ID", "ATTEMPTS", "ERROR", "BODY")
				for _, l := range answer.GetLetters() {
					shell.Row(w, shell.ClockTime(l.GetTimeMs()), l.GetId(), number(uint64(l.GetAttempts())), l.GetError(), l.GetBody())
				}
				if n := answer.GetDropped(); n > 0 {
					shell.Row(w, fmt.Sprintf("%d older ones are not kept any more", n))
				}
			})
		},
	}
	s.Flags(c)
	return complete(s, c)
}

func replay(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "replay NAME",
		Short: "Send a target its dead letters again; one that is disabled is told of events again",
		Long: "Send a target its dead letters again, oldest first and before any newer event, with the same ids as before. Those that fail again are\n" +
			"dead letters again. A target that answered 410 and is disabled is told of events again, from where it was.",
		Example: "  shardmanager webhooks replay pager",
		Args:    s.Exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.ReplayDeadLetters, &pb.ReplayDeadLettersRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return s.Progress(c.OutOrStdout(), answer, fmt.Sprintf("%d dead letters are sent to %s again", answer.GetLetters(), args[0]))
		},
	}
	s.Flags(c)
	return complete(s, c)
}

func try(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "test NAME",
		Short:   "Send a target one event of type test, once; fails if it does not take it",
		Example: "  shardmanager webhooks test pager",
		Args:    s.Exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			client := s.Client()
			client.Within = testWithin
			answer, err := operator.Leader(c.Context(), client, shardmanagerv1connect.AdminServiceClient.TestWebhook, &pb.TestWebhookRequest{Name: args[0]})
			if err != nil {
				return err
			}
			took := shell.Milliseconds(answer.GetTookMs())
			if !answer.GetDelivered() {
				return fmt.Errorf("webhook %s did not take the test within %s: %s", args[0], took, strings.TrimSpace(answer.GetError()))
			}
			return s.Progress(c.OutOrStdout(), answer, fmt.Sprintf("webhook %s took the test in %s", args[0], took))
		},
	}
	s.Flags(c)
	return complete(s, c)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
