// Package maintenance is the verb `shardmanager maintenance` and its kin: planned events, asked for, followed and ended.
//
// Called by cmd/shardmanager. Who may go ahead, the leader decides.
package maintenance

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Command is the verb; each of its own verbs gets a shell.
func Command(around func() shell.Shell) *cobra.Command {
	top := around()
	c := &cobra.Command{
		Use:   "maintenance",
		Short: "Ask to take servers down, and follow who may",
		Long: "Ask to take servers down for a restart, an upgrade or anything else, and follow who may. A request is approved piece by piece: as many servers at a time as\n" +
			"the caps of their apps permit (maintenance in the app's spec), what failed counted. An approved server is prepared by what the event does to it: primaries give\n" +
			"their role away, or leave, or everything leaves. Once it is READY it may be stopped, and nobody notices.",
		Args: cobra.ArbitraryArgs,
		RunE: top.Group,
	}
	c.AddCommand(requestCommand(around()), listCommand(around()), showCommand(around()), approveCommand(around()), doneCommand(around()), cancelCommand(around()))
	return c
}

func requestCommand(s shell.Shell) *cobra.Command {
	var f Flags
	var wait bool
	var patience time.Duration
	c := &cobra.Command{
		Use:   "request ID",
		Short: "Ask for a planned event",
		Long: "Ask for a planned event. The answer comes once the request is durable; `maintenance show` says how far it is, and --wait waits until a piece is ready.\n" +
			"The same request again is answered alike, so that it may be repeated when an answer was lost.",
		Example: "  shardmanager maintenance request kernel-7 --kind drain --impact machine-loss --host host-1,host-2 --duration 20m\n" +
			"  shardmanager maintenance request power-a --kind drain --impact machine-loss --zone zone-a --announced --start 2026-12-01T02:00:00Z --duration 1h",
		Args: s.Exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			request, err := f.Request(args[0])
			if err != nil {
				return s.Refuse(fmt.Errorf("%s: %w", c.CommandPath(), err))
			}
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.RequestMaintenance, &pb.RequestMaintenanceRequest{Request: request})
			if err != nil {
				return err
			}
			if wait {
				return awaitReady(c, s, args[0], patience)
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) {
				shell.Row(w, args[0]+": asked for; follow it with `shardmanager maintenance show "+args[0]+"`")
			})
		},
	}
	f.Add(c)
	c.Flags().BoolVar(&wait, "wait", false, "wait until a piece is ready to be taken down")
	c.Flags().DurationVar(&patience, "timeout", 30*time.Minute, "how long --wait waits; the request stays")
	s.Flags(c)
	return c
}

// Flags say what is asked for.
type Flags struct {
	Kind, Impact, Start, Deadline, Reason, Requester string
	Duration                                         time.Duration
	Announced                                        bool
	Servers, Hosts, Racks, Zones, Regions            []string
}

// Add adds the flags to a command.
func (f *Flags) Add(c *cobra.Command) {
	c.Flags().StringVar(&f.Kind, "kind", "restart", "restart, upgrade, drain or decommission")
	c.Flags().StringVar(&f.Impact, "impact", "process-restart", "network-loss, process-restart, state-loss or machine-loss: it decides what is done before")
	c.Flags().StringSliceVar(&f.Servers, "server", nil, "`SERVER`, which is <agent>.<app>")
	c.Flags().StringSliceVar(&f.Hosts, "host", nil, "all servers of this `HOST`")
	c.Flags().StringSliceVar(&f.Racks, "rack", nil, "all servers of this `RACK`")
	c.Flags().StringSliceVar(&f.Zones, "zone", nil, "all servers of this `ZONE`")
	c.Flags().StringSliceVar(&f.Regions, "region", nil, "all servers of this `REGION`")
	c.Flags().DurationVar(&f.Duration, "duration", 10*time.Minute, "how long a server may be down; then it counts as failed")
	c.Flags().BoolVar(&f.Announced, "announced", false, "it happens at --start whatever is answered; without, it waits for approval")
	c.Flags().StringVar(&f.Start, "start", "", "`TIME` before which nothing is approved, such as 2026-12-01T02:00:00Z (default now)")
	c.Flags().StringVar(&f.Deadline, "deadline", "", "`TIME` by which all must be over (default none)")
	c.Flags().StringVar(&f.Reason, "reason", "", "why, for people")
	c.Flags().StringVar(&f.Requester, "requester", "", "who asks, for people")
}

