package agent_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

// What 1 000 agents may ask of Consul, and how long to count. Of the 300 requests a second that one server is to bear, checks of services
// may take 40, and allocators 10.
const (
	bound    = 250. / 1000      // requests a second of one agent
	counting = 30 * time.Second // as long as a watch, so that each agent's falls into it about once, wherever it begins
	counted  = 20               // agents
	tries    = 4
)

// Agents that are attached and have nothing to do ask Consul seldom enough that one server bears a thousand of them.
func TestAgentsAskConsulSeldom(t *testing.T) {
	if testing.Short() {
		t.Skip("counts for half a minute")
	}
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	target, err := url.Parse("http://" + cluster.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	counter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(counter.Close)

	l := newLeader(t, 7)
	l.interval, l.validity, l.grant = time.Second, 6*time.Second, 6*time.Second // the default: agents ask the store when they hear nothing for long
	for i := range counted {
		store, err := consul.New(consul.Config{Addresses: []string{counter.Listener.Addr().String()}}, "c")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		cfg := config(t, l)
		cfg.Name, cfg.LeaseInterval, cfg.LeaseValidity = fmt.Sprintf("a%d", i), l.interval, l.validity
		run(t, cfg, store)
		application0(t, cfg.Socket).registered(t)
	}
	eventually(t, "all agents attached", func() bool { return l.attachedNow() == counted })

	for range tries {
		before, hellos, began := requests.Load(), l.hellosNow(), time.Now()
		<-time.After(counting)
		if l.hellosNow() != hellos {
			t.Log("a stream broke on a busy machine, and whoever is not attached asks more: counting again")
			continue
		}
		asked := float64(requests.Load()-before) / time.Since(began).Seconds() / counted
		t.Logf("%.3f requests a second of each agent", asked)
		if asked > bound || asked == 0 {
			t.Errorf("%.3f requests a second of each agent, expected some, and %.3f at most", asked, bound)
		}
		return
	}
	t.Errorf("in none of %d times %s all agents stayed attached", tries, counting)
}
