package sdk

import (
	"log/slog"
	"time"
)

const (
	agentVariable      = "SHARDMANAGER_AGENT"
	defaultRouterAgent = "unix:///run/shardmanager/agent.sock"
)

type routerConfig struct {
	agent      string
	allocators []string
	cluster    string
	cacheDir   string
	logger     *slog.Logger
	attempt    time.Duration

	retryPercent     int
	retriesPerSecond int

	region string
	zone   string

	delayed func(time.Duration)
}

// RouterOption changes how a Router works.
type RouterOption interface{ applyRouter(*routerConfig) }

type routerOption func(*routerConfig)

func (o routerOption) applyRouter(c *routerConfig) { o(c) }

// WithAgent sets the address of the agent on this machine: unix:///path or host:port. The default is $SHARDMANAGER_AGENT, or else
// unix:///run/shardmanager/agent.sock. An empty address means that there is none, and the allocators are asked only.
func WithAgent(address string) RouterOption {
	return routerOption(func(c *routerConfig) { c.agent = address })
}

// WithAllocators adds addresses of allocators, host:port, asked for the shard map while the agent does not answer. The default is none.
func WithAllocators(addresses ...string) RouterOption {
	return routerOption(func(c *routerConfig) { c.allocators = append(c.allocators, addresses...) })
}

// WithCluster names the cluster; maps of another one are refused. By default it is not checked.
func WithCluster(name string) RouterOption {
	return routerOption(func(c *routerConfig) { c.cluster = name })
}

// WithCacheDir keeps the last map in a directory, which is created if need be. By default nothing is kept, and a Router that starts while
// neither agent nor allocators answer has no map.
func WithCacheDir(dir string) RouterOption {
	return routerOption(func(c *routerConfig) { c.cacheDir = dir })
}

// WithLocality says where this process runs, in the words of the servers' own region and zone, so that WithNearestRead finds the nearest
// replica: in the zone, in the region, or in the region that is nearest as the agents measure it. By default every replica is equally near.
func WithLocality(region, zone string) RouterOption {
	return routerOption(func(c *routerConfig) { c.region, c.zone = region, zone })
}

// WithRouterLogger sets where the Router logs changes of its own state. By default it logs nothing.
func WithRouterLogger(logger *slog.Logger) RouterOption {
	return routerOption(func(c *routerConfig) { c.logger = logger })
}

// WithMapDelays is told, for metrics, how long each change of the shard map took from the leader to this Router, by the clocks of both hosts: clocks that
// differ show in it. It is called in order, on the goroutine that follows the map, and has to be quick. By default nobody is told.
func WithMapDelays(fn func(delay time.Duration)) RouterOption {
	return routerOption(func(c *routerConfig) { c.delayed = fn })
}

// WithAttemptTimeout sets how long one attempt may take, instead of DefaultAttemptTimeout, before the request is sent again; it applies
// to requests that may be repeated, and to all while no connection is made.
func WithAttemptTimeout(d time.Duration) RouterOption {
	return routerOption(func(c *routerConfig) { c.attempt = d })
}

// WithRetryBudget bounds the repetitions of requests that a server may have executed already: those that broke, that were answered with
// `unknown`, or that got no answer in time. Of the requests of the last 10 s, percent in 100 may be repeated, and perSecond a second
// besides, instead of DefaultRetryPercent and DefaultRetriesPerSecond. Servers that are too slow thus do not get twice the work.
//
// What exceeds the budget does not fail at once: an attempt without an answer goes on beyond its time, and one that broke is repeated when
// the budget or a change of the shard's owner allows it, within the request's deadline. What was refused before it started costs its
// server next to nothing; it is always sent again, after pauses that grow, so that planned moves depend on no budget. Two zeroes mean
// that nothing is repeated as long as the owner stays the same.
func WithRetryBudget(percent, perSecond int) RouterOption {
	return routerOption(func(c *routerConfig) { c.retryPercent, c.retriesPerSecond = percent, perSecond })
}
