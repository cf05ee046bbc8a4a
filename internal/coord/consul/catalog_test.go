package consul_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

// shown is a service as Consul's UI and DNS see it; nil if it is not there.
func shown(t *testing.T, cluster *consulserver.Cluster, name, id string) *api.ServiceEntry {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: cluster.Addresses()[0], Token: management})
	if err != nil {
		t.Fatal(err)
	}
	entries, _, err := client.Health().Service(name, "", false, nil)
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(entries, func(e *api.ServiceEntry) bool { return e.Service.ID == id })
	if i < 0 {
		return nil
	}
	return entries[i]
}

// is reports whether a service is there in a status.
func is(e *api.ServiceEntry, status string) bool {
	return e != nil && len(e.Checks.AggregatedStatus()) > 0 && e.Checks.AggregatedStatus() == status
}

func mustSay(t *testing.T, c *consul.Catalog, id string, h consul.Health) {
	t.Helper()
	if registered, err := c.Refresh(t.Context(), id, h); err != nil || !registered {
		t.Fatalf("refresh: %t, %v", registered, err)
	}
}

// A service shows with its tags, metadata and address; its check says what it was told, turns critical when nothing is said, and recovers; a
// service that was forgotten says so; deregistering one that is not there is fine.
func TestServiceInTheCatalog(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	catalog := dial(t, consul.Config{Addresses: cluster.Addresses(), CheckTTL: 2 * time.Second}).Catalog()
	const id = "shardmanager-agent-test-a"
	service := consul.Service{
		Name: consul.AgentService, ID: id, Address: "10.0.0.1:7420", Tags: []string{"cluster-test", "region-eu"}, Meta: map[string]string{"shards": "7"},
	}
	if registered, err := catalog.Refresh(t.Context(), id, consul.Health{}); err != nil || registered {
		t.Fatalf("before it is registered: %t, %v", registered, err)
	}
	register := func() {
		t.Helper()
		if err := catalog.Register(t.Context(), service, consul.Health{}); err != nil {
			t.Fatal(err)
		}
	}
	look := func(what, status string) (e *api.ServiceEntry) {
		t.Helper()
		eventually(t, what, func(context.Context) bool { e = shown(t, cluster, consul.AgentService, id); return is(e, status) })
		return e
	}
	register()
	e := look("passing", api.HealthPassing)
	if e.Service.Address != "10.0.0.1" || e.Service.Port != 7420 || !slices.Equal(e.Service.Tags, service.Tags) || e.Service.Meta["shards"] != "7" {
		t.Errorf("it is %+v", e.Service)
	}
	mustSay(t, catalog, id, consul.Health{Warning: true, Note: "kv: no lease"})
	look("warning", api.HealthWarning)
	look("critical for want of a word", api.HealthCritical)
	register()
	mustSay(t, catalog, id, consul.Health{Note: "serves kv"})
	if e := look("passing again", api.HealthPassing); !slices.ContainsFunc(e.Checks, func(c *api.HealthCheck) bool { return c.Output == "serves kv" }) {
		t.Errorf("its checks are %+v", e.Checks)
	}
	for range 2 {
		if err := catalog.Deregister(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "gone", func(context.Context) bool { return shown(t, cluster, consul.AgentService, id) == nil })
	if registered, err := catalog.Refresh(t.Context(), id, consul.Health{}); err != nil || registered {
		t.Errorf("after it is gone: %t, %v", registered, err)
	}
	service.Address = "unix:///run/x.sock"
	register()
	if e := look("at a socket", api.HealthPassing); e.Service.SocketPath != "/run/x.sock" {
		t.Errorf("it is %+v", e.Service)
	}
}

// Seeds are the allocators that take part in gossip and live; else agents that do; of this cluster only.
func TestSeeds(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	store := dial(t, consul.Config{Addresses: cluster.Addresses(), CheckTTL: time.Hour})
	seeds := func() []string {
		t.Helper()
		list, err := store.Catalog().Seeds(t.Context(), "test", "")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	expect := func(want ...string) {
		t.Helper()
		eventually(t, "seeds "+strings.Join(want, " "), func(context.Context) bool { return slices.Equal(seeds(), want) })
	}
	add := func(name, id, of, gossip string, catalog *consul.Catalog) {
		t.Helper()
		s := consul.Service{Name: name, ID: id, Address: "10.0.0.1:1", Tags: []string{consul.ClusterTag(of)}, Meta: map[string]string{consul.MetaGossip: gossip}}
		if err := catalog.Register(t.Context(), s, consul.Health{}); err != nil {
			t.Fatal(err)
		}
	}
	if list := seeds(); len(list) != 0 {
		t.Errorf("of an empty catalog: %q", list)
	}
	add(consul.AllocatorService, "al-0", "other", "10.0.0.9:1", store.Catalog())
	add(consul.AllocatorService, "al-9", "test", "", store.Catalog()) // takes no part
	for _, n := range []string{"4", "2", "3", "1"} {
		add(consul.AgentService, "ag-"+n, "test", "10.0.1."+n+":1", store.Catalog())
	}
	expect("10.0.1.1:1", "10.0.1.2:1", "10.0.1.3:1")
	brief := dial(t, consul.Config{Addresses: cluster.Addresses(), CheckTTL: time.Second}).Catalog()
	add(consul.AllocatorService, "al-1", "test", "10.0.0.1:1", brief)
	expect("10.0.0.1:1")
	// The only allocator there is looks for agents.
	if list, err := store.Catalog().Seeds(t.Context(), "test", "10.0.0.1:1"); err != nil || !slices.Equal(list, []string{"10.0.1.1:1", "10.0.1.2:1", "10.0.1.3:1"}) {
		t.Errorf("seeds of the only allocator: %q, %v", list, err)
	}
	expect("10.0.1.1:1", "10.0.1.2:1", "10.0.1.3:1") // it went silent
	for _, n := range []string{"1", "2", "3", "4"} {
		if err := store.Catalog().Deregister(t.Context(), "ag-"+n); err != nil {
			t.Fatal(err)
		}
	}
	expect("10.0.0.1:1") // better than nobody
}

// A service belongs to the Consul agent of the first address, also while that is away. One that came back without its data knows nothing of it.
func TestConsulForgetsAService(t *testing.T) {
	t.Parallel()
	cluster, other := consultest.Start(t, 1, nil), consultest.Start(t, 1, nil)
	catalog := dial(t, consul.Config{Addresses: append(cluster.Addresses(), other.Addresses()...), CheckTTL: time.Hour}).Catalog()
	service := consul.Service{Name: consul.AllocatorService, ID: "a", Address: "10.0.0.1:1"}
	if err := catalog.Register(t.Context(), service, consul.Health{}); err != nil {
		t.Fatal(err)
	}
	mustSay(t, catalog, "a", consul.Health{})
	server := cluster.Servers[0]
	if _, err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(server.Log), server.Name)); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Refresh(t.Context(), "a", consul.Health{}); !errors.Is(err, coord.ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("while Consul is away: %v", err)
	}
	if shown(t, other, consul.AllocatorService, "a") != nil {
		t.Error("it was registered at another agent")
	}
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if registered, err := catalog.Refresh(t.Context(), "a", consul.Health{}); err != nil || registered {
		t.Fatalf("after Consul forgot: %t, %v", registered, err)
	}
	if err := catalog.Register(t.Context(), service, consul.Health{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it shows again", func(context.Context) bool {
		return is(shown(t, cluster, consul.AllocatorService, "a"), api.HealthPassing)
	})
}

