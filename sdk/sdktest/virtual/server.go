package virtual

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// errKilled is what happens to everything in a process that was killed.
var errKilled = errors.New("the process was killed")

// Server is one server of the Cluster: the process of the application, when there is one, and its agent.
type Server struct {
	Name    string // a
	Address string // of the application, in the Cluster's network

	cluster *Cluster
	agent   *agent

	turn    sync.Mutex // of start
	mu      sync.Mutex
	process *process // nil: it is down
	last    *process // the same, or the one before; nil: there was none yet
}

// process is one life of an application.
type process struct {
	server  *Server
	host    *sdk.Host
	handler sdk.Handler // the application's own
	watch   *ownership.Server
	cancel  context.CancelFunc
	ran     chan struct{} // closed when Run has returned
	killed  chan struct{} // closed when it was

	mu    sync.Mutex
	still chan struct{} // not nil while it stands still; closed when it goes on
}

func newServer(c *Cluster, name string) *Server {
	s := &Server{Name: name, Address: name + ":80", cluster: c}
	s.agent = newAgent(s)
	return s
}

// start begins a process, unless there is one.
func (s *Server) start() {
	if last := s.latest(); last != nil && last.dead() {
		<-last.ran
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.current() != nil {
		return
	}
	c := s.cluster
	c.fault(s.Name + " starts")
	ctx, cancel := context.WithCancel(c.around(c.ctx, s.Name))
	p := &process{server: s, watch: c.checker.Start(s.Name), cancel: cancel, ran: make(chan struct{}), killed: make(chan struct{})}
	p.handler = c.app.New(c.t, s.Name)
	options := append([]sdk.HostOption{sdk.WithLogger(c.cfg.Logger.With("process", s.Name)), sdk.WithSingleProcess()}, c.cfg.HostOptions...)
	options = append(options, sdk.WithAgentAddress(s.agent.address()), sdk.WithDataAddress(s.Address), sdk.WithObserver(p.watch))
	host, err := sdk.NewHost(AppName, p.watch.Handler(p.handler, p.around), options...)
	if err != nil {
		c.t.Fatal(err)
	}
	p.host = host
	mux := http.NewServeMux()
	mux.Handle(host.Handler())
	if c.app.Mount != nil {
		c.app.Mount(p.handler, host, mux)
	}
	listener, err := c.net.Listen(s.Address)
	if err != nil {
		c.t.Fatal(err)
	}
	serving, stopServing := context.WithCancel(c.around(context.WithoutCancel(ctx), s.Name))
	c.serve(serving, listener, mux)
	c.running.Go(func() {
		defer stopServing()
		defer close(p.ran)
		if err := host.Run(ctx); err != nil && !p.dead() {
			c.cfg.Logger.Warn("host ended", "process", s.Name, "error", err)
		}
	})
	s.mu.Lock()
	s.process, s.last = p, p
	s.mu.Unlock()
}

func (s *Server) latest() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Handler is the application's handler of the present process; nil: it is down.
func (s *Server) Handler() sdk.Handler {
	if p := s.current(); p != nil {
		return p.handler
	}
	return nil
}

// Host of the present process; nil: it is down.
func (s *Server) Host() *sdk.Host {
	if p := s.current(); p != nil {
		return p.host
	}
	return nil
}

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// take is current, and leaves none.
func (s *Server) take() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.process
	s.process = nil
	return p
}

// end ends the process in peace.
func (s *Server) end() {
	if p := s.take(); p != nil {
		p.cancel()
		<-p.ran
	}
}

// kill ends a process at once: whatever runs in it goes no further.
func (p *process) kill() {
	p.watch.Killed()
	close(p.killed)
	p.cancel()
	p.server.cluster.net.Kill(p.server.Name)
}

func (p *process) dead() bool {
	select {
	case <-p.killed:
		return true
	default:
		return false
	}
}

// pause makes the process stand still.
func (p *process) pause() {
	p.server.cluster.net.Stop(p.server.Name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.still == nil {
		p.still = make(chan struct{})
	}
}

// resume takes pause back.
func (p *process) resume() {
	p.server.cluster.net.Go(p.server.Name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.still != nil {
		close(p.still)
		p.still = nil
	}
}

// goOn returns at once while the process runs, when it goes on while it stands still, and with errKilled when it was killed.
func (p *process) goOn() error {
	for {
		p.mu.Lock()
		still := p.still
		p.mu.Unlock()
		if p.dead() {
			return errKilled
		}
		if still == nil {
			return nil
		}
		select {
		case <-still:
		case <-p.killed:
		}
	}
}

// sleep passes time in the process.
func (p *process) sleep(d time.Duration) error {
	if d <= 0 {
		return p.goOn()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.killed:
	}
	return p.goOn()
}

// operate runs an operation under the guard, with a moment between its start and do, and between do and its answer, in which the process may be
// stopped or killed.
func (p *process) operate(ctx context.Context, shardID string, moment time.Duration, do func(context.Context, sdk.Handler, sdk.Shard) error) (executed bool, err error) {
	if err := p.goOn(); err != nil {
		return false, err
	}
	ctx, token, err := p.host.Begin(ctx, shardID)
	if err != nil {
		return false, err
	}
	defer func() { _ = token.End() }()
	if err := p.sleep(moment); err != nil {
		return false, err
	}
	if err := do(ctx, p.handler, token.Shard()); err != nil {
		return true, err
	}
	if err := p.sleep(moment); err != nil {
		return true, err
	}
	if err := token.End(); err != nil {
		return true, err
	}
	if p.dead() {
		return true, errKilled
	}
	return true, nil
}
