// Package rollout is the verb `shardmanager rollout`: it restarts a fleet of servers through a command, at the pace that approval allows.
//
// Called by cmd/shardmanager. The leader approves and prepares; this only runs commands, and can go on where another run of it ended.
package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/maintenance"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// rollout is one run of the verb.
type rollout struct {
	shell.Shell
	flags     maintenance.Flags
	app       string
	command   string
	keepGoing bool
	timeout   time.Duration
	abort     bool
	question  shell.Question

	id      string
	text    *template.Template
	servers map[string]*pb.ServerStatus
	pieces  map[string]progress // by what they cover
	missed  []string            // servers that came back before their command ran
	failed  []error
	results chan result
	running int
	moves   moves
	began   time.Time
	out     io.Writer
	shown   string
	bar     *shell.Bar // of the pieces that are done
}

// progress is what this run of the verb did about a piece.
type progress uint8

const (
	unseen progress = iota // an earlier run may have run its command
	seen                   // before it was ready, so that none has
	begun
)

// result is what became of the commands of a piece, and which servers were back before theirs.
type result struct {
	piece *pb.MaintenancePiece
	back  []string
	err   error
}

// Command is the verb.
func Command(s shell.Shell) *cobra.Command {
	r := &rollout{Shell: s}
	c := &cobra.Command{
		Use:   "rollout ID",
		Short: "Restart a fleet of servers through a command, at the pace that approval allows",
		Long: "Restart a fleet of servers through a command, at the pace that approval allows: each server is asked for, drained by what the event does to it, and restarted\n" +
			"once it is ready; the next ones follow when it is back. Shards go to servers that were restarted already, so that they move once.\n\n" +
			"The command is a template for a shell: {{.Server}}, {{.Agent}}, {{.App}}, {{.Host}}, {{.Rack}}, {{.Zone}} and {{.Region}} stand for the server's own, also as\n" +
			"variables SHARDMANAGER_SERVER and so on. It must be over once the process was told to restart; the leader sees that it is back.\n\n" +
			"After an interruption the same command line goes on where it ended: servers that are back are not restarted again. --abort takes back what is not done.\n" +
			"A command that fails stops the rollout, and what waits is taken back, unless --keep-going is given.",
		Example: "  shardmanager rollout v2 --app kv --kind upgrade --command 'ssh {{.Host}} systemctl restart kv'\n" +
			"  shardmanager rollout v2 --abort",
		Args: s.Exactly("ID"),
		RunE: r.run,
	}
	r.flags.Add(c)
	c.Flags().StringVar(&r.app, "app", "", "all servers of this `APP`, as they are now")
	c.Flags().StringVar(&r.command, "command", "", "`TEMPLATE` of the command that restarts a server")
	c.Flags().BoolVar(&r.keepGoing, "keep-going", false, "go on with other servers when a command failed")
	c.Flags().DurationVar(&r.timeout, "command-timeout", 5*time.Minute, "how long a command may take")
	c.Flags().BoolVar(&r.abort, "abort", false, "take back what of this rollout is not done")
	r.question.Flag(c)
	s.Flags(c)
	return c
}

