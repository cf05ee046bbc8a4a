package daemon

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/gossip"
	"github.com/shardmanager/shardmanager/internal/registration"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// maxMeta is how long a value of metadata may be in Consul.
const maxMeta = 512

// resumePatience is how long an agent that begins may wait for the applications of its earlier life before it says what it serves.
const resumePatience = 20 * time.Second

// Registered runs a daemon while it stands in Consul's catalog, if its store is Consul and consul_register is on.
func Registered(store Store, cfg consul.Config, look registration.Look, log zerolog.Logger, run func() error) error {
	client, ok := store.(*consul.Store)
	if !ok || !cfg.Register {
		return run()
	}
	r := registration.New(client.Catalog(), look, log)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	err := run()
	stop()
	<-done
	if errors.Is(err, agent.ErrRestart) {
		r.Rest()
	} else {
		r.Leave()
	}
	return err
}

// Seeds finds members of gossip in the catalog; nil if there is none to look in.
func Seeds(store Store, cfg consul.Config, cluster string) func(ctx context.Context, self string) ([]string, error) {
	client, ok := store.(*consul.Store)
	if !ok || !cfg.Register {
		return nil
	}
	catalog := client.Catalog()
	return func(ctx context.Context, self string) ([]string, error) { return catalog.Seeds(ctx, cluster, self) }
}

// AgentPresence looks at an agent for the catalog. node is nil if it takes no part in gossip.
func AgentPresence(a *agent.Agent, cfg agent.Config, node *gossip.Node, version string) registration.Look {
	begun := time.Now()
	base := service(consul.AgentService, cfg.Cluster, cfg.Name, cmp.Or(cfg.Advertise, cfg.Listen), node, map[string]string{
		"region": cfg.Region, "zone": cfg.Zone, "rack": cfg.Rack, "version": version,
	})
	return func(ctx context.Context) (registration.Presence, bool) {
		status, err := a.Status(ctx)
		if err != nil || (resuming(status.Servers) && time.Since(begun) < resumePatience) {
			return registration.Presence{}, false
		}
		return agentPresence(base, status), true
	}
}

func resuming(servers []roster.View) bool {
	return slices.ContainsFunc(servers, func(v roster.View) bool { return v.Life == roster.Resuming })
}

func agentPresence(base consul.Service, status api.Status) registration.Presence {
	p := registration.Presence{Service: base}
	var apps, wrong []string
	held := 0
	for _, v := range status.Servers {
		app := string(v.Server.App)
		for _, h := range v.Held {
			if h.Phase != shard.None {
				held++
			}
		}
		switch {
		case v.Life == roster.Live && v.Remaining == 0:
			wrong = append(wrong, app+": no lease")
		case v.Life == roster.Live && v.Draining:
			wrong = append(wrong, app+": draining")
		case (v.Life == roster.Waiting || v.Life == roster.Registering) && v.Problem != "":
			wrong = append(wrong, app+": not registered")
		}
		if v.Life != roster.Waiting { // its application is not here
			apps = append(apps, app)
		}
	}
	slices.Sort(apps)
	slices.Sort(wrong)
	p.Service.Tags, p.Service.Meta = slices.Clone(base.Tags), maps.Clone(base.Meta)
	for _, app := range apps {
		p.Service.Tags = append(p.Service.Tags, "app-"+app)
	}
	p.Service.Meta["apps"], p.Service.Meta["shards"] = shortened(apps), strconv.Itoa(held)
	switch {
	case len(wrong) > 0:
		p.Health = consul.Health{Warning: true, Note: strings.Join(wrong, "; ") + ": see `shardmanager agent status`"}
	case len(apps) == 0:
		p.Health.Note = "no application is registered"
	default:
		p.Health.Note = "serves " + strings.Join(apps, ", ")
	}
	return p
}

// AllocatorPresence looks at an allocator for the catalog. node is nil if it takes no part in gossip.
func AllocatorPresence(a *allocator.Allocator, cfg allocator.Config, node *gossip.Node, version string) registration.Look {
	base := service(consul.AllocatorService, cfg.Cluster, cfg.Name, cmp.Or(cfg.Advertise, cfg.Listen), node, map[string]string{
		"region": cfg.Region, "zone": cfg.Zone, "version": version, "admin": cmp.Or(cfg.AdminAdvertise, cfg.AdminListen),
	})
	return func(context.Context) (registration.Presence, bool) {
		p, status := registration.Presence{Service: base}, a.Status()
		p.Health.Note = "stands by"
		if status.Leader == cfg.Name {
			p.Health.Note = "leads"
			p.Service.Tags = append(slices.Clone(base.Tags), "leader")
		}
		if status.StoreTrouble != "" {
			p.Health = consul.Health{Warning: true, Note: "cannot use the store: see `shardmanager status`"}
		}
		return p, true
	}
}

// service is what stays the same for the life of a process. Its id is that of its name in the cluster, so that a restart takes it up again.
func service(name, cluster, own, address string, node *gossip.Node, meta map[string]string) consul.Service {
	s := consul.Service{
		Name: name, ID: name + "-" + cluster + "-" + own, Address: address, Tags: []string{consul.ClusterTag(cluster)},
		Meta: map[string]string{"cluster": cluster, "name": own},
	}
	for _, place := range []string{"region", "zone"} {
		if meta[place] != "" {
			s.Tags = append(s.Tags, place+"-"+meta[place])
		}
	}
	for key, value := range meta {
		if value != "" {
			s.Meta[key] = value
		}
	}
	if node != nil {
		s.Meta[consul.MetaGossip] = node.Address()
	}
	return s
}

// shortened is a list with as many names as there is room for.
func shortened(names []string) string {
	text := strings.Join(names, ",")
	if len(text) <= maxMeta {
		return text
	}
	const more = ",…"
	cut := text[:maxMeta-len(more)+1] // a comma may be its last
	return cut[:max(strings.LastIndexByte(cut, ','), 0)] + more
}
