package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/process"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// closeWait is for requests that are under way when the agent ends.
const closeWait = time.Second

// maxRequestBytes bounds a request: a Register that names 100 000 held shards has about 6 MB.
const maxRequestBytes = 32 << 20

// connKey leads from a request to its connection.
type connKey struct{}

// doors are the agent's two listeners.
type doors struct {
	servers   []*http.Server
	listeners []net.Listener
	failed    chan error
}

// open listens on the TCP address and the socket.
func (a *Agent) open(ctx context.Context) (*doors, error) {
	d := &doors{failed: make(chan error, 2)}
	tcp, err := a.listen(a.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a.advertise = a.cfg.Advertise
	if a.advertise == "" {
		a.advertise = tcp.Addr().String()
	}
	err = os.MkdirAll(filepath.Dir(strings.TrimPrefix(a.cfg.Socket, "unix://")), 0o755)
	var socket net.Listener
	if err == nil {
		socket, err = a.listen(a.cfg.Socket)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket: %w", err), tcp.Close())
	}
	d.listeners = []net.Listener{tcp, socket}
	limit := connect.WithReadMaxBytes(maxRequestBytes)
	public, private := http.NewServeMux(), http.NewServeMux()
	public.Handle(shardmanagerv1connect.NewAgentServiceHandler(api.NewPublic(a.cfg.Name, a), limit))
	private.Handle(shardmanagerv1connect.NewAgentServiceHandler(api.New(a.cfg.Name, a, a, a), limit))
	for _, mux := range []*http.ServeMux{public, private} {
		a.mountShared(mux, limit)
	}
	for _, mux := range []*http.ServeMux{public, private} {
		d.servers = append(d.servers, transport.NewServer(ctx, mux))
	}
	d.servers[1].ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	return d, nil
}

func (a *Agent) mountShared(mux *http.ServeMux, limit connect.HandlerOption) {
	mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(a.maps.hub, limit))
	mux.Handle(grpchealth.NewHandler(health{agent: a}))
	reflector := grpcreflect.NewStaticReflector(shardmanagerv1connect.AgentServiceName, shardmanagerv1connect.ShardMapServiceName)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
}

// health says how the agent is: it serves until it stops.
type health struct{ agent *Agent }

// Check implements grpchealth.Checker.
func (h health) Check(_ context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	switch req.Service {
	case "", shardmanagerv1connect.AgentServiceName, shardmanagerv1connect.ShardMapServiceName:
	default:
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("unknown service %s", req.Service))
	}
	if h.agent.stopping.Load() {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

func (d *doors) serve() {
	for i, server := range d.servers {
		go func() {
			if err := server.Serve(d.listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				d.failed <- err
			}
		}()
	}
}

// close ends the servers; a request that does not end in time is cut off.
func (d *doors) close() {
	done := make(chan struct{}, len(d.servers))
	for _, server := range d.servers {
		go func() {
			_ = transport.Shutdown(server, closeWait) // what did not end in time was cut off: nothing else can be done
			done <- struct{}{}
		}()
	}
	for range d.servers {
		<-done
	}
}

var errEnding = connect.NewError(connect.CodeUnavailable, errors.New("the agent is ending"))

// query gives the loop a question and waits for its answer.
func query[T any](ctx context.Context, a *Agent, ask func(chan<- T) mail) (T, error) {
	answer := make(chan T, 1)
	var zero T
	select {
	case a.mailbox <- ask(answer):
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-a.loopDone:
		return zero, errEnding
	}
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-a.loopDone:
		return zero, errEnding
	}
}

// Register implements api.Applications.
func (a *Agent) Register(ctx context.Context, r api.Registration) (api.Registered, error) {
	conn, ok := ctx.Value(connKey{}).(net.Conn)
	if !ok {
		return api.Registered{}, connect.NewError(connect.CodeFailedPrecondition, errors.New("register: expected a call over the agent's Unix socket"))
	}
	p, err := process.Peer(conn, r)
	if err != nil {
		return api.Registered{}, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	r.Application.Capacity = a.capacityOf(ctx, string(r.App), r.Application.Capacity, p.ID.PID)
	reply, err := query(ctx, a, func(answer chan<- roster.Reply) mail {
		return registerMail{registration: r, process: p, answer: answer}
	})
	if err != nil {
		return api.Registered{}, err
	}
	if err := api.Refuse("register", reply); err != nil {
		return api.Registered{}, err
	}
	return api.Registered{
		Server: shard.MakeServerID(a.cfg.Name, r.App), Incarnation: reply.Incarnation, Interval: reply.Interval, Locality: a.cfg.Locality(),
	}, nil
}

// Pull implements api.Applications.
func (a *Agent) Pull(ctx context.Context, app shard.App, incarnation shard.Incarnation, t []progress.Transfer) (roster.Reply, error) {
	reply, err := query(ctx, a, func(answer chan<- roster.Reply) mail {
		return pullMail{app: app, incarnation: incarnation, transfers: t, answer: answer}
	})
	if err != nil {
		return roster.Reply{}, err
	}
	return reply, api.Refuse("pull lease", reply)
}

// Hints implements api.Applications.
func (a *Agent) Hints(ctx context.Context, app shard.App, incarnation shard.Incarnation) (api.Feed, error) {
	answer, err := query(ctx, a, func(answer chan<- hintsAnswer) mail {
		return hintsMail{app: app, incarnation: incarnation, answer: answer}
	})
	if err != nil {
		return api.Feed{}, err
	}
	if err := api.Refuse("watch", answer.reply); err != nil {
		return api.Feed{}, err
	}
	return api.Feed{C: answer.feed.c, Close: func() { a.post(hintsDone{app: app, feed: answer.feed}) }}, nil
}

// Status implements api.Operations: how the agent and its servers stand.
func (a *Agent) Status(ctx context.Context) (api.Status, error) {
	return query(ctx, a, func(answer chan<- api.Status) mail { return statusMail{answer: answer} })
}

// drainLook is how often a drain's progress is looked at for whoever asked.
const drainLook = 200 * time.Millisecond

// Drain implements api.Operations.
func (a *Agent) Drain(ctx context.Context, app shard.App, on api.Switch, progress func(int) error) error {
	a.post(drainMail{app: app, on: on == api.On})
	if on == api.Off {
		return progress(0)
	}
	ticker := time.NewTicker(drainLook)
	defer ticker.Stop()
	for {
		status, err := a.Status(ctx)
		if err != nil {
			return err
		}
		left, found := 0, app == ""
		for _, v := range status.Servers {
			if app == "" || v.Server.App == app {
				left, found = left+drainLeft(v), true
			}
		}
		if !found {
			return connect.NewError(connect.CodeNotFound, fmt.Errorf("drain: app %q: this agent has no such server", app))
		}
		if err := progress(left); err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