func (r *rollout) run(c *cobra.Command, args []string) error {
	r.id, r.out, r.began, r.bar = args[0], c.OutOrStdout(), time.Now(), shell.NewBar(c)
	defer r.bar.Clear()
	if r.abort {
		if err := maintenance.Confirm(c, r.Shell, &r.question, r.id, maintenance.Cancels); err != nil {
			return err
		}
		_, err := shell.Leader(c.Context(), r.Shell, shardmanagerv1connect.AdminServiceClient.CancelMaintenance, &pb.CancelMaintenanceRequest{Id: r.id})
		if err == nil {
			r.say("aborted; servers that are up take shards again")
		}
		return err
	}
	if err := r.prepare(c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return r.follow(ctx)
}

// prepare checks everything before anything is asked for, and asks.
func (r *rollout) prepare(c *cobra.Command) error {
	refuse := func(err error) error { return r.Refuse(fmt.Errorf("%s: %w", c.CommandPath(), err)) }
	if r.command == "" {
		return refuse(errors.New("--command: expected the command that restarts a server"))
	}
	var err error
	if r.text, err = template.New("command").Option("missingkey=error").Parse(r.command); err != nil {
		return refuse(fmt.Errorf("--command: %w", err))
	}
	if err := r.text.Execute(io.Discard, place(&pb.ServerStatus{})); err != nil {
		return refuse(fmt.Errorf("--command: %w", err))
	}
	listed, err := shell.Leader(c.Context(), r.Shell, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
	if err != nil {
		return err
	}
	r.servers, r.pieces, r.results = map[string]*pb.ServerStatus{}, map[string]progress{}, make(chan result)
	for _, s := range listed.GetServers() {
		r.servers[s.GetServer().GetId()] = s
		if r.app != "" && s.GetServer().GetApp() == r.app && s.GetState() == pb.ServerState_SERVER_STATE_ATTACHED {
			r.flags.Servers = append(r.flags.Servers, s.GetServer().GetId())
		}
	}
	if e, err := maintenance.Find(c.Context(), r.Shell, r.id); err != nil || e != nil {
		return err // it goes on
	}
	request, err := r.flags.Request(r.id)
	if err != nil {
		return refuse(err)
	}
	_, err = shell.Leader(c.Context(), r.Shell, shardmanagerv1connect.AdminServiceClient.RequestMaintenance, &pb.RequestMaintenanceRequest{Request: request})
	return err
}

// follow runs commands as pieces become ready, until none is left.
func (r *rollout) follow(ctx context.Context) error {
	ticker := time.NewTicker(maintenance.Look)
	defer ticker.Stop()
	for {
		over, err := r.look(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if over && r.running == 0 {
			return r.end()
		}
		select {
		case done := <-r.results:
			r.running--
			if r.missed = append(r.missed, done.back...); done.err != nil {
				r.fail(done)
			}
		case <-ticker.C:
		case <-ctx.Done():
			for r.running > 0 {
				<-r.results
				r.running--
			}
			return fmt.Errorf("rollout: interrupted; the same command line goes on, `shardmanager rollout %s --abort` takes it back", r.id)
		}
	}
}

// leaderPatience is how long there may be no leader.
const leaderPatience = 2 * time.Minute

// patiently tries again what no leader answered: leaders may change, and so may addresses.
func (r *rollout) patiently(ctx context.Context, try func() error) error {
	for since := time.Now(); ; {
		err := try()
		if detail, said := wire.DetailOf(err); err == nil || said && detail.GetReason() != pb.ErrorReason_ERROR_REASON_NOT_LEADER || time.Since(since) > leaderPatience ||
			!clock.Pause(ctx, maintenance.Look) {
			return err
		}
	}
}

// look begins what may begin, and says how far all is.
func (r *rollout) look(ctx context.Context) (over bool, err error) {
	var e *pb.MaintenanceEvent
	if err := r.patiently(ctx, func() (err error) { e, err = maintenance.Find(ctx, r.Shell, r.id); return err }); err != nil || e == nil {
		return false, err
	}
	if err := r.patiently(ctx, func() error { return r.moves.look(ctx, r.Shell, r.app) }); err != nil {
		return false, err
	}
	n, why := maintenance.Count(e)
	for _, p := range e.GetPieces() {
		r.take(ctx, e, p)
	}
	text := fmt.Sprintf("%d of %d done, %d down, %d being drained, %d waiting", n.Done, len(e.GetPieces()), n.Ready, n.Approved, n.Waiting)
	if n.Waiting > 0 && n.Approved+n.Ready == 0 {
		text += ": " + why
	}
	if n.Expired+n.Cancelled > 0 {
		text += fmt.Sprintf(", %d expired, %d cancelled", n.Expired, n.Cancelled)
	}
	if text != r.shown {
		r.shown = text
		r.say(text)
	}
	r.bar.Show(uint64(n.Done), uint64(len(e.GetPieces())), text) //nolint:gosec // never negative
	return n.Waiting+n.Approved+n.Ready == 0, nil
}

// take begins what may begin of a piece, and notes who came back without a command.
func (r *rollout) take(ctx context.Context, e *pb.MaintenanceEvent, p *pb.MaintenancePiece) {
	key := strings.Join(maintenance.Names(p), " ")
	switch was := r.pieces[key]; p.GetState() {
	case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_WAITING, pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_APPROVED:
		r.pieces[key] = seen
	case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_READY:
		if was == begun || len(r.failed) > 0 {
			return
		}
		r.pieces[key] = begun
		r.running++
		go func() {
			back, err := r.restart(ctx, e, p)
			if was == unseen {
				back = nil // an earlier run may have restarted them
			}
			r.results <- result{p, back, err}
		}()
	case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_DONE:
		if was == seen {
			r.pieces[key] = begun
			r.missed = append(r.missed, maintenance.Names(p)...)
		}
	case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_UNSPECIFIED, pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_EXPIRED,
		pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_CANCELLED:
	}
}

// fail takes back what waits, unless it is to go on.
func (r *rollout) fail(done result) {
	r.say(fmt.Sprintf("%s: %v", strings.Join(maintenance.Names(done.piece), " "), done.err))
	if r.keepGoing {
		return
	}
	r.failed = append(r.failed, done.err)
	ctx, cancel := context.WithTimeout(context.Background(), leaderPatience)
	defer cancel()
	if err := r.patiently(ctx, func() error {
		_, err := shell.Leader(ctx, r.Shell, shardmanagerv1connect.AdminServiceClient.CancelMaintenance, &pb.CancelMaintenanceRequest{Id: r.id})
		return err
	}); err != nil {
		r.failed = append(r.failed, err)
	}
}

// end sums up.
func (r *rollout) end() error {
	var e *pb.MaintenanceEvent
	err := r.patiently(context.Background(), func() (err error) { e, err = maintenance.Find(context.Background(), r.Shell, r.id); return err })
	if err != nil || e == nil {
		return errors.Join(append(r.failed, err)...)
	}
	n, _ := maintenance.Count(e)
	r.say(fmt.Sprintf("%d of %d done in %s; %s", n.Done, len(e.GetPieces()), time.Since(r.began).Round(time.Second), r.moves.summary()))
	if n.Done < len(e.GetPieces()) {
		return errors.Join(append(r.failed, fmt.Errorf("rollout: %d of %d pieces were not done: see `shardmanager maintenance show %s`", len(e.GetPieces())-n.Done, len(e.GetPieces()), r.id))...)
	}
	if len(r.missed) > 0 && e.GetRequest().GetKind() == pb.MaintenanceKind_MAINTENANCE_KIND_UPGRADE {
		return fmt.Errorf("rollout: %s came back before the command ran, and may not be upgraded: begin a rollout with another ID for --server %s",
			strings.Join(r.missed, " "), strings.Join(r.missed, ","))
	}
	return nil
}

func (r *rollout) say(text string) {
	r.bar.Clear()
	_, _ = fmt.Fprintf(r.out, "%7.1fs  %s: %s\n", time.Since(r.began).Seconds(), r.id, text)
}
