package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/overlap"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Server is one server of the fleet. Whoever supervises it starts it again when it has ended.
type Server struct {
	Place
	f    *Fleet
	unit *process.Unit
	life life

	mu      sync.Mutex
	version int
	up      time.Time // the start-up of its process is over then
	planned int       // ends that were no crash
}

// ID of the server, as the leader knows it.
func (s *Server) ID() string { return s.Name + "." + app }

func (f *Fleet) newServer(p Place) (*Server, error) {
	agent, agentErr := f.ports.Take(0)
	data, dataErr := f.ports.Take(0)
	s := &Server{Place: p, f: f, version: 1, life: life{
		Name: p.Name, Cluster: cluster, Region: p.Region, Zone: p.Zone, AgentListen: agent, AppListen: data, Socket: filepath.Join(f.cfg.Dir, "sockets", p.Name),
		StateDir: filepath.Join(f.cfg.Dir, "state", p.Name), Store: f.store.Args[2], Profile: f.cfg.Profile, Mode: "primary-only", Allocators: f.addresses, DrainTimeout: time.Minute, Cold: f.cfg.Cold,
	}}
	if f.cfg.Spec.GetReplication() == pb.Replication_REPLICATION_PRIMARY_SECONDARY {
		s.life.Mode = "primary-secondary"
	} else {
		s.life.KVStore = f.kvStore.Args[3]
	}
	if f.cfg.History {
		s.life.History = s.history()
	}
	s.unit = &process.Unit{Name: p.Name, Binary: f.cfg.Self[0], Log: f.log(p.Name), Starter: f.starter, Died: s.ended}
	return s, errors.Join(agentErr, dataErr)
}

func (s *Server) history() string { return filepath.Join(s.f.cfg.Dir, "history", s.Name) }

// pidFile is read by commands that end the server.
func (s *Server) pidFile() string { return filepath.Join(s.f.cfg.Dir, "state", s.Name+".pid") }

// wanted is the file that says that the next version is to be started from now on.
func (s *Server) wanted() string { return filepath.Join(s.f.cfg.Dir, "state", s.Name+".v2") }

// start starts a process, which takes so long to start up.
func (s *Server) start(startUp time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.wanted()); err == nil {
		s.version = 2
	}
	s.life.StartUp, s.life.Version = startUp, "v"+strconv.Itoa(s.version)
	text, err := json.Marshal(s.life)
	if err != nil {
		return err
	}
	s.unit.Args = append(slices.Clone(s.f.cfg.Self[1:]), string(text))
	if err := s.unit.Start(); err != nil {
		return err
	}
	s.up = time.Now().Add(startUp)
	return os.WriteFile(s.pidFile(), []byte(strconv.Itoa(s.unit.PID())), 0o644)
}

// ended starts a server again that a deployer ended.
func (s *Server) ended(*process.Unit, error) {
	s.f.mu.Lock()
	stopped := s.f.stopped
	s.f.mu.Unlock()
	if stopped {
		return
	}
	s.mu.Lock()
	s.planned++
	s.mu.Unlock()
	if err := s.start(s.f.cfg.StartUp); err != nil {
		s.f.Say("%v", err)
	}
}

// Replaced is how often a deployer ended it.
func (s *Server) Replaced() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.planned
}

// Upgraded reports whether it runs, or will, at another version than at first.
func (s *Server) Upgraded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version > 1
}

// Down reports whether it has no process, or one that still starts up.
func (s *Server) Down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.unit.Running() || time.Now().Before(s.up)
}

// Crash ends the process with SIGKILL.
func (s *Server) Crash(ctx context.Context) error {
	pid := s.unit.PID()
	at, err := s.unit.Kill(ctx)
	if err == nil {
		s.f.mu.Lock()
		defer s.f.mu.Unlock()
		s.f.kills = append(s.f.kills, overlap.Kill{Process: overlap.Process{File: s.history(), PID: pid}, At: at})
	}
	return err
}

// Begin starts a server that crashed.
func (s *Server) Begin() error { return s.start(s.f.cfg.StartUp) }

// Servers lists all servers.
func (f *Fleet) Servers() []*Server {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.servers)
}

// Add adds a server at the next version, which starts up at once.
func (f *Fleet) Add(p Place) error {
	s, err := f.newServer(p)
	if err != nil {
		return err
	}
	s.version = 2
	f.mu.Lock()
	f.servers = append(f.servers, s)
	f.mu.Unlock()
	return s.start(0)
}

