// Package explain is the verb `shardmanager explain`: it asks the leader about one shard and prints the answer.
//
// Called by cmd/shardmanager, which it is apart from because it is more than one of its verbs. What there is to say, allocator/placement/explain knows.
package explain

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Command is the verb.
func Command(s shell.Shell) *cobra.Command {
	var replica string
	c := &cobra.Command{
		Use:   "explain APP SHARD",
		Short: "Say where a shard is and why, what it waits for, and why it is not elsewhere",
		Long: "Say where a shard is and why, and what it waits for; of each replica, why it stays or goes; and of one replica, how every server stands as a place for\n" +
			"it: what it costs more there by the goals of policies, the most important first, or which constraint excludes the server. Without --replica that is one\n" +
			"that is missing, else the primary. Decisions and finished moves are those that the present leader remembers. Shards have the ids that\n" +
			"`shardmanager map APP` shows.",
		Example: "  shardmanager explain kv 07\n  shardmanager explain kv 07 --replica node-2.kv\n  shardmanager explain kv 07 -o json",
		Args:    s.Exactly("APP", "SHARD"),
		RunE: func(c *cobra.Command, args []string) error {
			request := &pb.ExplainRequest{App: args[0], Shard: args[1], Replica: replica}
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.Explain, request)
			if detail, ok := wire.DetailOf(err); ok && detail.GetSubject() == "replica" {
				return s.Refuse(fmt.Errorf("--replica: %s", detail.GetExpected()))
			}
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) { table(w, answer) })
		},
	}
	s.Flags(c)
	c.Flags().StringVarP(&replica, "replica", "r", "", "`SERVER` with the replica whose other places are listed (default one that is missing, else the primary)")
	return c
}

func table(w io.Writer, e *pb.ExplainResponse) {
	head(w, e)
	for _, p := range e.GetProposals() {
		shell.Row(w, "placement would", proposalText(p))
	}
	if len(e.GetProposals()) == 0 {
		shell.Row(w, "placement would", "leave it")
	}
	for _, note := range e.GetNotes() {
		shell.Row(w, "note", note)
	}
	if len(e.GetPlaces()) > 0 {
		shell.Row(w)
		shell.Row(w, "REPLICA", "ROLE", "VERDICT")
	}
	for _, p := range e.GetPlaces() {
		shell.Row(w, dash(p.GetServer()), role(p.GetRole()), p.GetVerdict())
	}
	shell.Row(w)
	shell.Row(w, "WHY HERE", "DECISION", "SERVER", "ORDER", "BECAUSE")
	for _, v := range e.GetDecisions() {
		d := v.GetDecision()
		shell.Row(w, shell.ClockTime(v.GetTimeMs()), d.GetWhat(), dash(d.GetServer()), fmt.Sprintf("%d/%d", d.GetTerm(), d.GetMove()), dash(d.GetWhy()))
	}
	shell.Row(w)
	shell.Row(w, "WHY NOT THERE", "RANK", "LOAD", "EXCLUDED BY", "BECAUSE, AS A PLACE FOR "+placeOf(e))
	for _, c := range e.GetCandidates() {
		rank := "-"
		if c.GetRank() > 0 {
			rank = fmt.Sprint(c.GetRank())
		}
		shell.Row(w, c.GetServer(), rank, fmt.Sprintf("%d %%", c.GetUtilisationPercent()), dash(c.GetBinds()), dash(c.GetWhy()))
	}
}

// head says how the shard stands.
func head(w io.Writer, e *pb.ExplainResponse) {
	shell.Row(w, "shard", e.GetApp()+"/"+e.GetShard())
	shell.Row(w, "row", fmt.Sprintf("term %d, move %d", e.GetTerm(), e.GetMove()))
	shell.Row(w, "primary", primaryOf(e))
	for _, r := range e.GetReplicas() {
		if r.GetRole() == pb.Role_ROLE_SECONDARY {
			shell.Row(w, "secondary", r.GetServer()+", "+shell.EnumName(r.GetProgress().String(), "SECONDARY_PROGRESS_")+down(r))
		}
	}
	if n := e.GetReplicasMissing(); n > 0 {
		shell.Row(w, "missing", fmt.Sprintf("%d replicas", n))
	}
	if why := e.GetReplicasWhy(); why != "" {
		shell.Row(w, "replicas", why)
	}
	if m := e.GetOpen(); m != nil {
		shell.Row(w, "moves", fmt.Sprintf("%s → %s (%s), step %s for %s", dash(m.GetFrom()), dash(m.GetTo()), shell.EnumName(m.GetReason().String(), "MOVE_REASON_"),
			shell.EnumName(m.GetStep().String(), "MOVE_STEP_"), shell.Milliseconds(m.GetStepAgeMs())))
	}
	if why := e.GetQuarantine(); why != "" {
		shell.Row(w, "quarantine", fmt.Sprintf("%s; it is neither placed nor moved until `shardmanager quarantine release %s %s`", why, e.GetApp(), e.GetShard()))
	}
	shell.Row(w, "waits for", cmp.Or(e.GetWaitsFor(), "nothing"))
}

func dash(s string) string { return cmp.Or(s, "-") }

func role(r pb.Role) string { return shell.EnumName(r.String(), "ROLE_") }

// placeOf says whose candidates are listed.
func placeOf(e *pb.ExplainResponse) string {
	for _, p := range e.GetPlaces() {
		switch {
		case p.GetServer() != e.GetCandidatesOf():
		case p.GetServer() == "":
			return "THE MISSING " + strings.ToUpper(role(p.GetRole()))
		default:
			return "THE " + strings.ToUpper(role(p.GetRole())) + " ON " + p.GetServer()
		}
	}
	return "A REPLICA"
}

func primaryOf(e *pb.ExplainResponse) string {
	if e.GetPrimary() == "" {
		return "nobody"
	}
	text := fmt.Sprintf("%s at term %d, %s", e.GetPrimary(), e.GetPrimaryTerm(), shell.EnumName(e.GetOwner().GetState().String(), "SERVER_STATE_"))
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
	kind, reason := shell.EnumName(p.GetKind().String(), "MOVE_KIND_"), shell.EnumName(p.GetReason().String(), "MOVE_REASON_")
	if p.GetBinds() != "" {
		return fmt.Sprintf("want to %s it (%s), but for %s: %s", kind, reason, p.GetBinds(), p.GetWhy())
	}
	costs := ""
	for _, c := range p.GetCosts() {
		sign := ""
		if c.GetAmount() > 0 {
			sign = "+"
		}
		costs += fmt.Sprintf(", %s %s%s", c.GetGoal(), sign, c.GetText())
	}
	return fmt.Sprintf("%s it %s → %s (%s): %s%s", kind, dash(p.GetFrom()), dash(p.GetTo()), reason, p.GetWhy(), costs)
}
