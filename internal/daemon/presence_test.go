package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestAgentPresence(t *testing.T) {
	base := service(consul.AgentService, "prod", "node-1", "10.0.0.1:7420", nil, map[string]string{"region": "eu", "zone": "eu-1", "rack": ""})
	if base.ID != "shardmanager-agent-prod-node-1" || base.Meta["rack"] != "" || len(base.Meta) != 4 {
		t.Errorf("it is %+v", base)
	}
	view := func(app string, change func(*roster.View)) roster.View {
		v := roster.View{Server: shard.Server{App: shard.App(app)}, Life: roster.Live, Remaining: time.Second}
		v.Held = []shard.Held{{Phase: shard.None}, {Phase: shard.Serving}, {Phase: shard.Prepared}}
		if change != nil {
			change(&v)
		}
		return v
	}
	for name, c := range map[string]struct {
		servers []roster.View
		tags    string // beside those of the place
		shards  string
		want    consul.Health
	}{
		"none":      {nil, "", "0", consul.Health{Note: "no application is registered"}},
		"two":       {[]roster.View{view("kv", nil), view("cache", nil)}, "app-cache app-kv", "4", consul.Health{Note: "serves cache, kv"}},
		"no lease":  {[]roster.View{view("kv", func(v *roster.View) { v.Remaining = 0 })}, "app-kv", "2", consul.Health{Warning: true, Note: "kv: no lease: see `shardmanager agent status`"}},
		"draining":  {[]roster.View{view("kv", func(v *roster.View) { v.Draining = true })}, "app-kv", "2", consul.Health{Warning: true, Note: "kv: draining: see `shardmanager agent status`"}},
		"duplicate": {[]roster.View{view("kv", func(v *roster.View) { v.Life, v.Held, v.Problem = roster.Waiting, nil, "held by another" })}, "", "0", consul.Health{Warning: true, Note: "kv: not registered: see `shardmanager agent status`"}},
		"waiting":   {[]roster.View{view("kv", func(v *roster.View) { v.Life, v.Held = roster.Waiting, nil })}, "", "0", consul.Health{Note: "no application is registered"}},
	} {
		p := agentPresence(base, api.Status{Servers: c.servers})
		tags := append([]string{"cluster-prod", "region-eu", "zone-eu-1"}, strings.Fields(c.tags)...)
		if p.Health != c.want || !slices.Equal(p.Service.Tags, tags) || p.Service.Meta["shards"] != c.shards {
			t.Errorf("%s: %+v, want %+v and %s shards", name, p, c.want, c.shards)
		}
	}
}

// Consul takes 512 bytes of a value.
func TestShortened(t *testing.T) {
	if got := shortened([]string{"a", "b"}); got != "a,b" {
		t.Errorf("got %q", got)
	}
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("application-%03d", i))
		got := shortened(names)
		if len(got) > maxMeta || (strings.Join(names, ",") != got && !strings.HasSuffix(got, ",…")) {
			t.Errorf("%d names: %d bytes: %q", len(names), len(got), got)
		}
	}
	for n := maxMeta - 5; n < maxMeta+5; n++ {
		if got := shortened([]string{"a", strings.Repeat("x", n)}); len(got) > maxMeta {
			t.Errorf("%d bytes of %d", len(got), n)
		}
	}
}
