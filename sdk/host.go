package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/holding"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transfer"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// AgentAddressVariable is the environment variable that names the agent's address.
const AgentAddressVariable = "SHARDMANAGER_AGENT"

// DefaultAgentAddress is used where neither WithAgentAddress nor the variable says otherwise.
const DefaultAgentAddress = "unix:///run/shardmanager/agent.sock"

// Host makes a process one server of an app. Make it with NewHost, mount Handler on the address that WithDataAddress names, wrap the
// application's own handlers with Middleware (or Interceptor), and let Run run for as long as the process serves.
//
// All methods are safe for concurrent use.
type Host struct {
	app      string
	handler  Handler
	options  hostOptions
	observer Observer // nil: none
	logger   *slog.Logger
	pid      int
	now      func() shard.Instant
	holds    *holding.Account
	inbox    transfer.Inbox
	peers    *http.Transport // to the targets of moves, HTTP/1.1
	tracer   trace.Tracer
	refusals *connect.ErrorWriter

	life atomic.Pointer[life] // the present incarnation; nil before the first registration

	mu       sync.Mutex
	adopting chan struct{} // not nil while a Register is under way; closed when its answer was taken over
	epoch    shard.Epoch   // highest leader epoch heard of
	running  bool
}

// HostOption changes a Host from its defaults.
type HostOption func(*hostOptions) error

type hostOptions struct {
	agentAddress  string
	dataAddress   string
	hostSocket    string
	version       string
	singleProcess bool
	capacity      map[string]int64
	labels        map[string]string
	logger        *slog.Logger
	observer      Observer
	holdCount     int
	holdBytes     int64
	now           func() shard.Instant
	valve         *transfer.Valve
	stateLimits   transfer.Limits
	tracing       trace.TracerProvider
	called        func(callback string, took time.Duration, err error)
}

// WithAgentAddress says where the agent listens: unix:///path. Default: the environment variable SHARDMANAGER_AGENT, else
// DefaultAgentAddress.
func WithAgentAddress(address string) HostOption {
	return func(o *hostOptions) error {
		o.agentAddress = address
		return nil
	}
}

// WithDataAddress says where other machines reach this application's handlers and its ShardHostService, host:port. It is required.
func WithDataAddress(hostport string) HostOption {
	return func(o *hostOptions) error {
		host, port, err := net.SplitHostPort(hostport)
		if err != nil || host == "" || port == "" || port == "0" {
			return fmt.Errorf("data address %q: expected host:port as other machines reach it", hostport)
		}
		o.dataAddress = hostport
		return nil
	}
}

// WithHostSocket serves ShardHostService on a Unix socket of its own at path too, while Run runs; the agent then uses that. Default: the
// agent calls the data address.
func WithHostSocket(path string) HostOption {
	return func(o *hostOptions) error {
		o.hostSocket = strings.TrimPrefix(path, "unix://")
		return nil
	}
}

// WithVersion is the application's version as operators see it, free text. Default: empty.
func WithVersion(version string) HostOption {
	return func(o *hostOptions) error {
		o.version = version
		return nil
	}
}

// WithSingleProcess declares that this process does all its work itself: no child of it serves or writes for a shard. The agent may then
// hand its shards over the moment it dies. Default: not declared.
func WithSingleProcess() HostOption {
	return func(o *hostOptions) error {
		o.singleProcess = true
		return nil
	}
}

// WithCapacity says how much this server carries per metric, in the metric's own fixed-point unit; the metric `shards` counts
// replicas. Default: the agent's configuration.
func WithCapacity(capacity map[string]int64) HostOption {
	return func(o *hostOptions) error {
		for metric, value := range capacity {
			if metric == "" || value < 0 {
				return fmt.Errorf("capacity %q = %d: expected a metric's name and a value >= 0", metric, value)
			}
		}
		o.capacity = maps.Clone(capacity)
		return nil
	}
}

// WithLabels sets free labels of this server. Default: none.
func WithLabels(labels map[string]string) HostOption {
	return func(o *hostOptions) error {
		o.labels = maps.Clone(labels)
		return nil
	}
}

// WithLogger logs changes of state and failures. Default: nothing is logged.
func WithLogger(logger *slog.Logger) HostOption {
	return func(o *hostOptions) error {
		if logger != nil {
			o.logger = logger
		}
		return nil
	}
}

// WithObserver has the guard report what it does. Default: nobody is told.
func WithObserver(observer Observer) HostOption {
	return func(o *hostOptions) error {
		o.observer = observer
		return nil
	}
}

// WithCallbackTimes is told of every callback that returned: its name (as of the method: AddShard, LastState, CollectLoad, …), how long it took and its
// error, for metrics. It runs on the callback's goroutine, for several shards at once, and has to be quick. Default: nobody is told.
func WithCallbackTimes(fn func(callback string, took time.Duration, err error)) HostOption {
	return func(o *hostOptions) error {
		if fn != nil {
			o.called = fn
		}
		return nil
	}
}

// WithHoldLimits bounds the requests that are held or forwarded at once during hand-overs, over all shards, by number and by the bytes
// of their bodies. What exceeds them is refused as not executed, so routers try again. Default: 10 000 requests, 64 MiB.
func WithHoldLimits(count int, bytes int64) HostOption {
	return func(o *hostOptions) error {
		if count < 0 || bytes < 0 {
			return fmt.Errorf("hold limits %d requests, %d bytes: expected values >= 0", count, bytes)
		}
		o.holdCount, o.holdBytes = count, bytes
		return nil
	}
}

