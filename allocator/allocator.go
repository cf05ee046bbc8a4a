package allocator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/apidocs"
	"github.com/shardmanager/shardmanager/allocator/cell"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/metrics"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/regions"
	"github.com/shardmanager/shardmanager/allocator/snapshot"
	"github.com/shardmanager/shardmanager/allocator/sse"
	"github.com/shardmanager/shardmanager/allocator/statefile"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/allocator/unseat"
	"github.com/shardmanager/shardmanager/allocator/web"
	"github.com/shardmanager/shardmanager/allocator/webhook"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
)

const (
	// shutdownWithin is how long the listeners may take to end their streams.
	shutdownWithin = 2 * time.Second
	// Pauses between two candidacies.
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

// Deps is what an allocator works with.
type Deps struct {
	Store coord.Store
	Log   zerolog.Logger
	// Clock reads the machine's clocks; nil: clock.Now.
	Clock func() shard.Instant
	// Listener and AdminListener replace those that Config names; the allocator closes them.
	Listener, AdminListener net.Listener
	// Listen opens those that are not given; nil: transport.Listen.
	Listen func(address string) (net.Listener, error)
	// Dial reaches other allocators; nil: transport.Dial.
	Dial func(address string) (transport.Endpoint, error)
	// Version of the software, for status.
	Version string
	// Gossip that this process takes part in; nil: none.
	Gossip api.Gossip
	// Metrics are told here; nil: nowhere.
	Metrics prometheus.Registerer
	// Tracing takes the spans of moves; nil: nothing is traced.
	Tracing trace.TracerProvider
	// Routes adds what else the admin listener answers; nil: nothing.
	Routes func(*http.ServeMux)
}

// Allocator is one of a cluster's allocators.
type Allocator struct {
	cfg      Config
	settings ledger.Settings
	deps     Deps
	log      zerolog.Logger
	clock    func() shard.Instant
	dial     func(string) (transport.Endpoint, error)
	store    *store
	keys     storage.Keys
	maps     *maps
	attach   *api.Attach
	events   *events.Log
	regions  *regions.Keeper
	standby  *unseat.Standby
	policies *resolve.Resolver
	webhooks *webhook.Sender
	metrics  *metrics.Metrics // nil: nobody wants them
	life     uint64           // of this process, never 0: whoever unseats it knows it again (PROTOCOL R16)

	lock    *cell.Cell[lockView]
	leading atomic.Pointer[mailbox]   // nil: does not lead
	proven  atomic.Pointer[time.Time] // when the lock of this tenure, or of the last, was asked for that proved to be ours
	unfit   atomic.Pointer[string]    // why it could not lead when it was its turn; nil: it could, or another does
	barred  atomic.Pointer[string]    // why nobody may lead, when it was this one's turn; empty: somebody may
	wanted  chan struct{}             // capacity 1: a watcher wants an app that has no map here

	// Set by Run before anything else runs.
	address, adminAddress string
	state                 *statefile.File
}

// New makes an allocator. Nothing is opened before Run.
func New(cfg Config, deps Deps) (*Allocator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Store == nil {
		return nil, errors.New("allocator: no store")
	}
	configured, err := latency.Configured("region_latency", cfg.RegionLatency)
	if err != nil {
		return nil, fmt.Errorf("allocator: %w", err)
	}
	a := &Allocator{
		cfg: cfg, settings: cfg.Settings(), deps: deps, log: deps.Log, clock: deps.Clock, dial: deps.Dial,
		store: newStore(deps.Store), keys: storage.NewKeys(cfg.Cluster, cfg.Group),
		lock: cell.New(lockView{}), wanted: make(chan struct{}, 1), events: events.NewLog(),
	}
	if a.clock == nil {
		a.clock = clock.Now
	}
	if a.dial == nil {
		a.dial = transport.Dial
	}
	if a.deps.Listen == nil {
		a.deps.Listen = transport.Listen
	}
	if a.policies, err = resolve.Open("allocator: policy", cfg.Policy); err != nil {
		return nil, err
	}
	targets, err := webhook.Open("allocator: webhooks", cfg.Webhooks)
	if err != nil {
		return nil, err
	}
	a.webhooks = webhook.New(targets, webhook.Deps{Cluster: cfg.Cluster, Events: a.events, Log: a.log, Metrics: deps.Metrics})
	a.maps = newMaps(mapfeed.NewHub(mapfeed.HubConfig{Cluster: cfg.Cluster, OnWatch: a.appWanted, Vouched: a.vouched}))
	a.regions = regions.NewKeeper(a.clock, configured)
	a.attach = api.NewAttach(a, a.regions)
	if deps.Metrics != nil {
		a.metrics = metrics.New(deps.Metrics, a.present)
	}
	a.life = 1 + rand.Uint64N(math.MaxUint64)
	a.standby = unseat.New(cfg.Unseat(), unseat.Deps{
		Name: cfg.Name, Keys: a.keys, Store: a.store, Log: a.log, Clock: a.clock, Dial: a.dial, Random: unseat.Random,
		Holder: func() unseat.Holder {
			view, _ := a.lock.Get()
			return unseat.HolderOf(view.entry, view.record)
		},
	})
	return a, nil
}

// Run serves, stands for election and leads until ctx ends; then it steps down in order. Its error says what could not be opened.
func (a *Allocator) Run(ctx context.Context) (err error) {
	state, moved, err := statefile.Open(a.cfg.StateDir, a.cfg.Cluster, a.cfg.Name)
	if err != nil {
		return fmt.Errorf("allocator: %w", err)
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	defer a.metrics.Wait()
	a.state = state
	if moved != "" {
		a.log.Error().Str("file", moved).Msg("state file was corrupt and is moved aside: the old session ends by itself")
	}
	data, admin, err := a.listen()
	if err != nil {
		return fmt.Errorf("allocator: %w", err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // the listeners outlive the leadership
	defer stop()
	group, groupCtx := errgroup.WithContext(serving)
	dataServer := a.serve(group, groupCtx, data, api.DataMux(a, a.attach, a.maps.hub))
	news := feed.New(a.events, 0)
	routes := api.AdminMux(a, api.NewAdmin(a, a.maps.hub, a.attach, news, a.regions, a.deps.Gossip, a.policies, a.webhooks), a.maps.hub)
	routes.Handle(sse.Pattern, sse.New(a, news, 0))
	apidocs.Handle(routes)
	snapshot.Handle(routes, snapshot.Source{Store: a.store, Cluster: a.cfg.Cluster, Group: a.cfg.Group, Name: a.cfg.Name, Software: a.deps.Version})
	web.Mount(routes)
	if a.deps.Routes != nil {
		a.deps.Routes(routes)
	}
	adminServer := a.serve(group, groupCtx, admin, routes)
	group.Go(func() error { return a.watchLock(groupCtx) })
	group.Go(func() error { return a.follow(groupCtx) })
	group.Go(func() error { return a.standby.Run(groupCtx) })
	group.Go(func() error {
		return a.regions.Run(groupCtx, func() bool { return a.leading.Load() != nil }, a.maps.hub.SetLatencies)
	})

	a.log.Info().Str("listen", a.address).Str("admin", a.adminAddress).Str("cluster", a.cfg.Cluster).Msg("allocator serves")
	campaign, give := context.WithCancel(ctx)
	defer context.AfterFunc(groupCtx, give)()
	a.campaign(campaign)
	give()
	stop()
	closed := errors.Join(transport.Shutdown(dataServer, shutdownWithin), transport.Shutdown(adminServer, shutdownWithin))
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("allocator: %w", errors.Join(err, closed))
	}
	return nil
}

// listen opens both listeners and learns the addresses that others are told.
func (a *Allocator) listen() (data, admin net.Listener, err error) {
	open := func(key, address string, given net.Listener) (net.Listener, error) {
		if given != nil {
			return given, nil
		}
		l, err := a.deps.Listen(address)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return l, nil
	}
	if data, err = open("listen", a.cfg.Listen, a.deps.Listener); err != nil {
		return nil, nil, err
	}
	if admin, err = open("admin_listen", a.cfg.AdminListen, a.deps.AdminListener); err != nil {
		return nil, nil, errors.Join(err, data.Close())
	}
	a.address, a.adminAddress = reachable(a.cfg.Advertise, data), reachable(a.cfg.AdminAdvertise, admin)
	return data, admin, nil
}

func reachable(advertised string, l net.Listener) string {
	switch {
	case advertised != "":
		return advertised
	case l.Addr().Network() == "unix":
		return "unix://" + l.Addr().String()
	default:
		return l.Addr().String()
	}
}

func (a *Allocator) serve(group *errgroup.Group, ctx context.Context, l net.Listener, handler http.Handler) *http.Server {
	server := transport.NewServer(ctx, handler)
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return server
}

// campaign stands for election, again and again, until ctx ends.
func (a *Allocator) campaign(ctx context.Context) {
	delay := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(longestPause),
		backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		led, err := a.candidacy(ctx)
		if led {
			delay.Reset()
		}
		switch {
		case err != nil && ctx.Err() != nil:
			a.log.Info().Err(err).Msg("stepped down when told to")
		case err != nil && led:
			a.log.Warn().Err(err).Msg("stepped down")
		case err != nil:
			a.log.Error().Err(err).Msg("cannot stand for election")
		case led:
			a.log.Info().Msg("stepped down in order")
		}
		if err != nil {
			clock.Pause(ctx, delay.NextBackOff())
		}
	}
}

// candidacy is one session: it waits for the lock and leads while it holds it.
func (a *Allocator) candidacy(ctx context.Context) (led bool, err error) {
	s, err := a.openSession(ctx)
	if err != nil {
		return false, err
	}
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		a.renew(s)
	}()
	defer func() {
		s.end(context.Canceled)
		<-renewing
		a.closeSession(s.id)
	}()
	g, err := a.acquire(ctx, s)
	if g != nil {
		a.log.Info().Stringer("epoch", g.epoch).Bool("clean", g.clean).Msg("lock acquired")
		led, err = a.lead(ctx, g)
	}
	if err != nil && !led {
		text := err.Error()
		a.unfit.Store(&text)
	}
	return led, err
}

// Leader implements api.Node.
func (a *Allocator) Leader() api.Leader {
	if box := a.leading.Load(); box != nil {
		return box
	}
	return nil
}

// Status implements api.Node.
func (a *Allocator) Status() api.Status {
	s := api.Status{Cluster: a.cfg.Cluster, Name: a.cfg.Name, Version: a.deps.Version, StoreTrouble: a.store.trouble()}
	if unfit := a.unfit.Load(); unfit != nil && s.StoreTrouble == "" {
		s.StoreTrouble = *unfit
	}
	if barred := a.barred.Load(); barred != nil && *barred != "" {
		s.Barred, s.StoreTrouble = *barred, *barred
	}
	view, _ := a.lock.Get()
	switch {
	case view.held && view.record.AdminAddress == "": // no allocator
		s.Barred = view.record.Allocator + " has the lock, and gives it up when it is done"
		s.StoreTrouble = s.Barred
	case a.leading.Load() != nil:
		s.Leader, s.LeaderData, s.LeaderAdmin = a.cfg.Name, a.address, a.adminAddress
	case view.held && view.record.Allocator != a.cfg.Name: // a hint to ourselves helps nobody
		s.Leader, s.LeaderData, s.LeaderAdmin = view.record.Allocator, view.record.Address, view.record.AdminAddress
	}
	return s
}

// presentWithin is how long whoever collects metrics waits for the loop.
const presentWithin = time.Second

// present is how this allocator stands, for its metrics. One whose loop does not answer is no leader to them.
func (a *Allocator) present() metrics.Present {
	leader := a.Leader()
	if leader == nil {
		why := a.barred.Load()
		return metrics.Present{Barred: why != nil && *why != ""}
	}
	ctx, cancel := context.WithTimeout(context.Background(), presentWithin)
	defer cancel()
	view, err := leader.View(ctx)
	if err != nil {
		return metrics.Present{}
	}
	return metrics.Present{Leads: true, Summary: view.Summary, Servers: view.Servers, Open: view.Moves.Open, Apps: len(view.Specs),
		Late: view.Loop.Late, Waiting: view.Loop.Waiting}
}

// publish hands news of the ledger to the hub.
func (a *Allocator) publish(p ledger.Publication) {
	if p.Removed {
		a.metrics.Forget(string(p.App))
	}
	if err := a.maps.publish(p); err != nil {
		a.log.Error().Err(err).Str("app", string(p.App)).Msg("map not published")
	}
}

// publishOnly forgets the maps of apps that are not there any more.
func (a *Allocator) publishOnly(apps []ledger.AppState) {
	keep := make(map[shard.App]bool, len(apps))
	for _, app := range apps {
		keep[app.Spec.Name] = true
	}
	a.maps.keepOnly(keep)
}