// Rollout runs `shardmanager rollout` over servers, and returns what it said. The command does what `systemctl restart` does after the next version was
// installed, by a signal: whoever is down anyway comes back as the next version. Servers that came back by themselves before their command ran are upgraded
// by a rollout of their own, as an operator would.
func (f *Fleet) Rollout(ctx context.Context, id, signal string, servers []*Server, more ...string) (said string, err error) {
	for range 3 {
		var once string
		once, err = f.rollout(ctx, id, signal, servers, more)
		said += once
		if err == nil || !strings.Contains(err.Error(), "came back before the command ran") {
			return said, err
		}
		if servers = slices.DeleteFunc(slices.Clone(servers), (*Server).Upgraded); len(servers) == 0 {
			return said, nil
		}
		id += "-again"
	}
	return said, err
}

func (f *Fleet) rollout(ctx context.Context, id, signal string, servers []*Server, more []string) (string, error) {
	file := filepath.Join(f.cfg.Dir, "state", "{{.Agent}}")
	args := []string{"rollout", id, "--admin", strings.Join(f.Operator.Addresses, ","), "--kind", "upgrade",
		"--command", fmt.Sprintf("touch '%s.v2' && kill -%s $(cat '%s.pid') || true", file, signal, file)}
	for _, s := range servers {
		args = append(args, "--server", s.ID())
	}
	cmd := exec.CommandContext(ctx, f.cfg.Binary, append(args, more...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("rollout: %w: %s", err, out.String())
	}
	return out.String(), err
}

// Overlap is what the histories of all processes say, once all have ended.
func (f *Fleet) Overlap() (*overlap.Report, error) {
	var all []overlap.History
	for _, s := range f.Servers() {
		list, err := overlap.Read(s.history())
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	kills := slices.DeleteFunc(slices.Clone(f.kills), func(k overlap.Kill) bool { // those of processes that had not begun to record
		return !slices.ContainsFunc(all, func(h overlap.History) bool { return h.Process == k.Process })
	})
	return overlap.Analyse(all, kills)
}

// Replace ends the process with SIGKILL; the next version follows.
func (s *Server) Replace() error {
	if err := os.WriteFile(s.wanted(), nil, 0o644); err != nil {
		return err
	}
	_, err := s.unit.Signal(syscall.SIGKILL, false)
	return err
}

// Back waits until servers are attached in other incarnations than before.
func (f *Fleet) Back(ctx context.Context, before []*pb.ServerStatus, servers []*Server) error {
	was := map[string]uint64{}
	for _, s := range before {
		was[s.GetServer().GetId()] = s.GetServer().GetIncarnation()
	}
	return clock.Await(ctx, startPatience, "servers to come back", func(ctx context.Context) error {
		now, err := f.States(ctx)
		if err != nil {
			return err
		}
		back := map[string]bool{}
		for _, s := range now {
			back[s.GetServer().GetId()] = s.GetState() == pb.ServerState_SERVER_STATE_ATTACHED && s.GetServer().GetIncarnation() != was[s.GetServer().GetId()]
		}
		for _, s := range servers {
			if !back[s.ID()] {
				return fmt.Errorf("%s is not back", s.ID())
			}
		}
		return nil
	})
}

// CrashTogether ends processes with SIGKILL, all at once.
func CrashTogether(ctx context.Context, servers []*Server) error {
	failed := make([]error, len(servers))
	var group sync.WaitGroup
	for i, s := range servers {
		group.Go(func() { failed[i] = s.Crash(ctx) })
	}
	group.Wait()
	return errors.Join(failed...)
}

// Active lists the servers of a planned event that are approved, as the leader says.
func (f *Fleet) Active(ctx context.Context) (map[string]bool, error) {
	answer, err := operator.Leader(ctx, f.Operator, shardmanagerv1connect.AdminServiceClient.ListMaintenance, &pb.ListMaintenanceRequest{})
	if err != nil {
		return nil, err
	}
	list := map[string]bool{}
	for _, e := range answer.GetEvents() {
		for _, p := range e.GetPieces() {
			for _, c := range p.GetCovers() {
				if s := p.GetState(); s == pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_APPROVED || s == pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_READY {
					list[c.GetServer()] = true
				}
			}
		}
	}
	return list, nil
}
