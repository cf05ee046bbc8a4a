package consul_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

// management is a token that may do everything in the Consul of a test.
const management = "11111111-2222-3333-4444-555555555555"

// tokenFor makes a token with a policy of deploy/consul, for the cluster "test".
func tokenFor(t *testing.T, client *api.Client, name string) string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "consul", name+".hcl"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(rules), "prod", "test")
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: text}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token.SecretID
}

// The policies of deploy/consul are enough for allocators and agents, and for nothing else, where everything else is denied.
func TestPoliciesAreEnoughAndNoMore(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]bool{"to read is to list": false, "to list takes a policy of its own": true} {
		t.Run(name, func(t *testing.T) {
			testPolicies(t, consultest.Start(t, 1, map[string]any{"acl": map[string]any{
				"enabled": true, "default_policy": "deny", "enable_key_list_policy": list, "tokens": map[string]any{"initial_management": management},
			}}))
		})
	}
}

func testPolicies(t *testing.T, cluster *consulserver.Cluster) {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: cluster.Addresses()[0], Token: management})
	if err != nil {
		t.Fatal(err)
	}
	const leader, own = "shardmanager/test/g/default/leader", "shardmanager/test/servers/a.kv"
	with := func(token string) *consul.Store {
		return dial(t, consul.Config{Addresses: cluster.Addresses(), Token: token})
	}
	tokens := map[string]string{"allocator": tokenFor(t, client, "allocator"), "agent": tokenFor(t, client, "agent")}
	allocator, agent := with(tokens["allocator"]), with(tokens["agent"])
	spec := coord.SessionSpec{Name: "test", TTL: testTTL, Behavior: coord.DeleteKeys}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	refused := func(what string, err error, says string) {
		t.Helper()
		if !errors.Is(err, coord.ErrUnavailable) || errors.Is(err, coord.ErrUnknown) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want a refusal that says %q", what, err, says)
		}
	}

	_, err = agent.CreateSession(t.Context(), spec)
	refused("an agent before any allocator", err, "start an allocator")

	lead, err := allocator.CreateSession(t.Context(), spec)
	must("allocator: session, and the node", err)
	_, err = allocator.Txn(t.Context(), []coord.Op{{Verb: coord.CheckNotExists, Key: leader}, {Verb: coord.Lock, Key: leader, Session: lead}})
	must("allocator: lock", err)
	_, err = allocator.RenewSession(t.Context(), lead)
	must("allocator: renew", err)

	serve, err := agent.CreateSession(t.Context(), spec)
	must("agent: session", err)
	_, err = agent.Txn(t.Context(), []coord.Op{{Verb: coord.CheckNotExists, Key: own}, {Verb: coord.Lock, Key: own, Session: serve}})
	must("agent: register", err)
	_, _, err = agent.Get(t.Context(), own)
	must("agent: read its key", err)
	_, err = agent.RenewSession(t.Context(), serve)
	must("agent: renew", err)

	entries, err := allocator.List(t.Context(), "shardmanager/test/servers/")
	must("allocator: list servers", err)
	if len(entries) != 1 || entries[0].Session != serve {
		t.Fatalf("allocator: list servers: %+v", entries)
	}
	_, err = allocator.Txn(t.Context(), []coord.Op{
		{Verb: coord.CheckSession, Key: leader, Session: lead}, {Verb: coord.DeleteCAS, Key: own, Index: entries[0].Modify},
	})
	must("allocator: fence", err)
	must("allocator: end the session of a fenced server", allocator.DestroySession(t.Context(), serve))

	_, err = agent.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: leader}})
	refused("an agent that writes what is the allocator's", err, "consul_token")
	const sequence = "shardmanager/test/g/default/sequence"
	_, err = allocator.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: sequence}})
	must("allocator: write what only allocators see", err)
	entries, err = agent.List(t.Context(), leader)
	must("agent: see who leads", err)
	if len(entries) != 1 || entries[0].Session != lead {
		t.Errorf("agent: see who leads: %+v", entries)
	}
	_, _, err = agent.Get(t.Context(), sequence)
	refused("an agent that reads what is the allocator's", err, "consul_token")
	_, err = agent.List(t.Context(), "shardmanager/")
	refused("an agent that lists everything", err, "consul_token")
	_, err = allocator.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: "elsewhere"}})
	refused("an allocator that writes elsewhere", err, "consul_token")
	for name, token := range map[string]string{"no token": "", "a token that does not exist": "99999999-2222-3333-4444-555555555555"} {
		stranger := with(token)
		_, _, err = stranger.Get(t.Context(), own)
		refused(name+": get", err, "consul_token")
		_, err = stranger.List(t.Context(), "shardmanager/")
		refused(name+": list", err, "consul_token")
		_, err = stranger.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: own}})
		refused(name+": set", err, "consul_token")
		_, err = stranger.CreateSession(t.Context(), spec)
		refused(name+": create session", err, "consul_token")
		if _, err := stranger.RenewSession(t.Context(), lead); err == nil {
			t.Errorf("%s: renewed", name)
		}
		err = stranger.Watch(t.Context(), "shardmanager/", func(e []coord.Entry) { t.Errorf("%s: watch delivers %v", name, e) })
		refused(name+": watch", err, "consul_token")
	}
	if entry, found, err := allocator.Get(t.Context(), leader); err != nil || !found || entry.Session != lead {
		t.Errorf("the lock afterwards: %+v, %t, %v", entry, found, err)
	}
	testCatalogPolicies(t, cluster, tokens, with)
}
