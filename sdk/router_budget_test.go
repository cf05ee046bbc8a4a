package sdk

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
)

// A server that needs longer than an attempt's time is not asked twice as much: within the budget requests are repeated, and the others
// wait for the answer that is on its way. None fails.
func TestSlowServerIsNotAskedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int32
		network := servePipes(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			attempts.Add(1)
			select {
			case <-time.After(2500 * time.Millisecond):
				saying("slow")(w, r)
			case <-r.Context().Done():
			}
		}))
		r := stillRouter(t, "127.0.0.1:1001", WithRetryBudget(20, 0))
		base := network.base(t, "h1")
		const requests = 100
		var clients sync.WaitGroup
		for range requests {
			clients.Go(func() {
				if got, err := routedGet(within(t, 20*time.Second), r, base); err != nil || got != "slow" {
					t.Errorf("answer %q, error %v, want the slow one", got, err)
				}
			})
		}
		clients.Wait()
		if n := attempts.Load(); n != requests*120/100 {
			t.Errorf("%d attempts for %d requests, want a fifth more", n, requests)
		}
	})
}

// What broke is repeated only within the budget; the others say at their deadline what they waited for.
func TestBrokenRequestsWaitForTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stillRouter(t, "127.0.0.1:1001", WithRetryBudget(20, 0))
		var attempts atomic.Int32
		base := roundTripFunc(func(*http.Request) (*http.Response, error) {
			attempts.Add(1)
			return nil, errCutOff
		})
		const requests = 50
		var clients sync.WaitGroup
		for range requests {
			clients.Go(func() {
				_, err := routedGet(within(t, 2*time.Second), r, base)
				if outcome, _ := OutcomeOf(err); outcome != Unknown || !strings.Contains(err.Error(), "retry budget") {
					t.Errorf("error %v, want unknown, and a word of the budget", err)
				}
			})
		}
		clients.Wait()
		if n := attempts.Load(); n != requests*120/100 {
			t.Errorf("%d attempts for %d requests, want a fifth more", n, requests)
		}
	})
}

// Without any budget, what was refused is sent again all the same, and what waits for a server goes to the next owner once there is one.
func TestMovesNeedNoBudget(t *testing.T) {
	for name, first := range map[string]func(*http.Request) (*http.Response, error){
		"refused": func(req *http.Request) (*http.Response, error) { return refusedAnswer(req, NotExecuted, ""), nil },
		"broken":  func(*http.Request) (*http.Response, error) { return nil, errCutOff },
		"silent": func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := stillRouter(t, "127.0.0.1:1001", WithRetryBudget(0, 0))
				attempts := 0
				base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
					if req.URL.Host == "127.0.0.1:1002" {
						return answer(req, "second"), nil
					}
					attempts++
					return first(req)
				})
				time.AfterFunc(1500*time.Millisecond, func() { r.update(mapfeed.Update{Map: routedMap(t, 2, "127.0.0.1:1002")}) })
				began := time.Now()
				got, err := routedGet(within(t, 5*time.Second), r, base)
				if err != nil || got != "second" || time.Since(began) > 1500*time.Millisecond+longestPause {
					t.Errorf("answer %q, error %v after %s, want the second server's at its turn", got, err, time.Since(began))
				}
				if (attempts > 1) != (name == "refused") {
					t.Errorf("%d attempts at the first server: only refusals are repeated without a budget", attempts)
				}
			})
		})
	}
}

// A read that any replica may answer takes from the budget too.
func TestNearestReadsTakeFromTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stillRouter(t, "127.0.0.1:1001", WithRetryBudget(0, 0))
		attempts := 0
		base := roundTripFunc(func(*http.Request) (*http.Response, error) {
			attempts++
			return nil, errCutOff
		})
		_, err := routedGet(WithNearestRead(within(t, 2*time.Second)), r, base)
		if !errors.Is(err, errCutOff) || attempts != 1 {
			t.Errorf("%d attempts, %v, want one", attempts, err)
		}
	})
}
