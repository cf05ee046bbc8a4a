package consulserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/dev/process"
)

const (
	// startPatience is how long servers may take until they have a leader, on a busy machine too.
	startPatience = 90 * time.Second
	// stopPatience is how long a server may take to stop in order; then it is killed, which costs nothing that is durable.
	stopPatience = 15 * time.Second
	// askEvery is the pause between questions to a server that is not ready.
	askEvery = 50 * time.Millisecond
	// askTimeout ends one question.
	askTimeout = 2 * time.Second
	// maxServers is more than anybody needs on one machine.
	maxServers = 7
	// loopback is where servers listen.
	loopback = "127.0.0.1"
	// maxClientConns is more than a thousand agents need, which here all have one address.
	maxClientConns = 4096
)

// Config of a cluster of servers.
type Config struct {
	Binary  string
	Dir     string // for data, configurations and logs
	Logs    string // directory of the logs; empty: Dir
	Servers int    // 1, or 3 that elect a leader
	Ports   *ports.Ports
	// Hosts are the addresses of the servers, one each, where every server has a host of its own; none: all are on this one, at ports of Ports.
	Hosts   []string
	Starter *process.Starter
	Died    func(u *process.Unit, err error) // called when a server ends although nobody ended it
	// Advertise is the address that servers tell each other, where somebody forwards to what RPC says; empty: where they listen.
	Advertise string
	// Settings are laid over those of Consul's configuration, key by key at the top level.
	Settings map[string]any
}

// Consul's own ports, for servers on hosts of their own.
const (
	portHTTP = "8500"
	portRPC  = "8300"
	portSerf = "8301"
)

// Server is one Consul server.
type Server struct {
	*process.Unit
	HTTP string // host:port
	RPC  string // host:port, where other servers talk to it
	told string // the same, as they are told
	serf string
	host string // where it listens
}

// Told is where other servers believe that they talk to this one.
func (s *Server) Told() string { return s.told }

// Cluster is servers that belong together.
type Cluster struct {
	Servers []*Server
	client  *http.Client
}

