package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// Names of services in the catalog.
const (
	AgentService     = "shardmanager-agent"
	AllocatorService = "shardmanager-allocator"
)

// MetaGossip is the key, in a service's metadata, of where its process takes part in gossip.
const MetaGossip = "gossip"

const (
	// forgottenAfter is how long Consul keeps a service that crashed, for people to see.
	forgottenAfter = 30 * time.Minute
	// maxSeeds is how many members of gossip are named: joining the same three makes a cluster whole within seconds.
	maxSeeds = 3
)

// ClusterTag is the tag of every service of a cluster.
func ClusterTag(cluster string) string { return "cluster-" + cluster }

// Service is how a process appears in the catalog.
type Service struct {
	Name    string
	ID      string
	Address string // host:port, or unix:///path
	Tags    []string
	Meta    map[string]string
}

// Health is what a process says of itself: passing, or a warning. Consul makes it critical if nothing is said for the check's TTL.
type Health struct {
	Warning bool
	Note    string // the same for as long as nothing changes: other words are a write in Consul
}

func (h Health) status() string {
	if h.Warning {
		return api.HealthWarning
	}
	return api.HealthPassing
}

// Catalog puts a process into the catalog, and finds others there. A service belongs to one Consul agent, that of the first address: elsewhere
// nobody would take it away. What it says is for people and for seeds of gossip; no promise rests on it. Register, Refresh and
// Deregister are for one goroutine.
type Catalog struct {
	store *Store
	ttl   time.Duration
	token string // that the service was registered with; Consul goes on using it
}

// Catalog is the one of this client.
func (s *Store) Catalog() *Catalog { return &Catalog{store: s, ttl: s.checkTTL} }

// TTL is how long a process may be silent before its check turns critical.
func (c *Catalog) TTL() time.Duration { return c.ttl }

// Register makes the service what it is given, or makes it anew. A check that is there keeps its status until Refresh.
func (c *Catalog) Register(ctx context.Context, s Service, h Health) error {
	token, err := c.store.token.read()
	if err != nil {
		return fmt.Errorf("register %s in Consul: %w", s.ID, err)
	}
	service := &api.AgentServiceRegistration{
		ID: s.ID, Name: s.Name, Tags: s.Tags, Meta: s.Meta, Check: &api.AgentServiceCheck{
			CheckID: checkOf(s.ID), Name: "Shard Manager", Status: h.status(), TTL: c.ttl.String(), DeregisterCriticalServiceAfter: forgottenAfter.String(),
		},
	}
	if path, ok := strings.CutPrefix(s.Address, "unix://"); ok {
		service.SocketPath = path
	} else if service.Address, service.Port, err = split(s.Address); err != nil {
		return fmt.Errorf("register %s in Consul: address %q: %w", s.ID, s.Address, err)
	}
	err = call(ctx, reads, func(ctx context.Context) error { // again does no harm
		return c.store.local.Agent().ServiceRegisterOpts(service, api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx))
	})
	if err != nil {
		return fmt.Errorf("register %s in Consul: %w", s.ID, err)
	}
	c.token = token
	return nil
}

// Refresh says how the process is, for another TTL. It reports false if the service has to be registered again: Consul does not know it, or
// knows it under a token that is used no more.
func (c *Catalog) Refresh(ctx context.Context, id string, h Health) (registered bool, err error) {
	token, err := c.store.token.read()
	if err != nil {
		return false, fmt.Errorf("refresh %s in Consul: %w", id, err)
	}
	if token != c.token {
		return false, nil
	}
	err = call(ctx, reads, func(ctx context.Context) error {
		return c.store.local.Agent().UpdateTTLOpts(checkOf(id), h.Note, h.status(), (&api.QueryOptions{}).WithContext(ctx))
	})
	switch {
	case unknown(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("refresh %s in Consul: %w", id, err)
	}
	return true, nil
}

// Deregister takes the service away. One that is not there is fine.
func (c *Catalog) Deregister(ctx context.Context, id string) error {
	err := call(ctx, reads, func(ctx context.Context) error {
		return c.store.local.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(ctx))
	})
	if err != nil && !unknown(err) {
		return fmt.Errorf("deregister %s in Consul: %w", id, err)
	}
	return nil
}

// Seeds lists where a few members of a cluster's gossip are, others than the one at self, the same for everybody who asks: allocators, and
// agents where no other allocator takes part. Nobody is no error.
func (c *Catalog) Seeds(ctx context.Context, cluster, self string) ([]string, error) {
	var silent []string // members whose process may be gone
	for _, name := range []string{AllocatorService, AgentService} {
		alive, rest, err := c.members(ctx, name, cluster, self)
		if err != nil {
			return nil, fmt.Errorf("find %s in Consul: %w", name, err)
		}
		if len(alive) > 0 {
			return alive[:min(len(alive), maxSeeds)], nil
		}
		silent = append(silent, rest...)
	}
	return silent[:min(len(silent), maxSeeds)], nil
}

// members lists where the processes of a service take part in gossip, by id: those that are alive, and those whose check is critical; but for one.
func (c *Catalog) members(ctx context.Context, name, cluster, self string) (alive, silent []string, err error) {
	var entries []*api.ServiceEntry
	err = call(ctx, reads, func(ctx context.Context) (err error) {
		var meta *api.QueryMeta
		entries, meta, err = c.store.api.Health().Service(name, ClusterTag(cluster), false, (&api.QueryOptions{AllowStale: true}).WithContext(ctx))
		switch {
		case err != nil:
			return err
		case meta.ResultsFilteredByACLs:
			return denied("services were left out of the answer: it needs service read on " + name + " and node read")
		}
		return c.store.complete(meta)
	})
	slices.SortFunc(entries, func(a, b *api.ServiceEntry) int { return cmp.Compare(a.Service.ID, b.Service.ID) })
	for _, e := range entries {
		switch address := e.Service.Meta[MetaGossip]; {
		case address == "", address == self:
		case e.Checks.AggregatedStatus() == api.HealthCritical:
			silent = append(silent, address)
		default:
			alive = append(alive, address)
		}
	}
	return alive, silent, err
}

func checkOf(id string) string { return "service:" + id }

// unknown reports whether Consul answered that it has no such service or check.
func unknown(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}
