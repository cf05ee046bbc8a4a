package dev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// layout is where everything of a cluster is: directories, addresses, names.
type layout struct {
	dir        string
	sockets    string // directory of the agents' sockets
	temporary  string // to be removed at the end because it lies outside dir; empty: none
	store      string // addresses
	kvStore    string
	allocators []allocatorPlace
	servers    []serverPlace // those of the start
	free       *ports
	named      int // nodes so far
}

// allocatorPlace is where an allocator is. Agents reach it through the relay, and so does whoever learns its address from others; routers and
// operators are told where it listens.
type allocatorPlace struct{ name, region, listen, relay, admin string }

type serverPlace struct {
	node, region, zone           string // the agent's name is the node's
	agentListen, appListen, sock string
}

// id of the server, as the leader knows it.
func (s serverPlace) id() string { return s.node + "." + appName }

var regions = []string{"eu", "us", "ap"}

// maxSocketPath is the longest path of a Unix socket on Linux.
const maxSocketPath = 107

// preferredAdmin is the default admin address of an allocator: with it, operators' verbs need no flag.
const preferredAdmin = 7440

func newLayout(dir string) (*layout, error) {
	l := &layout{dir: dir, sockets: filepath.Join(dir, "sockets")}
	for _, sub := range []string{l.logs(), l.histories(), filepath.Join(dir, "store"), filepath.Join(dir, "state")} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
	}
	if err := l.makeSockets(); err != nil {
		return nil, err
	}
	l.free = newPorts()
	var failed []error
	port := func(preferred int) string {
		address, err := l.free.next(preferred)
		failed = append(failed, err)
		return address
	}
	l.store, l.kvStore = port(0), port(0)
	for i := range allocatorCount {
		preferred := 0
		if i == 0 {
			preferred = preferredAdmin
		}
		l.allocators = append(l.allocators, allocatorPlace{
			name: fmt.Sprintf("allocator-%d", i+1), region: regions[i%len(regions)], listen: port(0), relay: port(0), admin: port(preferred),
		})
	}
	for i := range serverCount {
		place, err := l.newServer(regions[i/2%len(regions)], i%2+1)
		failed = append(failed, err)
		l.servers = append(l.servers, place)
	}
	return l, errors.Join(failed...)
}

// newServer gives a place to one more server, in a zone of a region.
func (l *layout) newServer(region string, zone int) (serverPlace, error) {
	agent, agentErr := l.free.next(0)
	app, appErr := l.free.next(0)
	l.named++
	node := fmt.Sprintf("node-%d", l.named)
	return serverPlace{
		node: node, region: region, zone: fmt.Sprintf("%s-%d", region, zone),
		agentListen: agent, appListen: app, sock: filepath.Join(l.sockets, node+".sock"),
	}, errors.Join(agentErr, appErr)
}

// makeSockets chooses a directory of a path short enough for the kernel.
func (l *layout) makeSockets() (err error) {
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

func (l *layout) logs() string      { return filepath.Join(l.dir, "log") }
func (l *layout) histories() string { return filepath.Join(l.dir, "history") }
func (l *layout) requests() string  { return filepath.Join(l.dir, "history", "requests") }
func (l *layout) state(name string) string {
	return filepath.Join(l.dir, "state", name)
}

// history is the file in which a server's processes record what they do.
func (l *layout) history(s serverPlace) string { return filepath.Join(l.histories(), s.node) }

// faults is the file that makes a server's application go wrong; focus shifts the load. Both exist only while they are wanted.
func (l *layout) faults(s serverPlace) string { return filepath.Join(l.dir, "faults-"+s.node+".json") }
func (l *layout) focus() string               { return filepath.Join(l.dir, "focus.json") }

// allocatorAddresses lists where allocators serve maps.
func (l *layout) allocatorAddresses() []string {
	var list []string
	for _, a := range l.allocators {
		list = append(list, a.listen)
	}
	return list
}

// relayAddresses lists where agents reach allocators.
func (l *layout) relayAddresses() []string {
	var list []string
	for _, a := range l.allocators {
		list = append(list, a.relay)
	}
	return list
}

func (l *layout) adminAddresses() []string {
	var list []string
	for _, a := range l.allocators {
		list = append(list, a.admin)
	}
	return list
}

// The command lines of the programs.

func (l *layout) storeArgs() []string {
	return []string{"store", "--listen", l.store, "--data-dir", filepath.Join(l.dir, "store")}
}

func (l *layout) allocatorArgs(a allocatorPlace, cfg Config) []string {
	args := []string{
		"allocator", "--cluster", clusterName, "--name", a.name, "--listen", a.listen, "--advertise", a.relay, "--admin-listen", a.admin,
		"--store", cfg.Store, "--store-address", l.store, "--state-dir", l.state(a.name), "--profile", cfg.Profile,
		"--load-deadline", loadDeadline.String(),
	}
	if cfg.BreakLease {
		args = append(args, "--unsafe-fence-wait", "1ns")
	}
	return args
}

func (l *layout) agentArgs(s serverPlace, cfg Config) []string {
	return []string{
		"agent", "--cluster", clusterName, "--name", s.node, "--listen", s.agentListen, "--socket", "unix://" + s.sock,
		"--store", cfg.Store, "--store-address", l.store, "--allocators", strings.Join(l.relayAddresses(), ","),
		"--region", s.region, "--zone", s.zone, "--host", s.node, "--state-dir", l.state(s.node), "--apps", appName, "--profile", cfg.Profile,
	}
}

func (l *layout) kvStoreArgs() []string {
	return []string{"example-kv", "store", "--listen", l.kvStore}
}

func (l *layout) appArgs(s serverPlace, version int) []string {
	return []string{
		"example-kv", "serve", "--listen", s.appListen, "--agent", "unix://" + s.sock, "--store", "http://" + l.kvStore,
		"--history", l.history(s), "--app-version", "v" + strconv.Itoa(version), "--faults", l.faults(s),
	}
}

func (l *layout) loadArgs(cfg Config) []string {
	return []string{
		"example-kv", "load", "--allocators", strings.Join(l.allocatorAddresses(), ","), "--cluster", clusterName,
		"--rate", strconv.Itoa(cfg.Rate), "--history", l.requests(), "--focus", l.focus(),
	}
}
