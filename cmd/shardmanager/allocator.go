package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/allocator"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/coord/measured"
	"github.com/shardmanager/shardmanager/internal/daemon"
	"github.com/shardmanager/shardmanager/internal/gossip"
	"github.com/shardmanager/shardmanager/internal/telemetry"
	"github.com/shardmanager/shardmanager/internal/tracing"
)

func allocatorCommand() *cobra.Command {
	cfg := allocator.DefaultConfig()
	store := daemon.StoreSettings{Store: daemon.EmbeddedStore, Address: daemon.DefaultStoreAddress}
	consulCfg := consul.Config{Register: true}
	var member gossip.Config
	var traced tracing.Settings
	c := &cobra.Command{
		Use:   "allocator",
		Short: "Run an allocator: one of several leads, the others serve shard maps and stand by",
		Example: "  shardmanager allocator --cluster prod --name allocator-1 --state-dir /var/lib/shardmanager/allocator\n" +
			"  shardmanager allocator --config /etc/shardmanager/allocator.yaml --log-level debug",
		Args: exactly(),
	}
	d := daemon.New(c, allocatorHelp, &cfg, &store, &consulCfg, &member, &traced)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := d.Load(func() []daemon.Validator {
			return append(daemon.ConsulSettings(store.Store, consulCfg), store, cfg, member, traced)
		}); err != nil {
			return &usageError{err}
		}
		daemon.SaveMemory()
		log := d.Logger(c.ErrOrStderr())
		client, err := d.DialStore(store, consulCfg, cfg.Cluster)
		if err != nil {
			return &usageError{err}
		}
		defer client.Close()
		ctx, stop := daemon.UntilSignal(c.Context(), log)
		defer stop()
		provider, endTracing, err := daemon.OpenTracing(traced, tracing.Identity{Service: "shardmanager-allocator", Instance: cfg.Name, Version: softwareVersion(), Cluster: cfg.Cluster}, log)
		if err != nil {
			return err
		}
		defer endTracing()
		identity := gossip.Identity{Role: gossip.RoleAllocator, Cluster: cfg.Cluster, Name: cfg.Name, Region: cfg.Region, Zone: cfg.Zone, Version: softwareVersion()}
		return daemon.TakingPart(member, identity, cfg.StateDir, daemon.Seeds(client, consulCfg, cfg.Cluster), log, func(node *gossip.Node) error {
			registry := telemetry.NewRegistry(softwareVersion())
			deps := allocator.Deps{Store: measured.New(client, registry), Log: log, Version: softwareVersion(), Listen: daemon.NewReadiness(2, log).Listen, Metrics: registry, Tracing: provider}
			if node != nil {
				deps.Gossip = node
			}
			var a *allocator.Allocator
			deps.Routes = func(mux *http.ServeMux) {
				telemetry.Handle(mux, registry, daemon.AllocatorAlive(a), daemon.AllocatorReady(a))
			}
			a, err = allocator.New(cfg, deps)
			if err != nil {
				return err
			}
			look := daemon.AllocatorPresence(a, cfg, node, softwareVersion())
			return daemon.Registered(client, consulCfg, look, log, func() error {
				defer daemon.Watchdog(log, daemon.AllocatorAlive(a))()
				return a.Run(ctx)
			})
		})
	}
	return c
}

var allocatorHelp = map[string]config.Help{
	"name":                        {Text: "name of this allocator, unique in the cluster (required)"},
	"group":                       {Text: "group of apps", Hidden: true},
	"region":                      {Text: "region this host is in, for the members of gossip"},
	"zone":                        {Text: "zone this host is in"},
	"region_latency":              {Text: "round trips between regions, such as eu:us=80ms,eu:ap=200ms, where nothing good enough is measured; the same for all allocators"},
	"webhooks":                    {Text: "file with the targets that the leader tells of events; the same for all allocators"},
	"listen":                      {Text: "host:port or unix:///path for agents and routers"},
	"admin_listen":                {Text: "host:port or unix:///path for operators, and for metrics, health, readiness and profiles"},
	"admin_advertise":             {Text: "host:port where operators reach it (default where it listens)"},
	"state_dir":                   {Text: "directory of this allocator's own state (required)"},
	"leader_validity":             {Text: "how long a leader may grant on one proof of its lock (default the profile's: 12s, fast 5s)"},
	"agent_grace":                 {Text: "how long a dead agent beside a living application is waited for (default half of lease-validity)"},
	"partition_grace":             {Text: "how long a server is waited for that others still reach (default 30s)"},
	"hold_fraction":               {Text: "losses at once beyond this part of all servers are held, not fenced (default 0.5; 1: never)"},
	"probation_window":            {Text: "a server that is fenced twice within this goes on probation: it gets no shards for a while (default 10m)"},
	"probation_first":             {Text: "length of the first probation, doubled each time (default 1m)"},
	"probation_most":              {Text: "length of the longest probation (default 30m)"},
	"max_servers_down":            {Text: "servers that planned events may take down at once, over all apps, failed ones counted; 0: no cap"},
	"max_servers_down_per_region": {Text: "likewise, of one region"},
	"quarantine_deaths":           {Text: "a shard that so many servers died of is not placed any more until an operator releases it (default 3)"},
	"quarantine_window":           {Text: "within this time (default 5m)"},
	"linger":                      {Text: "how long the source of a move goes on forwarding (default 2s)"},
	"step_deadline":               {Text: "how long a step of a move may take (default 10s)"},
	"load_deadline":               {Text: "how long the target of a move may load (default 5m)"},
	"unseat_after":                {Text: "how long a leader must have answered nobody before a standby ends its session (default 2s)"},
	"unseat_delay":                {Text: "longest random delay before a standby does so (default half of lease-interval)"},
	"unsafe_fence_wait":           {Text: "wait after a fence: breaks the lease on purpose, to test the overlap detector", Hidden: true},
}
