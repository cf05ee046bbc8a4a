package dev

import (
	"context"
	"fmt"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/dev/page"
	"github.com/shardmanager/shardmanager/internal/dev/process"
)

// placeStore decides which programs are the coordination store.
func (c *cluster) placeStore() (err error) {
	if c.cfg.Store != Consul {
		c.store = c.unit("store", nil, c.layout.StoreArgs())
		return nil
	}
	c.consul, err = consulserver.New(consulserver.Config{
		Binary: c.cfg.Consul, Dir: c.layout.ConsulDir(), Logs: c.layout.Logs(), Servers: c.cfg.Servers, Ports: c.layout.Ports(), Starter: c.starter,
		Died: c.died,
	})
	return err
}

// settings are what the programs are told.
func (c *cluster) settings() layout.Settings {
	s := layout.Settings{
		Mode: c.cfg.Mode, Profile: c.cfg.Profile, Rate: c.cfg.Rate, Deadline: c.cfg.Deadline, BreakLease: c.cfg.BreakLease,
		Gossip: c.cfg.Gossip || c.cfg.Scenario == "",
	}
	if c.consul != nil {
		s.Consul = c.consul.Addresses()
	}
	return s
}

// startStore starts the coordination store and waits until it answers.
func (c *cluster) startStore(ctx context.Context) error {
	if c.consul != nil {
		return c.consul.Start(ctx)
	}
	if err := c.store.Start(); err != nil {
		return err
	}
	return c.ready(ctx, c.store, func(ctx context.Context) error { return observe.Healthy(ctx, c.layout.Store) })
}

// storeUnits are the programs of the coordination store.
func (c *cluster) storeUnits() []*process.Unit {
	if c.consul == nil {
		return []*process.Unit{c.store}
	}
	var units []*process.Unit
	for _, s := range c.consul.Servers {
		units = append(units, s.Unit)
	}
	return units
}

// storeText names the coordination store, for people.
func (c *cluster) storeText() string {
	if c.consul == nil {
		return "1 store"
	}
	return fmt.Sprintf("Consul (servers: %d)", len(c.consul.Servers))
}

// storeLinks lead to the coordination store's own page.
func (c *cluster) storeLinks() []page.Link {
	if c.consul == nil {
		return nil
	}
	return []page.Link{{Name: "Consul's own page", URL: "http://" + c.consul.Addresses()[0] + "/ui/"}}
}
