package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func explainCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:   "explain APP SHARD",
		Short: "Say where a shard is and why, what it waits for, and why it is not elsewhere",
		Long: "Say where a shard is and why, what it waits for, and how every server stands as a place for it. Decisions and finished moves are those\n" +
			"that the present leader remembers. Shards have the ids that `shardmanager map APP` shows.",
		Example: "  shardmanager explain kv 07\n  shardmanager explain kv 07 -o json",
		Args:    exactly("APP", "SHARD"),
		RunE: func(c *cobra.Command, args []string) error {
			request := &pb.ExplainRequest{App: args[0], Shard: args[1]}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.Explain, request)
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) { explainTable(w, answer) })
		},
	}
	a.flags(c)
	return c
}

func explainTable(w io.Writer, e *pb.ExplainResponse) {
	row(w, "shard", e.GetApp()+"/"+e.GetShard())
	row(w, "row", fmt.Sprintf("term %d, move %d", e.GetTerm(), e.GetMove()))
	row(w, "primary", primaryOf(e))
	for _, r := range e.GetReplicas() {
		if r.GetRole() == pb.Role_ROLE_SECONDARY {
			row(w, "secondary", r.GetServer()+", "+enumName(r.GetProgress().String(), "SECONDARY_PROGRESS_")+down(r))
		}
	}
	if n := e.GetReplicasMissing(); n > 0 {
		row(w, "missing", fmt.Sprintf("%d replicas", n))
	}
	if why := e.GetReplicasWhy(); why != "" {
		row(w, "replicas", why)
	}
	if m := e.GetOpen(); m != nil {
		row(w, "moves", fmt.Sprintf("%s → %s (%s), step %s for %s", dash(m.GetFrom()), dash(m.GetTo()), enumName(m.GetReason().String(), "MOVE_REASON_"),
			enumName(m.GetStep().String(), "MOVE_STEP_"), milliseconds(m.GetStepAgeMs())))
	}
	row(w, "waits for", firstOf(e.GetWaitsFor(), "nothing"))
	for _, p := range e.GetProposals() {
		row(w, "placement would", proposalText(p))
	}
	if len(e.GetProposals()) == 0 {
		row(w, "placement would", "leave it")
	}
	for _, note := range e.GetNotes() {
		row(w, "note", note)
	}
	row(w)
	row(w, "WHY HERE", "DECISION", "SERVER", "ORDER", "BECAUSE")
	for _, v := range e.GetDecisions() {
		d := v.GetDecision()
		row(w, clockTime(v), d.GetWhat(), dash(d.GetServer()), fmt.Sprintf("%d/%d", d.GetTerm(), d.GetMove()), dash(d.GetWhy()))
	}
	row(w)
	row(w, "WHY NOT THERE", "RANK", "LOAD", "EXCLUDED BY", "BECAUSE")
	for _, c := range e.GetCandidates() {
		rank := "-"
		if c.GetRank() > 0 {
			rank = fmt.Sprint(c.GetRank())
		}
		row(w, c.GetServer(), rank, fmt.Sprintf("%d %%", c.GetUtilisationPercent()), dash(c.GetBinds()), dash(c.GetWhy()))
	}
}

func primaryOf(e *pb.ExplainResponse) string {
	if e.GetPrimary() == "" {
		return "nobody"
	}
	text := fmt.Sprintf("%s at term %d, %s", e.GetPrimary(), e.GetPrimaryTerm(), enumName(e.GetOwner().GetState().String(), "SERVER_STATE_"))
	if e.GetOwner().GetDraining() {
		text += ", draining"
	}
	if !e.GetServing() {
		text += ", does not serve it"
	}
	for _, r := range e.GetReplicas() {
		if r.GetRole() == pb.Role_ROLE_PRIMARY {
			text += down(r)
		}
	}
	return text
}

// down says whether a replica counts as down for maintenance.
func down(r *pb.ReplicaStatus) string {
	if r.GetDown() == "" {
		return ""
	}
	return "; counts as down: " + r.GetDown()
}

func proposalText(p *pb.Proposal) string {
	kind, reason := enumName(p.GetKind().String(), "MOVE_KIND_"), enumName(p.GetReason().String(), "MOVE_REASON_")
	if p.GetBinds() != "" {
		return fmt.Sprintf("want to %s it (%s), but for %s: %s", kind, reason, p.GetBinds(), p.GetWhy())
	}
	return fmt.Sprintf("%s it %s → %s (%s): %s", kind, dash(p.GetFrom()), dash(p.GetTo()), reason, p.GetWhy())
}

// clockTime is when an event was, by the leader's wall clock.
func clockTime(e *pb.Event) string { return time.UnixMilli(e.GetTimeMs()).Format("15:04:05.000") }