// NewHost makes the Host of an application. Nothing is contacted before Run.
func NewHost(app string, handler Handler, opts ...HostOption) (*Host, error) {
	options := hostOptions{
		agentAddress: os.Getenv(AgentAddressVariable), logger: slog.New(slog.DiscardHandler),
		holdCount: defaultHoldCount, holdBytes: defaultHoldBytes, now: clock.Now,
		valve: transfer.NewValve(4, 0), stateLimits: transfer.Limits{Stall: 10 * time.Second, Bytes: 16 << 30},
		tracing: otel.GetTracerProvider(), called: func(string, time.Duration, error) {},
	}
	for _, option := range opts {
		if err := option(&options); err != nil {
			return nil, fmt.Errorf("sdk: new host: %w", err)
		}
	}
	if options.agentAddress == "" {
		options.agentAddress = DefaultAgentAddress
	}
	if err := checkHost(app, handler, &options); err != nil {
		return nil, fmt.Errorf("sdk: new host: %w", err)
	}
	return &Host{
		app: app, handler: handler, options: options, observer: options.observer, logger: options.logger,
		pid: os.Getpid(), now: options.now, peers: newPeerTransport(), refusals: connect.NewErrorWriter(),
		tracer: options.tracing.Tracer("shardmanager/sdk"),
		holds:  holding.New(options.holdCount, options.holdBytes),
	}, nil
}

func checkHost(app string, handler Handler, options *hostOptions) error {
	switch {
	case app == "":
		return errors.New("app: expected the name of the app")
	case handler == nil:
		return errors.New("handler: expected the application's callbacks, got nil")
	case options.dataAddress == "":
		return errors.New("data address: expected WithDataAddress(host:port): other servers forward requests to it during moves")
	}
	_, source := handler.(StateSource)
	_, streams := handler.(streamSource)
	_, receives := handler.(streamTarget)
	_, activator := handler.(Activator)
	switch {
	case source && !activator:
		return fmt.Errorf("handler %T: it has LastState and no Activate: nobody would take the state", handler)
	case receives && !activator:
		return fmt.Errorf("handler %T: it has ReceiveState and no Activate: nobody would take what follows", handler)
	case streams && !source:
		return fmt.Errorf("handler %T: it has StreamState and no LastState: a target that does not receive streams would get nothing", handler)
	}
	return nil
}

// Server is the id of this server and its present incarnation, or zeros before the first registration.
func (h *Host) Server() (id string, incarnation uint64) {
	l := h.life.Load()
	if l == nil || l.over() {
		return "", 0
	}
	return l.server, uint64(l.incarnation)
}

// Handler is ShardHostService, which the agent and other servers call. Mount it on the mux of the data address, beside the
// application's own handlers and not inside Middleware:
//
//	mux.Handle(host.Handler())
func (h *Host) Handler() (string, http.Handler) {
	limits := connect.WithReadMaxBytes(transfer.MaxLast + transfer.MaxChunk) // Activate may carry a whole state
	path, handler := shardmanagerv1connect.NewShardHostServiceHandler(&service{host: h}, limits)
	return path, inTrace(transfer.WithDeadlines(handler))
}

func (h *Host) capabilities() *pb.HostCapabilities {
	_, activate := h.handler.(Activator)
	_, prepare := h.handler.(Preparer)
	_, role := h.handler.(RoleChanger)
	_, membership := h.handler.(MembershipUpdater)
	_, load := h.handler.(LoadCollector)
	return &pb.HostCapabilities{Activate: activate, Prepare: prepare, ChangeRole: role, Membership: membership, Load: load}
}

// adopt makes l the present life. The one before is over and has dropped everything.
func (h *Host) adopt(l *life) {
	h.life.Store(l)
	h.logger.Info("registered", "server", l.server, "incarnation", l.incarnation.String())
}

// revoke ends the lease and the incarnation at once: no answer leaves any more.
func (h *Host) revoke(l *life, reason string) {
	ended := l.revoke(func() {
		if h.observer != nil {
			h.observer.LeaseRevoked(h.now().Raw)
		}
	})
	if !ended {
		return
	}
	h.logger.Warn("incarnation ended", "server", l.server, "incarnation", l.incarnation.String(), "reason", reason)
	for _, r := range l.all() {
		r.setGate(gateClosed)
		r.cancelTokens(errLifeOver)
	}
}

// endLife revokes the lease at once, then drops every shard, and returns when nothing runs any more (PROTOCOL R2). It may be called
// again, and at the same time.
func (h *Host) endLife(ctx context.Context, l *life, reason string) error {
	h.revoke(l, reason)
	return eachReplica(l.all(), func(r *replica) error {
		if err := r.acquire(ctx); err != nil {
			return fmt.Errorf("end incarnation: shard %s: a callback still runs: %w", r.id, err)
		}
		defer r.release()
		return h.retire(ctx, r, r.snapshot().Max, 0)
	})
}

// maxParallelCallbacks bounds the shards that are stopped at once when an incarnation ends.
const maxParallelCallbacks = 64

func eachReplica(list []*replica, do func(*replica) error) error {
	slots := make(chan struct{}, maxParallelCallbacks)
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, r := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(r)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
