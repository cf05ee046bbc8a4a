// Package layout says where everything of a cluster on one machine is: directories, addresses, names, and the command lines that follow
// from them. It starts nothing; it makes the directories and finds the ports. Called by internal/dev.
package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/web"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
)

// Layout is where everything of a cluster is: directories, addresses, names.
type Layout struct {
	Store      string // addresses
	KVStore    string
	Allocators []Allocator
	Servers    []Server // those of the start

	dir       string
	sockets   string // directory of the agents' sockets
	temporary string // to be removed at the end because it lies outside dir; empty: none
	free      *ports.Ports
	named     int // nodes so far
}

// Allocator is where an allocator is. Agents reach it through the relay, and so does whoever learns its address from others; routers and
// operators are told where it listens.
type Allocator struct{ Name, Region, Listen, Relay, Admin, Gossip string }

// Page is where operators look at the cluster in a browser. That of a standby leads to the leader's.
func (a Allocator) Page() string { return "http://" + a.Admin + web.Path }

// Server is where an agent and the application beside it are.
type Server struct {
	Node, Region, Zone           string // the agent's name is the node's
	AgentListen, AppListen, Sock string
	Gossip                       string
}

// ID of the server, as the leader knows it.
func (s Server) ID() string { return s.Node + "." + App }

// Settings are what the command lines depend on beside places.
type Settings struct {
	Consul     []string // addresses of Consul, if that is the coordination store; none: the embedded store
	Mode       string   // of the example: PrimaryOnly or PrimarySecondary
	Profile    string
	Rate       int           // requests a second
	Deadline   time.Duration // of each
	BreakLease bool          // the leader does not wait after a fence
	Gossip     bool          // agents and allocators take part in gossip
}

// Modes of the example, as its command line names them.
const (
	PrimaryOnly      = "primary-only"
	PrimarySecondary = "primary-secondary"
)

// ReplicasIn is how many replicas a shard has in a mode.
func ReplicasIn(mode string) int {
	if mode == PrimarySecondary {
		return 2
	}
	return 1
}

// nearestShare of the reads may be answered by any replica, where there are some to choose from.
const nearestShare = "0.2"

// Names and size of the cluster.
const (
	Cluster        = "dev"
	App            = "kv"
	Shards         = 96
	allocatorCount = 3
	serverCount    = 6
)

// loadDeadline is how long the target of a move may load: an example's shard is small, and a scenario waits for the deadline to pass.
const loadDeadline = 10 * time.Second

// Regions of the cluster, each with an allocator and two servers in two zones.
var Regions = []string{"eu", "us", "ap"}

// maxSocketPath is the longest path of a Unix socket on Linux.
const maxSocketPath = 107

// defaultAdmin is the port of the default admin address of an allocator: with it, operators' verbs need no flag.
const defaultAdmin = 7440

// New makes the directories of a cluster and finds its ports. known: its first allocator serves operators at the default port, if that is free. Of
// clusters that are not, there may be several at once: they do not race for it.
func New(dir string, known bool) (*Layout, error) {
	l := &Layout{dir: dir, sockets: filepath.Join(dir, "sockets")}
	for _, sub := range []string{l.Logs(), l.Histories(), filepath.Join(dir, "store"), filepath.Join(dir, "state")} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
	}
	if err := l.makeSockets(); err != nil {
		return nil, err
	}
	l.free = ports.New()
	var failed []error
	port := func(preferred int) string {
		address, err := l.free.Take(preferred)
		failed = append(failed, err)
		return address
	}
	l.Store, l.KVStore = port(0), port(0)
	for i := range allocatorCount {
		preferred := 0
		if i == 0 && known {
			preferred = defaultAdmin
		}
		l.Allocators = append(l.Allocators, Allocator{
			Name: fmt.Sprintf("allocator-%d", i+1), Region: Regions[i%len(Regions)], Listen: port(0), Relay: port(0), Admin: port(preferred),
			Gossip: port(0),
		})
	}
	for i := range serverCount {
		place, err := l.NewServer(Regions[i/2%len(Regions)], i%2+1)
		failed = append(failed, err)
		l.Servers = append(l.Servers, place)
	}
	return l, errors.Join(failed...)
}

// NewServer gives a place to one more server, in a zone of a region.
func (l *Layout) NewServer(region string, zone int) (Server, error) {
	agent, agentErr := l.free.Take(0)
	app, appErr := l.free.Take(0)
	gossip, gossipErr := l.free.Take(0)
	l.named++
	node := fmt.Sprintf("node-%d", l.named)
	return Server{
		Node: node, Region: region, Zone: fmt.Sprintf("%s-%d", region, zone),
		AgentListen: agent, AppListen: app, Sock: filepath.Join(l.sockets, node+".sock"), Gossip: gossip,
	}, errors.Join(agentErr, appErr, gossipErr)
}

// makeSockets chooses a directory of a path short enough for the kernel.
func (l *Layout) makeSockets() (err error) {
	if len(l.sockets)+len("/node-99.sock") <= maxSocketPath {
		if err = os.MkdirAll(l.sockets, 0o700); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		return nil
	}
	if l.sockets, err = os.MkdirTemp("", "shardmanager-"); err != nil {
		return fmt.Errorf("directory for sockets: %w", err)
	}
	l.temporary = l.sockets
	return nil
}

