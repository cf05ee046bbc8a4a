package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/ports"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// command runs a verb against the fleet's allocators, which must succeed.
func (f *fleet) command(args ...string) []byte {
	f.t.Helper()
	out, err := exec.CommandContext(f.t.Context(), binary, f.asked(args...)...).Output()
	if err != nil {
		f.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

// in counts the shards that servers of the fleet's first agents own.
func (f *fleet) in(first int) (n int) {
	for _, o := range f.owners() {
		for i := range first {
			if strings.HasPrefix(o.server, []string{"n0.", "n1."}[i]) {
				n++
			}
		}
	}
	return n
}

// A region is scaled to zero by one request, and back up: its servers go one after another, each once it has nothing, and no request fails.
func TestRegionIsScaledToZero(t *testing.T) {
	t.Parallel()
	free := ports.New()
	t.Cleanup(func() { _ = free.Release() })
	store, err := free.Take(0)
	if err != nil {
		t.Fatal(err)
	}
	daemon(t, binary, nil, "store", "--listen", store, "--data-dir", filepath.Join(t.TempDir(), "store"))
	f := newFleet(t, "zero", "default", size{allocators: 2, agents: 4, eu: 2}, []string{"--store-address", store}, "")
	f.run("100", "--allocators", strings.Join(f.serve, ","))

	f.command("maintenance", "request", "no-eu", "--kind", "decommission", "--impact", "machine-loss", "--region", "eu", "--duration", "10m")
	stopped := map[string]bool{}
	over := func() bool {
		lead := f.leading()
		if lead < 0 {
			return false
		}
		answer, err := ask(f, lead, &pb.ListMaintenanceRequest{Id: "no-eu"}, shardmanagerv1connect.AdminServiceClient.ListMaintenance)
		if err != nil || len(answer.GetEvents()) != 1 {
			return false
		}
		active, done := 0, 0
		for _, p := range answer.GetEvents()[0].GetPieces() {
			server := p.GetCovers()[0].GetServer()
			switch p.GetState() {
			case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_READY:
				active++
				if i := int(server[1] - '0'); !stopped[server] {
					stopped[server] = true
					for _, owner := range f.owners() {
						if owner.server == server {
							t.Errorf("%s may go, and owns a shard", server)
						}
					}
					for _, u := range []interface{ Stop(time.Duration) error }{f.apps[i], f.agents[i]} {
						if err := u.Stop(time.Minute); err != nil {
							t.Error(err)
						}
					}
				}
			case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_APPROVED:
				active++
			case pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_DONE:
				done++
			default:
			}
		}
		if active > 1 {
			t.Errorf("%d pieces at once: %v", active, answer)
		}
		return done == 2
	}
	f.await(2*time.Minute, "the region to be empty", over)
	if len(stopped) != 2 || f.in(2) != 0 || len(f.owners()) != fleetShards {
		t.Errorf("%v stopped, owners %v", stopped, f.owners())
	}
	var advice pb.AdviseCapacityResponse
	if err := json.Unmarshal(f.command("app", "capacity", "kv", "-o", "json"), &advice); err != nil || advice.GetServers() != 2 || len(advice.GetRegions()) != 1 {
		t.Errorf("%v, %v", &advice, err)
	}

	for i := range 2 {
		f.start(f.agents[i])
		f.start(f.apps[i])
	}
	f.await(2*time.Minute, "the region to have shards again", func() bool { return f.in(2) > 0 })
	if list := f.rest(); failed(list) > 0 {
		t.Errorf("%d of %d requests failed", failed(list), len(list))
	}
	f.overlaps()
}
