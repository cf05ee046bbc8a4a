package main

import (
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/coord/measured"
	"github.com/shardmanager/shardmanager/internal/daemon"
	"github.com/shardmanager/shardmanager/internal/daemon/lineage"
	"github.com/shardmanager/shardmanager/internal/gossip"
	"github.com/shardmanager/shardmanager/internal/succession"
	"github.com/shardmanager/shardmanager/internal/telemetry"
	"github.com/shardmanager/shardmanager/internal/tracing"
)

func agentCommand() *cobra.Command {
	cfg := agent.Config{
		Listen: agent.DefaultListen, Socket: agent.DefaultSocket, StateDir: agent.DefaultStateDir, DrainTimeout: agent.DefaultDrainTimeout,
		Store: daemon.EmbeddedStore, StoreAddress: daemon.DefaultStoreAddress, Profile: "default",
	}
	consulCfg := consul.Config{Register: true}
	var member gossip.Config
	var admin daemon.AdminSettings
	var traced tracing.Settings
	inhibitor := daemon.InhibitorSettings{ShutdownInhibitor: config.Auto}
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run an agent beside applications, or talk to the one of this host",
		Long:  agentLong, Example: agentExample, Args: exactly(),
	}
	d := daemon.New(c, agentHelp, &cfg, &consulCfg, &member, &inhibitor, &admin, &traced)
	c.RunE = func(c *cobra.Command, _ []string) error {
		validate := func() []daemon.Validator {
			cfg = cfg.WithDefaults()
			return append(daemon.ConsulSettings(cfg.Store, consulCfg), cfg, member, admin, traced)
		}
		self, err := succession.Self() // before the program is replaced
		if err != nil {
			return err
		}
		if err := d.Load(validate); err != nil {
			return &usageError{err}
		}
		log := d.Logger(c.ErrOrStderr())
		client, err := d.DialStore(daemon.StoreSettings{Store: cfg.Store, Address: cfg.StoreAddress}, consulCfg, cfg.Cluster)
		if err != nil {
			return &usageError{err}
		}
		defer client.Close()
		trial, err := succession.Inherited()
		if err != nil {
			return err
		}
		identity := gossip.Identity{Role: gossip.RoleAgent, Cluster: cfg.Cluster, Name: cfg.Name, Region: cfg.Region, Zone: cfg.Zone, Version: softwareVersion()}
		serve := func(restarts agent.Restarts, run func(*agent.Agent) error) error {
			provider, endTracing, err := daemon.OpenTracing(traced, tracing.Identity{Service: "shardmanager-agent", Instance: cfg.Name, Version: softwareVersion(), Cluster: cfg.Cluster}, log)
			if err != nil {
				return err
			}
			defer endTracing()
			return daemon.TakingPart(member, identity, cfg.StateDir, daemon.Seeds(client, consulCfg, cfg.Cluster), log, func(node *gossip.Node) error {
				registry := telemetry.NewRegistry(softwareVersion())
				deps := agent.Deps{Store: measured.New(client, registry), Log: log, Version: softwareVersion(), Listen: daemon.NewReadiness(2, log).Listen,
					Restart: restarts, Metrics: registry, Tracing: provider}
				if node != nil {
					deps.Gossip = node
				}
				a, err := agent.New(cfg, deps)
				if err != nil {
					return err
				}
				look := daemon.AgentPresence(a, cfg, node, softwareVersion())
				return daemon.Registered(client, consulCfg, look, log, func() error {
					defer daemon.DelayShutdown(a, inhibitor, cfg, log)()
					return daemon.Administered(admin, registry, daemon.AgentAlive(a), daemon.AgentReady(a), log, func() error { return run(a) })
				})
			})
		}
		return lineage.New(lineage.Config{Log: log, Stderr: c.ErrOrStderr(), Version: softwareVersion(), Serve: serve, Trial: trial, Self: self}).Run(c.Context())
	}
	c.AddCommand(agentDrainCommand(), agentRestartCommand(), agentStatusCommand())
	return c
}

const agentLong = "Run an agent: the sidecar that registers the applications beside it, holds their leases and carries out the allocator's commands.\n\n" +
	"SIGTERM or SIGINT: drain, deregister, exit; again: without waiting for the drain; a third time: at once.\n" +
	"SIGUSR2: planned restart, as `shardmanager agent restart`: the program on disk takes over, the applications serve on."

const agentExample = "  shardmanager agent --cluster prod --allocators a1:7410,a2:7410,a3:7410 --region eu --zone eu-1\n" +
	"  shardmanager agent status\n" +
	"  shardmanager agent restart --socket unix:///run/shardmanager/agent.sock"

var agentHelp = map[string]config.Help{
	"name":               {Text: "name of this agent, unique in the cluster (default the host's name)"},
	"admin_listen":       {Text: daemon.AdminHelp},
	"listen":             {Text: "host:port for other agents and routers"},
	"socket":             {Text: "unix:///path for the applications and operators of this host"},
	"allocators":         {Text: "host:port of each allocator, separated by commas (none: whoever leads, as the store says)"},
	"region":             {Text: "region this host is in"},
	"zone":               {Text: "zone this host is in"},
	"rack":               {Text: "rack this host is in"},
	"host":               {Text: "name of this host as a fault domain (default its name)"},
	"state_dir":          {Text: "directory of this agent's own state"},
	"apps":               {Text: "apps that may register, separated by commas (default any)"},
	"capacity":           {Text: "capacity of servers whose application states none, per metric, such as shards=100"},
	"capacity_measured":  {Text: "metrics whose capacity is measured where none is stated: cpu_milli, memory_bytes, disk_bytes, or all"},
	"disk":               {Text: "directory on the file system that counts as the disk (default the state directory)"},
	"drain_timeout":      {Text: "how long a drain on SIGTERM may take"},
	"unsafe_clock_ppm":   {Text: "parts in a million by which this agent's clocks run fast: to test the drift that leases allow for", Hidden: true},
	"shutdown_inhibitor": {Text: "whether a shutdown of the host waits for the drain, by systemd-logind: true, false, or auto (where there is one)"},
}