// Logs is the directory of what the processes say, Histories of what they do, and Requests the file of what came of requests.
func (l *Layout) Logs() string      { return filepath.Join(l.dir, "log") }
func (l *Layout) Histories() string { return filepath.Join(l.dir, "history") }
func (l *Layout) Requests() string  { return filepath.Join(l.dir, "history", "requests") }
func (l *Layout) state(name string) string {
	return filepath.Join(l.dir, "state", name)
}

// History is the file in which a server's processes record what they do.
func (l *Layout) History(s Server) string { return filepath.Join(l.Histories(), s.Node) }

// Faults is the file that makes a server's application go wrong; Focus shifts the load. Both exist only while they are wanted.
func (l *Layout) Faults(s Server) string { return filepath.Join(l.dir, "faults-"+s.Node+".json") }
func (l *Layout) Focus() string          { return filepath.Join(l.dir, "focus.json") }

// AllocatorAddresses lists where allocators serve maps.
func (l *Layout) AllocatorAddresses() []string {
	var list []string
	for _, a := range l.Allocators {
		list = append(list, a.Listen)
	}
	return list
}

// RelayAddresses lists where agents reach allocators.
func (l *Layout) RelayAddresses() []string {
	var list []string
	for _, a := range l.Allocators {
		list = append(list, a.Relay)
	}
	return list
}

// AdminAddresses lists where allocators serve operators.
func (l *Layout) AdminAddresses() []string {
	var list []string
	for _, a := range l.Allocators {
		list = append(list, a.Admin)
	}
	return list
}

// The command lines of the programs, without the binary.

// Ports hands out further ports of the cluster.
func (l *Layout) Ports() *ports.Ports { return l.free }

// ConsulDir is the directory of Consul's servers.
func (l *Layout) ConsulDir() string { return filepath.Join(l.dir, "consul") }

// coordination is how a program is told of the coordination store.
func (l *Layout) coordination(cfg Settings) []string {
	if len(cfg.Consul) > 0 {
		return []string{"--store", "consul", "--consul-addresses", strings.Join(cfg.Consul, ",")}
	}
	return []string{"--store", "embedded", "--store-address", l.Store}
}

// gossip is how a program takes part in gossip, if any does: the allocators are whom everybody begins with.
func (l *Layout) gossip(listen string, cfg Settings) []string {
	if !cfg.Gossip {
		return nil
	}
	var seeds []string
	for _, a := range l.Allocators {
		seeds = append(seeds, a.Gossip)
	}
	return []string{"--gossip-listen", listen, "--gossip-join", strings.Join(seeds, ",")}
}

// StoreArgs is the command line of the embedded coordination store.
func (l *Layout) StoreArgs() []string {
	return []string{"store", "--listen", l.Store, "--data-dir", filepath.Join(l.dir, "store")}
}

// AllocatorArgs is the command line of an allocator.
func (l *Layout) AllocatorArgs(a Allocator, cfg Settings) []string {
	args := []string{
		"allocator", "--cluster", Cluster, "--name", a.Name, "--listen", a.Listen, "--advertise", a.Relay, "--admin-listen", a.Admin,
		"--state-dir", l.state(a.Name), "--profile", cfg.Profile, "--load-deadline", loadDeadline.String(),
		"--region", a.Region,
	}
	args = append(args, l.gossip(a.Gossip, cfg)...)
	args = append(args, l.coordination(cfg)...)
	if cfg.BreakLease {
		args = append(args, "--unsafe-fence-wait", "1ns")
	}
	return args
}

// AgentArgs is the command line of an agent.
func (l *Layout) AgentArgs(s Server, cfg Settings) []string {
	return append([]string{
		"agent", "--cluster", Cluster, "--name", s.Node, "--listen", s.AgentListen, "--socket", "unix://" + s.Sock,
		"--allocators", strings.Join(l.RelayAddresses(), ","), "--region", s.Region, "--zone", s.Zone, "--host", s.Node,
		"--state-dir", l.state(s.Node), "--apps", App, "--profile", cfg.Profile,
	}, append(l.gossip(s.Gossip, cfg), l.coordination(cfg)...)...)
}

// KVStoreArgs is the command line of the example's storage.
func (l *Layout) KVStoreArgs() []string {
	return []string{"example-kv", "store", "--listen", l.KVStore}
}

// AppArgs is the command line of an application at a version.
func (l *Layout) AppArgs(s Server, cfg Settings, version int) []string {
	args := []string{
		"example-kv", "serve", "--listen", s.AppListen, "--agent", "unix://" + s.Sock, "--mode", cfg.Mode,
		"--history", l.History(s), "--app-version", "v" + strconv.Itoa(version), "--faults", l.Faults(s),
	}
	if cfg.Mode == PrimaryOnly {
		args = append(args, "--store", "http://"+l.KVStore)
	}
	return args
}

// LoadArgs is the command line of the load generator.
func (l *Layout) LoadArgs(cfg Settings) []string {
	args := []string{
		"example-kv", "load", "--allocators", strings.Join(l.AllocatorAddresses(), ","), "--cluster", Cluster,
		"--rate", strconv.Itoa(cfg.Rate), "--deadline", cfg.Deadline.String(), "--history", l.Requests(), "--focus", l.Focus(),
	}
	if cfg.Mode == PrimarySecondary {
		args = append(args, "--nearest", nearestShare)
	}
	return args
}

// Remove gives the ports back and removes what lies outside the cluster's directory.
func (l *Layout) Remove() error {
	err := l.free.Release()
	if l.temporary != "" {
		err = errors.Join(err, os.RemoveAll(l.temporary))
	}
	return err
}
