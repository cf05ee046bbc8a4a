package rollout

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/maintenance"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// outputMost is how much of a failed command's output is shown.
const outputMost = 500

// place is what a template may name of a server.
func place(s *pb.ServerStatus) map[string]string {
	at := s.GetServer()
	return map[string]string{"Server": at.GetId(), "Agent": at.GetAgent(), "App": at.GetApp(), "Host": at.GetLocality().GetHost(), "Rack": at.GetLocality().GetRack(),
		"Zone": at.GetLocality().GetZone(), "Region": at.GetLocality().GetRegion()}
}

// restart runs the command for each server of a piece that did not come back since it was approved. An earlier run of the rollout may have ended
// between the command and the news that the server is back, and a server may be down for another reason: both are told to restart, once more perhaps.
// It answers which servers were back.
func (r *rollout) restart(ctx context.Context, e *pb.MaintenanceEvent, p *pb.MaintenancePiece) (back []string, err error) {
	for _, c := range p.GetCovers() {
		s := r.servers[c.GetServer()]
		if now, err := r.find(ctx, c.GetServer()); err != nil {
			return back, err
		} else if now != nil && now.GetServer().GetIncarnation() != c.GetIncarnation() {
			back = append(back, c.GetServer())
			continue
		}
		if s == nil {
			return back, fmt.Errorf("%s is not known", c.GetServer())
		}
		if err := r.execute(ctx, s); err != nil {
			return back, err
		}
	}
	if k := e.GetRequest().GetKind(); k == pb.MaintenanceKind_MAINTENANCE_KIND_DRAIN || k == pb.MaintenanceKind_MAINTENANCE_KIND_DECOMMISSION {
		err = r.patiently(ctx, func() error {
			_, err := shell.Leader(ctx, r.Shell, shardmanagerv1connect.AdminServiceClient.FinishMaintenance,
				&pb.FinishMaintenanceRequest{Id: r.id, Servers: maintenance.Names(p)})
			return err
		})
	}
	return back, err
}

// find is what the leader knows of a server now; nil: nothing.
func (r *rollout) find(ctx context.Context, id string) (*pb.ServerStatus, error) {
	var listed *pb.ListServersResponse
	err := r.patiently(ctx, func() (err error) {
		listed, err = shell.Leader(ctx, r.Shell, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
		return err
	})
	for _, s := range listed.GetServers() {
		if s.GetServer().GetId() == id {
			return s, err
		}
	}
	return nil, err
}

func (r *rollout) execute(ctx context.Context, s *pb.ServerStatus) error {
	var text bytes.Buffer
	names := place(s)
	if err := r.text.Execute(&text, names); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout) // what has begun is not cut in the middle
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-c", text.String())
	c.Env = os.Environ()
	for name, value := range names {
		c.Env = append(c.Env, "SHARDMANAGER_"+strings.ToUpper(name)+"="+value)
	}
	out, err := c.CombinedOutput()
	if err != nil {
		said := strings.TrimSpace(string(out[max(0, len(out)-outputMost):]))
		return fmt.Errorf("the command %q: %w: %s", text.String(), err, said)
	}
	return nil
}
