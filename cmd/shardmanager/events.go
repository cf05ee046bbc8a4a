package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/allocator/feed"
	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func eventsCommand() *cobra.Command {
	var a adminClient
	var only verbs.Filter
	request := new(pb.WatchEventsRequest)
	var kinds []string
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what the leader decided and saw, as far back as it remembers",
		Long: "Show what the leader decided and saw, in order, as far back as it remembers; with --follow until Ctrl-C, across changes of the leader.\n" +
			"What could not be had any more is told as a gap.",
		Example: "  shardmanager events --app kv --kind server,leader\n  shardmanager events --follow -o json\n  shardmanager events --filter 'decision.server == \"node-1.kv\"'",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			picked, err := only.Compile(new(pb.Event), refuse)
			if err != nil {
				return err
			}
			for _, name := range kinds {
				kind, err := feed.ParseKind(name)
				if err != nil {
					return &usageError{fmt.Errorf("--kind: %w", err)}
				}
				request.Kinds = append(request.Kinds, kind)
			}
			w := c.OutOrStdout()
			return a.client().Events(c.Context(), request, func(e *pb.Event) error {
				if takes, err := picked.Takes(e); !takes || err != nil {
					return err
				}
				return a.progress(w, e, eventLine(e))
			})
		},
	}
	c.Flags().StringVar(&request.App, "app", "", "only this app's and the cluster's (default all)")
	c.Flags().StringSliceVar(&kinds, "kind", nil, "only these: "+strings.Join(feed.KindNames(), ", ")+" (default all)")
	c.Flags().BoolVarP(&request.Follow, "follow", "f", false, "go on with what is still to come")
	only.Flag(c)
	a.flags(c)
	return c
}

// eventLine is an event in one line.
func eventLine(e *pb.Event) string {
	line := func(what string, about ...string) string {
		text := fmt.Sprintf("%s  %-20s", verbs.ClockTime(e.GetTimeMs()), what)
		for _, part := range about {
			if part != "" {
				text += "  " + part
			}
		}
		return strings.TrimRight(text, " ")
	}
	switch b := e.GetBody().(type) {
	case *pb.Event_Decision:
		d := b.Decision
		return line(d.GetWhat(), subject(d), d.GetServer(), d.GetWhy())
	case *pb.Event_Server:
		s := b.Server
		state := enumName(s.GetState().String(), "SERVER_STATE_")
		if s.GetDraining() {
			state += ", draining"
		}
		return line("server "+state, s.GetServer(), s.GetReason())
	case *pb.Event_Leader:
		what := "leader ends"
		if b.Leader.GetLeads() {
			what = "leader begins"
		}
		return line(what, b.Leader.GetAllocator(), b.Leader.GetWhy())
	case *pb.Event_Gap:
		missed := "events are missing"
		if n := b.Gap.GetMissed(); n > 0 {
			missed = fmt.Sprintf("%d events are missing", n)
		}
		return line("gap", missed, b.Gap.GetWhy())
	}
	return line("unknown event", "a newer shardmanager can read it")
}

func subject(d *pb.DecisionEvent) string {
	if d.GetShard() == "" {
		return d.GetApp()
	}
	return fmt.Sprintf("%s/%s %d/%d", d.GetApp(), d.GetShard(), d.GetTerm(), d.GetMove())
}
