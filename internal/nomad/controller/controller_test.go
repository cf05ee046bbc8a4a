package controller

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/nomad/client"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const (
	oldID     = "1a2b3c4d-0000-4000-8000-000000000001"
	canaryID  = "2a2b3c4d-0000-4000-8000-000000000001"
	deployID  = "3a2b3c4d-0000-4000-8000-000000000001"
	oldServer = "kv-1a2b3c4d.kv"
	eventID   = "nomad-deployment-" + deployID + ".1"
)

// world is Nomad and a leader, as far as one deployment goes. Both speak their real protocols.
type world struct {
	shardmanagerv1connect.UnimplementedAdminServiceHandler

	mu       sync.Mutex
	away     bool // Nomad
	deploys  bool
	paused   bool
	promoted bool
	event    *pb.MaintenanceEvent
	orders   []string
	log      bytes.Buffer
	changed  chan struct{} // wakes the event stream
}

func (w *world) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *world) given() (orders string) {
	w.locked(func() { orders = strings.Join(w.orders, "; ") })
	return orders
}

// logbook is the world's log.
type logbook world

func (l *logbook) Write(line []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(line)
}

func (w *world) told() (log string) {
	w.locked(func() { log = w.log.String() })
	return log
}

// nomad is Nomad's side.
func (w *world) nomad(out http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/event/stream" {
		for index := 1; ; index++ {
			_, _ = fmt.Fprintf(out, `{"Index":%d,"Events":[{}]}`, index)
			_ = http.NewResponseController(out).Flush()
			select {
			case <-w.changed:
			case <-r.Context().Done():
				return
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := "[]"
	switch {
	case w.away:
		http.Error(out, "no leader", http.StatusInternalServerError)
		return
	case r.Method == http.MethodPost:
		w.orders = append(w.orders, strings.TrimPrefix(r.URL.Path, "/v1/"))
		w.paused = w.paused || strings.Contains(r.URL.Path, "pause")
		w.promoted = w.promoted || strings.Contains(r.URL.Path, "promote")
		answer = "{}"
	case r.URL.Path == "/v1/deployments" && w.deploys:
		status := map[bool]string{false: "running", true: "paused"}[w.paused]
		answer = fmt.Sprintf(`[{"ID":%q,"Namespace":"default","JobID":"kv","JobVersion":1,"Status":%q,"TaskGroups":{"kv":{"DesiredCanaries":1,"PlacedCanaries":[%q],"Promoted":%v}}}]`,
			deployID, status, canaryID, w.promoted)
	case r.URL.Path == "/v1/job/kv/allocations":
		answer = fmt.Sprintf(`[{"ID":%q,"Namespace":"default","JobID":"kv","JobType":"service","TaskGroup":"kv","Name":"kv.kv[0]","JobVersion":0,"DesiredStatus":"run","ClientStatus":"running"},
			{"ID":%q,"Namespace":"default","JobID":"kv","JobType":"service","TaskGroup":"kv","Name":"kv.kv[0]","JobVersion":1,"DesiredStatus":"run","ClientStatus":"running","DeploymentStatus":{"Healthy":true}}]`, oldID, canaryID)
	}
	_, _ = io.WriteString(out, answer)
}

func (w *world) ListServers(context.Context, *pb.ListServersRequest) (*pb.ListServersResponse, error) {
	server := func(id string) *pb.ServerStatus {
		return &pb.ServerStatus{Server: &pb.Server{Id: id, Incarnation: 7}, State: pb.ServerState_SERVER_STATE_ATTACHED}
	}
	return &pb.ListServersResponse{Servers: []*pb.ServerStatus{server(oldServer), server("kv-2a2b3c4d.kv")}}, nil
}

func (w *world) ListMaintenance(context.Context, *pb.ListMaintenanceRequest) (*pb.ListMaintenanceResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.event == nil {
		return &pb.ListMaintenanceResponse{}, nil
	}
	return &pb.ListMaintenanceResponse{Events: []*pb.MaintenanceEvent{w.event}}, nil
}

func (w *world) RequestMaintenance(_ context.Context, r *pb.RequestMaintenanceRequest) (*pb.RequestMaintenanceResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders = append(w.orders, "request "+r.GetRequest().GetId()+" "+strings.Join(r.GetRequest().GetScope().GetServers(), ","))
	w.event = &pb.MaintenanceEvent{Request: r.GetRequest(), Pieces: []*pb.MaintenancePiece{{State: pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_WAITING,
		Covers: []*pb.MaintenancePiece_Covered{{Server: oldServer, Incarnation: 7}}, Detail: "kv: 1 of 1 may be down"}}}
	return &pb.RequestMaintenanceResponse{}, nil
}

func (w *world) CancelMaintenance(_ context.Context, r *pb.CancelMaintenanceRequest) (*pb.CancelMaintenanceResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders = append(w.orders, "cancel "+r.GetId())
	return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("not now"))
}

func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// The shell: it looks, says when it is ready, gives each order and tells of it once, is woken by Nomad's events, and outlives Nomad.
func TestController(t *testing.T) {
	w := &world{changed: make(chan struct{})}
	nomadServer := httptest.NewServer(http.HandlerFunc(w.nomad))
	t.Cleanup(nomadServer.Close)
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAdminServiceHandler(w))
	admin := httptest.NewUnstartedServer(mux)
	admin.Config.Protocols = new(http.Protocols)
	admin.Config.Protocols.SetHTTP1(true)
	admin.Config.Protocols.SetUnencryptedHTTP2(true)
	admin.Start()
	t.Cleanup(admin.Close)
	api, err := client.New(client.Config{Address: nomadServer.URL, Namespace: client.AllNamespaces})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	cfg := DefaultConfig()
	cfg.Admin, cfg.Listen, cfg.Interval = []string{admin.Listener.Addr().String()}, "127.0.0.1:0", shortestInterval
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	var page string
	ready := make(chan struct{})
	w.away = true
	registry := prometheus.NewRegistry()
	c := New(cfg, Deps{Nomad: api, Metrics: registry, Log: zerolog.New((*logbook)(w)), Ready: func() { close(ready) }, Listen: func(address string) (net.Listener, error) {
		l, err := net.Listen("tcp", address)
		if err == nil {
			page = "http://" + l.Addr().String() + "/ready"
		}
		return l, err
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	stop, err := c.serve()
	if err != nil {
		t.Fatal(err)
	}
	is := func(want int) func() bool {
		return func() bool {
			response, err := http.Get(page)
			if err != nil {
				return false
			}
			_ = response.Body.Close()
			return response.StatusCode == want
		}
	}
	eventually(t, "it is ready before it looked", is(http.StatusServiceUnavailable))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- c.Run(ctx) }()
	w.locked(func() { w.away = false })
	<-ready
	eventually(t, "it is not ready", is(http.StatusOK))
	if ready, alive := c.Ready(ctx), c.Alive(ctx); ready != nil || alive != nil {
		t.Errorf("ready: %v, alive: %v", ready, alive)
	}

	w.locked(func() { w.deploys = true })
	w.changed <- struct{}{} // it looks at once: nothing was under way
	eventually(t, "it does not ask", func() bool { return w.given() == "request "+eventID+" "+oldServer })
	eventually(t, "it does not say what it waits for", func() bool { return strings.Contains(w.told(), "1 of 1 may be down") })
	eventually(t, "the deployment does not count as held", func() bool { return value(t, registry, "held", "deployment") == 1 })
	w.locked(func() { w.event.Pieces[0].State = pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_READY })
	want := "request " + eventID + " " + oldServer + "; deployment/pause/" + deployID + "; deployment/promote/" + deployID + "; allocation/" + oldID + "/stop"
	eventually(t, "it does not go on: "+w.given(), func() bool { return strings.HasPrefix(w.given(), want) })
	w.locked(func() { w.deploys, w.away = false, true })
	eventually(t, "it is ready without Nomad", is(http.StatusServiceUnavailable))
	w.locked(func() { w.away = false })
	eventually(t, "it does not try to take the event back again", func() bool { return strings.Count(w.given(), "cancel "+eventID) > 2 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	orders := strings.Count(w.given(), "; ") + 1
	counted := value(t, registry, "orders_total", "cancel", "refused") + value(t, registry, "orders_total", "request", "done") + value(t, registry, "orders_total", "pause", "done") +
		value(t, registry, "orders_total", "promote", "done") + value(t, registry, "orders_total", "stop", "done")
	if int(counted) != orders || value(t, registry, "looks_total", "failed") == 0 || value(t, registry, "looks_total", "good") < 3 ||
		value(t, registry, "last_look_timestamp_seconds") < float64(time.Now().Add(-time.Minute).Unix()) || value(t, registry, "held", "deployment") != 0 {
		families, err := registry.Gather()
		t.Errorf("%d orders: %s\n%v, %v", orders, w.given(), families, err)
	}
	for what, times := range map[string]int{`"what":"request"`: 1, `"what":"stop"`: 1, "order refused": 1, "1 of 1 may be down": 1, "cannot look": 1} {
		if n := strings.Count(w.told(), what); n != times && (what != "cannot look" || n < times) {
			t.Errorf("%s is told %d times, want %d:\n%s", what, n, times, w.told())
		}
	}
}

// value is that of a metric with these values of its labels, in their order.
func value(t *testing.T, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "shardmanager_nomad_controller_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			var has []string
			for _, l := range m.GetLabel() {
				has = append(has, l.GetValue())
			}
			if slices.Equal(has, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no %s of %v", name, labels)
	return 0
}

// A loop whose looks fail is alive; one that does not look is not.
func TestStandstill(t *testing.T) {
	c := New(DefaultConfig(), Deps{Log: zerolog.Nop()})
	c.looked = time.Now().Add(-standstill - time.Second)
	if err := c.Alive(t.Context()); err == nil {
		t.Error("it is alive without a look")
	}
	c.judge(t.Context(), errNoLook)
	if err := c.Alive(t.Context()); err != nil {
		t.Errorf("%v, after a look that failed", err)
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"admin: ":        func(c *Config) { c.Admin = nil },
		"admin[0]":       func(c *Config) { c.Admin = []string{"nonsense"} },
		"interval":       func(c *Config) { c.Interval = time.Hour },
		"down_for":       func(c *Config) { c.DownFor = time.Second },
		"drain_patience": func(c *Config) { c.DrainPatience = -1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
