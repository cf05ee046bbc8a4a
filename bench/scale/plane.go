package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/web"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// cluster is the name of everything that is measured.
const cluster = "scale"

// allocators is how many there are: one leads, and one takes its place.
const allocators = 2

// plane is the store and the allocators.
type plane struct {
	dir     string
	binary  string
	ports   *ports.Ports
	starter *process.Starter

	embedded *process.Unit         // nil: Consul
	address  string                // of the embedded store
	consul   *consulserver.Cluster // nil: the embedded store
	replicas []*allocator
	dialled  []func() // what closes the clients of the store
}

// allocator is one process of an allocator.
type allocator struct {
	*process.Unit
	page  string // where operators look at it
	admin shardmanagerv1connect.AdminServiceClient
}

func newPlane(ctx context.Context, c config, dir string) (*plane, error) {
	p := &plane{dir: dir, binary: c.binary, ports: ports.New(), starter: process.NewStarter()}
	if p.binary == "" {
		p.binary = filepath.Join(dir, "shardmanager")
		if said, err := exec.CommandContext(ctx, "go", "build", "-o", p.binary, "./cmd/shardmanager").CombinedOutput(); err != nil {
			return p, fmt.Errorf("build ./cmd/shardmanager: %w: %s", err, said)
		}
	}
	return p, nil
}

// start starts everything and waits until an allocator leads.
func (p *plane) start(ctx context.Context, c config) error {
	storeArgs, err := p.startStore(ctx, c)
	if err != nil {
		return err
	}
	for i := range allocators {
		name := fmt.Sprintf("a%d", i+1)
		listen, err := p.ports.Take(0)
		if err != nil {
			return err
		}
		admin, err := p.ports.Take(0)
		if err != nil {
			return err
		}
		endpoint, err := transport.Dial(admin)
		if err != nil {
			return err
		}
		a := &allocator{
			Unit: p.unit(name, append([]string{
				"allocator", "--cluster", cluster, "--name", name, "--listen", listen, "--admin-listen", admin,
				"--state-dir", filepath.Join(p.dir, name), "--log-level", "warn",
			}, storeArgs...)...),
			page:  "http://" + admin + web.Path,
			admin: shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL),
		}
		p.replicas = append(p.replicas, a)
		if err := a.Start(); err != nil {
			return err
		}
	}
	_, err = p.leader(ctx)
	return err
}

// startStore starts the store and returns how allocators are told of it.
func (p *plane) startStore(ctx context.Context, c config) ([]string, error) {
	if c.store == "embedded" {
		var err error
		if p.address, err = p.ports.Take(0); err != nil {
			return nil, err
		}
		p.embedded = p.unit("store", "store", "--listen", p.address, "--data-dir", filepath.Join(p.dir, "store"))
		return []string{"--store", "embedded", "--store-address", p.address}, p.embedded.Start()
	}
	binary, err := consulserver.Find(os.Getenv, ".bin")
	if err != nil {
		return nil, err
	}
	p.consul, err = consulserver.New(consulserver.Config{
		Binary: binary, Dir: filepath.Join(p.dir, "consul"), Servers: c.consulServers, Ports: p.ports, Starter: p.starter, Died: died,
		Settings: map[string]any{"telemetry": map[string]any{"prometheus_retention_time": keptFor}},
	})
	if err != nil {
		return nil, err
	}
	return []string{"--store", "consul", "--consul-addresses", strings.Join(p.consul.Addresses(), ",")}, p.consul.Start(ctx)
}

func (p *plane) unit(name string, args ...string) *process.Unit {
	return &process.Unit{Name: name, Binary: p.binary, Args: args, Log: filepath.Join(p.dir, name+".log"), Starter: p.starter, Died: died}
}

// died tells of a process that ended although nobody ended it; whatever is measured then fails by itself.
func died(_ *process.Unit, err error) { fmt.Fprintln(os.Stderr, "scale:", err) }

// dial makes a client of the store with connections of its own, as each agent has them.
func (p *plane) dial() (coord.Store, error) {
	if p.consul == nil {
		client, err := embedded.NewClient(p.address)
		if err == nil {
			p.dialled = append(p.dialled, client.Close)
		}
		return client, err
	}
	client, err := consul.New(consul.Config{Addresses: p.consul.Addresses()}, cluster)
	if err == nil {
		p.dialled = append(p.dialled, client.Close)
	}
	return client, err
}

// leader waits until an allocator leads.
func (p *plane) leader(ctx context.Context) (*allocator, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var failed error
		for _, a := range p.replicas {
			if !a.Running() {
				continue
			}
			status, err := a.admin.GetStatus(ctx, &pb.GetStatusRequest{})
			if err == nil && status.GetLeading() {
				return a, nil
			}
			failed = errors.Join(failed, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("no allocator leads: %w; one said: %s", errors.Join(ctx.Err(), failed), p.replicas[0].Tail())
		}
	}
}

// stop ends all processes.
func (p *plane) stop() error {
	for _, undial := range p.dialled {
		undial()
	}
	units := []*process.Unit{}
	for _, a := range p.replicas {
		units = append(units, a.Unit)
	}
	const patience = 5 * time.Second
	err := process.StopTogether(units, patience)
	if p.embedded != nil {
		err = errors.Join(err, p.embedded.Stop(patience))
	}
	if p.consul != nil {
		err = errors.Join(err, p.consul.Stop())
	}
	p.starter.Close()
	return errors.Join(err, p.ports.Release())
}