// Request is what the flags say.
func (f *Flags) Request(id string) (*pb.MaintenanceRequest, error) {
	kind, impact := pb.MaintenanceKind_value["MAINTENANCE_KIND_"+constant(f.Kind)], pb.MaintenanceImpact_value["MAINTENANCE_IMPACT_"+constant(f.Impact)]
	start, startErr := moment("--start", f.Start)
	deadline, deadlineErr := moment("--deadline", f.Deadline)
	var wrong []error
	if kind == 0 {
		wrong = append(wrong, fmt.Errorf("--kind: expected restart, upgrade, drain or decommission, not %q", f.Kind))
	}
	if impact == 0 {
		wrong = append(wrong, fmt.Errorf("--impact: expected network-loss, process-restart, state-loss or machine-loss, not %q", f.Impact))
	}
	if len(f.Servers)+len(f.Hosts)+len(f.Racks)+len(f.Zones)+len(f.Regions) == 0 {
		wrong = append(wrong, errors.New("expected whom it is about: --server, --host, --rack, --zone or --region"))
	}
	if err := errors.Join(append(wrong, startErr, deadlineErr)...); err != nil {
		return nil, err
	}
	return &pb.MaintenanceRequest{Id: id, Kind: pb.MaintenanceKind(kind), Impact: pb.MaintenanceImpact(impact), Announced: f.Announced, StartMs: start, DeadlineMs: deadline,
		Scope:      &pb.MaintenanceScope{Servers: f.Servers, Hosts: f.Hosts, Racks: f.Racks, Zones: f.Zones, Regions: f.Regions},
		DurationMs: f.Duration.Milliseconds(), Reason: f.Reason, Requester: f.Requester}, nil
}

func constant(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

func moment(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("%s: expected a time such as 2026-12-01T02:00:00Z, not %q", flag, text)
	}
	return at.UnixMilli(), nil
}

func listCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List planned events, open ones first",
		Example: "  shardmanager maintenance list -o json",
		Args:    s.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.ListMaintenance, &pb.ListMaintenanceRequest{})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) {
				shell.Row(w, "ID", "KIND", "IMPACT", "SERVERS", "WAITING", "APPROVED", "READY", "DONE", "OTHER", "DETAIL")
				for _, e := range answer.GetEvents() {
					n, why := Count(e)
					shell.Row(w, e.GetRequest().GetId(), kindOf(e), impactOf(e), strconv.Itoa(n.Servers), strconv.Itoa(n.Waiting), strconv.Itoa(n.Approved), strconv.Itoa(n.Ready),
						strconv.Itoa(n.Done), strconv.Itoa(n.Expired+n.Cancelled), why)
				}
			})
		},
	}
	s.Flags(c)
	return c
}

// Counts are pieces by state.
type Counts struct{ Servers, Waiting, Approved, Ready, Done, Expired, Cancelled int }

// Count counts the pieces of an event, and says what the first of those that wait waits for.
func Count(e *pb.MaintenanceEvent) (n Counts, why string) {
	for _, p := range e.GetPieces() {
		n.Servers += len(p.GetCovers())
		switch p.GetState() {
		case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_WAITING:
			if n.Waiting++; why == "" {
				why = p.GetDetail()
			}
		case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_APPROVED:
			n.Approved++
		case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_READY:
			n.Ready++
		case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_DONE:
			n.Done++
		case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_EXPIRED:
			n.Expired++
		case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_CANCELLED:
			n.Cancelled++
		case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_UNSPECIFIED:
		}
	}
	return n, why
}

func kindOf(e *pb.MaintenanceEvent) string {
	return shell.EnumName(e.GetRequest().GetKind().String(), "MAINTENANCE_KIND_")
}

func impactOf(e *pb.MaintenanceEvent) string {
	return shell.EnumName(e.GetRequest().GetImpact().String(), "MAINTENANCE_IMPACT_")
}

func showCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a planned event piece by piece: who may go down, who is being prepared, and what the others wait for",
		Example: "  shardmanager maintenance show kernel-7",
		Args:    s.Exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := shell.Leader(c.Context(), s, shardmanagerv1connect.AdminServiceClient.ListMaintenance, &pb.ListMaintenanceRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), answer, func(w io.Writer) { pieces(w, answer) })
		},
	}
	s.Flags(c)
	return c
}

func pieces(w io.Writer, a *pb.ListMaintenanceResponse) {
	shell.Row(w, "SERVERS", "STATE", "LEFT", "DETAIL")
	for _, e := range a.GetEvents() {
		for _, p := range e.GetPieces() {
			left, detail := "-", p.GetDetail()
			if p.GetLeftMs() > 0 {
				left = (time.Duration(p.GetLeftMs()) * time.Millisecond).Round(time.Second).String()
			}
			if p.GetNever() {
				detail = "can never be approved as things are: " + detail
			}
			shell.Row(w, strings.Join(Names(p), " "), shell.EnumName(p.GetState().String(), "MAINTENANCE_PIECE_STATE_"), left, detail)
		}
	}
}

// Names are the servers of a piece.
func Names(p *pb.MaintenancePiece) []string {
	names := make([]string, len(p.GetCovers()))
	for i, c := range p.GetCovers() {
		names[i] = c.GetServer()
	}
	return names
}