// New gives servers their ports and writes their configurations; it starts none.
func New(cfg Config) (*Cluster, error) {
	if len(cfg.Hosts) > 0 && len(cfg.Hosts) != cfg.Servers {
		return nil, fmt.Errorf("consul: %d hosts for %d servers", len(cfg.Hosts), cfg.Servers)
	}
	if cfg.Servers < 1 || cfg.Servers > maxServers {
		return nil, fmt.Errorf("consul: %d servers: expected 1 to %d", cfg.Servers, maxServers)
	}
	c := &Cluster{client: &http.Client{Timeout: askTimeout, Transport: &http.Transport{DisableKeepAlives: true}}}
	logs := cfg.Logs
	if logs == "" {
		logs = cfg.Dir
	}
	for i := range cfg.Servers {
		name := "consul-" + strconv.Itoa(i+1)
		s := &Server{Unit: &process.Unit{
			Name: name, Binary: cfg.Binary, Args: []string{"agent", "-config-file", filepath.Join(cfg.Dir, name+".json")},
			Log: filepath.Join(logs, name+".log"), Starter: cfg.Starter, Died: cfg.Died,
			Hangs: true, // one that is told to end while it replays its log may (hashicorp/consul#12247): nobody takes the events any more that the replay publishes
		}}
		if err := s.place(cfg, i); err != nil {
			return nil, fmt.Errorf("consul: %w", err)
		}
		c.Servers = append(c.Servers, s)
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	for _, s := range c.Servers {
		text, err := json.MarshalIndent(c.settings(cfg, s), "", "  ")
		if err != nil {
			return nil, fmt.Errorf("consul: %w", err)
		}
		if err := os.WriteFile(filepath.Join(cfg.Dir, s.Name+".json"), text, 0o600); err != nil {
			return nil, fmt.Errorf("consul: %w", err)
		}
	}
	return c, nil
}

// place gives a server its addresses.
func (s *Server) place(cfg Config, position int) error {
	if len(cfg.Hosts) > 0 {
		s.host = cfg.Hosts[position]
		s.HTTP, s.RPC, s.serf = net.JoinHostPort(s.host, portHTTP), net.JoinHostPort(s.host, portRPC), net.JoinHostPort(s.host, portSerf)
		s.told = s.RPC
		return nil
	}
	for _, address := range []*string{&s.HTTP, &s.RPC, &s.serf} {
		var err error
		if *address, err = cfg.Ports.Take(0); err != nil {
			return err
		}
	}
	told := cmp.Or(cfg.Advertise, loopback)
	s.host, s.told, s.serf = loopback, net.JoinHostPort(told, strconv.Itoa(portOf(s.RPC))), net.JoinHostPort(told, strconv.Itoa(portOf(s.serf)))
	return nil
}

// settings is the configuration of a server.
func (c *Cluster) settings(cfg Config, s *Server) map[string]any {
	var others []string
	for _, o := range c.Servers {
		if o != s {
			others = append(others, o.serf)
		}
	}
	told, _, _ := net.SplitHostPort(s.told) // made above
	settings := map[string]any{
		"server": true, "node_name": s.Name, "data_dir": filepath.Join(cfg.Dir, s.Name), "bootstrap_expect": len(c.Servers),
		"bind_addr": s.host, "client_addr": s.host, "serf_lan": told, "advertise_addr": told, "retry_join": others, "retry_interval": "1s",
		"ports": map[string]int{
			"http": portOf(s.HTTP), "server": portOf(s.RPC), "serf_lan": portOf(s.serf), "serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1,
		},
		"performance": map[string]any{"raft_multiplier": 1},
		"autopilot":   map[string]any{"cleanup_dead_servers": false}, // a server that is killed comes back
		"limits":      map[string]any{"http_max_conns_per_client": maxClientConns},
		"connect":     map[string]any{"enabled": false}, "ui_config": map[string]any{"enabled": true},
		"disable_update_check": true, "leave_on_terminate": false, "session_ttl_min": "1s", "log_level": "INFO",
	}
	maps.Copy(settings, cfg.Settings)
	return settings
}

func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// Addresses lists where the servers serve HTTP.
func (c *Cluster) Addresses() []string {
	var list []string
	for _, s := range c.Servers {
		list = append(list, s.HTTP)
	}
	return list
}

// Start starts the servers that do not run, and waits until all have a leader that answers consistently.
func (c *Cluster) Start(ctx context.Context) error {
	for _, s := range c.Servers {
		if s.Running() {
			continue
		}
		if err := s.Start(); err != nil {
			return err
		}
	}
	return c.Ready(ctx)
}

// Ready waits until every server that runs has a leader that answers consistently.
func (c *Cluster) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for _, s := range c.Servers {
		if !s.Running() {
			continue
		}
		for {
			err := c.answers(ctx, s)
			if err == nil {
				break
			}
			select {
			case <-time.After(askEvery):
			case <-ctx.Done():
				return fmt.Errorf("%s is not ready after %v: %w; %s", s.Name, startPatience, err, s.Tail())
			}
		}
	}
	return nil
}

// answers fails unless a server answers a consistent read; that it denies it is an answer, too.
func (c *Cluster) answers(ctx context.Context, s *Server) error {
	status, body, err := c.ask(ctx, s, "/v1/kv/ready?consistent")
	if err != nil {
		return err
	}
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
		return errors.New(strings.TrimSpace(body))
	}
	return nil
}

func (c *Cluster) ask(ctx context.Context, s *Server, path string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTP+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }() // it has been read
	content, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	return answer.StatusCode, string(content), err
}

// Leader is the server that leads, in the eyes of a server that runs.
func (c *Cluster) Leader(ctx context.Context) (*Server, error) {
	failed := errors.New("consul: no server runs")
	for _, asked := range c.Servers {
		if !asked.Running() {
			continue
		}
		_, body, err := c.ask(ctx, asked, "/v1/status/leader")
		if err != nil {
			failed = err
			continue
		}
		for _, s := range c.Servers {
			if strings.TrimSpace(body) == strconv.Quote(s.told) && s.Running() {
				return s, nil
			}
		}
		failed = fmt.Errorf("consul: %s says that %s leads", asked.Name, strings.TrimSpace(body))
	}
	return nil, failed
}

// Stop ends all servers.
func (c *Cluster) Stop() error {
	units := make([]*process.Unit, len(c.Servers))
	for i, s := range c.Servers {
		units[i] = s.Unit
	}
	return process.StopTogether(units, stopPatience)
}
