package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// stateDir is the agent's directory, held by a flock for the life of the process (R26).
type stateDir struct {
	path   string
	boot   string
	lock   *os.File
	claims claims
}

// claims is what a file must say to be ours.
type claims struct{ cluster, agent string }

const (
	stateSuffix = ".state"
	mapSuffix   = ".map"
	lockName    = "lock"
)

func openStateDir(path string, ours claims) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("state_dir: %s: another agent uses it: stop that one, or give each a directory of its own", path)
		}
		return nil, fmt.Errorf("state_dir: %s: flock: %w", path, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state_dir: boot id: %w", err), lock.Close())
	}
	return &stateDir{path: path, boot: strings.TrimSpace(string(boot)), lock: lock, claims: ours}, nil
}

func (d *stateDir) close() error { return d.lock.Close() }

func (d *stateDir) file(app shard.App) string { return filepath.Join(d.path, string(app)+stateSuffix) }

func (d *stateDir) mapFile(app shard.App) string { return filepath.Join(d.path, string(app)+mapSuffix) }

// loaded is what the file of one server says.
type loaded struct {
	app      shard.App
	saved    roster.Saved
	rebooted bool   // the file is of an earlier boot: its process is dead for certain
	moved    string // what was wrong with the file that stands aside now; empty: nothing
}

// load reads every server's file. A corrupt one is moved aside: the server begins a new incarnation.
func (d *stateDir) load() ([]loaded, error) {
	names, err := filepath.Glob(filepath.Join(d.path, "*"+stateSuffix))
	if err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	var list []loaded
	for _, path := range names {
		app := shard.App(strings.TrimSuffix(filepath.Base(path), stateSuffix))
		state := new(pb.AgentState)
		_, err := wire.ReadFile(path, state)
		switch {
		case errors.Is(err, wire.ErrCorrupt):
			aside, moveErr := wire.MoveAside(path)
			if moveErr != nil {
				return nil, errors.Join(err, moveErr)
			}
			list = append(list, loaded{app: app, moved: fmt.Sprintf("%v: moved to %s; a new incarnation begins", err, aside)})
			continue
		case err != nil:
			return nil, fmt.Errorf("state_dir: %w", err)
		}
		server := shard.MakeServerID(d.claims.agent, app)
		if state.GetCluster() != d.claims.cluster || state.GetServer() != string(server) {
			return nil, fmt.Errorf("state_dir: %s: belongs to server %s of cluster %s, not to %s of %s: give each agent a directory of its own",
				path, state.GetServer(), state.GetCluster(), server, d.claims.cluster)
		}
		list = append(list, loaded{app: app, saved: savedFromProto(state), rebooted: state.GetBootId() != d.boot})
	}
	return list, nil
}

// save writes a server's file durably.
func (d *stateDir) save(app shard.App, s roster.Saved) error {
	return wire.WriteFile(d.file(app), &pb.AgentState{
		Cluster: d.claims.cluster, Server: string(shard.MakeServerID(d.claims.agent, app)), Incarnation: uint64(s.Incarnation),
		Session: s.Session, CreateIndex: s.Create, BootId: d.boot, Ended: s.Ended, ProvenDead: s.ProvenDead,
		Pid: s.Process.PID, PidStartTicks: s.Process.StartTicks, ExitProves: s.Process.ExitProves, ServeOn: s.ServeOn,
		HighestEpoch: wire.EpochToProto(s.Highest),
	})
}

func savedFromProto(p *pb.AgentState) roster.Saved {
	return roster.Saved{
		Incarnation: shard.Incarnation(p.GetIncarnation()), Session: p.GetSession(), Create: p.GetCreateIndex(), Ended: p.GetEnded(),
		ProvenDead: p.GetProvenDead(), ServeOn: p.GetServeOn(), Highest: wire.EpochFromProto(p.GetHighestEpoch()),
		Process: roster.Process{PID: p.GetPid(), StartTicks: p.GetPidStartTicks(), ExitProves: p.GetExitProves()},
	}
}