// testCatalogPolicies is the catalog's part of TestPoliciesAreEnoughAndNoMore.
func testCatalogPolicies(t *testing.T, cluster *consulserver.Cluster, tokens map[string]string, with func(token string) *consul.Store) {
	t.Helper()
	for role, names := range map[string]struct{ own, other string }{
		"allocator": {consul.AllocatorService, consul.AgentService}, "agent": {consul.AgentService, consul.AllocatorService},
	} {
		catalog := with(tokens[role]).Catalog()
		service := consul.Service{
			Name: names.own, ID: names.own + "-test-x", Address: "10.0.0.1:1", Tags: []string{consul.ClusterTag("test")}, Meta: map[string]string{consul.MetaGossip: role + ":1"},
		}
		if err := catalog.Register(t.Context(), service, consul.Health{}); err != nil {
			t.Fatalf("%s: register: %v", role, err)
		}
		mustSay(t, catalog, service.ID, consul.Health{})
		eventually(t, role+" shows", func(context.Context) bool { return is(shown(t, cluster, service.Name, service.ID), api.HealthPassing) })
		alien := service
		alien.Name, alien.ID = names.other, "alien"
		if err := catalog.Register(t.Context(), alien, consul.Health{}); err == nil || !strings.Contains(err.Error(), "consul_token") ||
			!strings.Contains(err.Error(), "service:write") || !strings.Contains(err.Error(), names.other) {
			t.Errorf("%s: register as %s: %v", role, names.other, err)
		}
	}
	for role, token := range tokens {
		eventually(t, role+" finds the allocator", func(ctx context.Context) bool {
			list, err := with(token).Catalog().Seeds(ctx, "test", "")
			return err == nil && slices.Equal(list, []string{"allocator:1"})
		})
	}
	for name, token := range map[string]string{"no token": "", "a token that does not exist": "99999999-2222-3333-4444-555555555555"} {
		stranger := with(token).Catalog()
		err := stranger.Register(t.Context(), consul.Service{Name: consul.AgentService, ID: "s", Address: "10.0.0.1:1"}, consul.Health{})
		_, unfound := stranger.Seeds(t.Context(), "test", "")
		for what, err := range map[string]error{"register": err, "seeds": unfound} {
			if !errors.Is(err, coord.ErrUnavailable) || !strings.Contains(err.Error(), "consul_token") {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	if err := with(tokens["agent"]).Catalog().Deregister(t.Context(), consul.AgentService+"-test-x"); err != nil {
		t.Errorf("agent: deregister: %v", err)
	}
}

// A token that sees the service and not the node gets an answer that leaves it out: an error, and not nobody.
func TestSeedsThatATokenMayNotSee(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, map[string]any{"acl": map[string]any{
		"enabled": true, "default_policy": "deny", "tokens": map[string]any{"initial_management": management},
	}})
	client, err := api.NewClient(&api.Config{Address: cluster.Addresses()[0], Token: management})
	if err != nil {
		t.Fatal(err)
	}
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "half", Rules: `service "shardmanager-allocator" { policy = "write" }`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	catalog := dial(t, consul.Config{Addresses: cluster.Addresses(), Token: token.SecretID}).Catalog()
	s := consul.Service{Name: consul.AllocatorService, ID: "a", Address: "10.0.0.1:1", Tags: []string{consul.ClusterTag("test")}}
	if err := catalog.Register(t.Context(), s, consul.Health{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal", func(ctx context.Context) bool {
		_, err = catalog.Seeds(ctx, "test", "")
		return err != nil
	})
	for _, says := range []string{"consul_token", "node read", "service read on shardmanager-allocator"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
}

// With another token the service is registered anew: Consul goes on using the one that it was registered with.
func TestANewTokenRegistersAgain(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string, at time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(token), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	write("one", time.Now().Add(-time.Hour))
	catalog := dial(t, consul.Config{Addresses: cluster.Addresses(), TokenFile: file}).Catalog()
	s := consul.Service{Name: consul.AgentService, ID: "a", Address: "10.0.0.1:1"}
	if err := catalog.Register(t.Context(), s, consul.Health{}); err != nil {
		t.Fatal(err)
	}
	mustSay(t, catalog, "a", consul.Health{})
	write("two", time.Now())
	if registered, err := catalog.Refresh(t.Context(), "a", consul.Health{}); err != nil || registered {
		t.Errorf("with another token: %t, %v", registered, err)
	}
}
