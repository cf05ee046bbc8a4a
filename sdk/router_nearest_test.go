package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// replicaAt is where a replica of the test's one shard is.
type replicaAt struct{ address, region, zone string }

// replicatedRouter has a map of one shard with these replicas, the first its primary, and nobody to follow.
func replicatedRouter(t testing.TB, replicas []replicaAt, opts ...RouterOption) *Router {
	t.Helper()
	r, err := NewRouter("kv", append([]RouterOption{WithAgent("127.0.0.1:1")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	r.update(mapfeed.Update{Map: replicatedMap(t, 1, replicas)})
	return r
}

func replicatedMap(t testing.TB, counter uint64, replicas []replicaAt) *shard.Map {
	t.Helper()
	var servers []shard.Server
	entry := shard.Entry{}
	for i, at := range replicas {
		id := shard.ServerID(fmt.Sprintf("s%d.kv", i))
		servers = append(servers, shard.Server{ID: id, App: "kv", Incarnation: 1, DataAddress: at.address, Locality: shard.Locality{Region: at.region, Zone: at.zone}})
		if i == 0 {
			entry.Primary, entry.Term = id, 1
		} else {
			entry.Secondaries = append(entry.Secondaries, id)
		}
	}
	m, err := shard.NewMap("kv", shard.Version{Counter: counter}, shard.HashSpace{Shards: 1}, servers, []shard.Entry{entry})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// answering answers as a replica with a role does, and tells what it was asked as.
func answering(name string, role Role, staleness time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if role == RoleSecondary {
			w.Header().Set(HeaderRole, role.String())
			w.Header().Set(HeaderStaleness, strconv.FormatInt(staleness.Milliseconds(), 10))
		}
		_, _ = fmt.Fprintf(w, "%s %s", name, r.Header.Get(HeaderRead))
	}
}

// ask sends one request through the Router.
func ask(t testing.TB, r *Router, ctx context.Context, method string) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: r.Transport(nil)}
	req, err := http.NewRequestWithContext(WithKey(ctx, "a"), method, "http://kv/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func TestNearestRead(t *testing.T) {
	far := replicaAt{startData(t, answering("primary", RolePrimary, 0)), "us", "us-1"}
	near := replicaAt{startData(t, answering("near", RoleSecondary, 40*time.Millisecond)), "eu", "eu-1"}
	same := replicaAt{startData(t, answering("region", RoleSecondary, 0)), "eu", "eu-2"}
	r := replicatedRouter(t, []replicaAt{far, same, near}, WithLocality("eu", "eu-1"))
	ctx := within(t, 10*time.Second)
	response, text := ask(t, r, WithNearestRead(ctx), http.MethodPost)
	if text != "near any" {
		t.Errorf("answered by %q, want the secondary in the same zone", text)
	}
	if d, ok := StalenessOf(response.Header); !ok || d != 40*time.Millisecond {
		t.Errorf("staleness %v, %t; want 40ms", d, ok)
	}
	response, text = ask(t, r, ctx, http.MethodGet)
	if text != "primary " {
		t.Errorf("answered by %q, want the primary, and no mark", text)
	}
	if d, ok := StalenessOf(response.Header); !ok || d != 0 {
		t.Errorf("staleness of a primary's answer: %v, %t", d, ok)
	}
	for text, want := range map[string]bool{"": false, "-1": false, "x": false, "7": true} {
		header := http.Header{}
		header.Set(HeaderRole, RoleSecondary.String())
		header.Set(HeaderStaleness, text)
		if _, ok := StalenessOf(header); ok != want {
			t.Errorf("staleness %q of a secondary: stated %t, want %t", text, ok, want)
		}
	}
}

// A read goes on to the next replica after a refusal, a broken connection and a silence, and the next read passes over who failed.
func TestNearestReadGoesOn(t *testing.T) {
	silent := make(chan struct{})
	defer close(silent)
	for name, first := range map[string]string{
		"refused":    startData(t, refusing(NotExecuted, "")),
		"unknown":    startData(t, refusing(Unknown, "")),
		"nobody":     nobody(t),
		"broken off": startData(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })),
		"silent":     startData(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent })),
	} {
		t.Run(name, func(t *testing.T) {
			second := startData(t, answering("second", RoleSecondary, 0))
			primary := startData(t, answering("primary", RolePrimary, 0))
			r := replicatedRouter(t, []replicaAt{{primary, "us", ""}, {first, "eu", "1"}, {second, "eu", "2"}}, WithLocality("eu", "1"), WithAttemptTimeout(200*time.Millisecond))
			ctx := WithNearestRead(within(t, 10*time.Second))
			if _, text := ask(t, r, ctx, http.MethodPost); text != "second any" {
				t.Errorf("answered by %q, want the next secondary", text)
			}
			if s := r.chooser.Choose(time.Now(), r.view.Load().m, 0, nil); s == nil || s.DataAddress != second {
				t.Errorf("the next read begins at %v", s)
			}
		})
	}
}

// When every secondary refuses, the primary answers, also where only a refusal knows it.
func TestNearestReadFallsBack(t *testing.T) {
	primary := startData(t, answering("primary", RolePrimary, 0))
	for name, replicas := range map[string][]replicaAt{
		"the map's":     {{primary, "us", ""}, {startData(t, refusing(NotExecuted, "")), "eu", ""}, {nobody(t), "eu", ""}},
		"a refusal's":   {{nobody(t), "us", ""}, {startData(t, refusing(NotExecuted, primary)), "eu", ""}},
		"no primary":    {{"", "us", ""}, {startData(t, refusing(NotExecuted, primary)), "eu", ""}},
		"no secondary":  {{primary, "us", ""}},
		"once promoted": {{startData(t, refusing(NotExecuted, primary)), "us", ""}, {primary, "ap", ""}},
	} {
		r := replicatedRouter(t, replicas, WithLocality("eu", ""))
		if _, text := ask(t, r, WithNearestRead(within(t, 10*time.Second)), http.MethodPost); text != "primary any" {
			t.Errorf("%s: answered by %q", name, text)
		}
	}
}

// A hint that names what the map calls a secondary is a detour, gone once between two attempts at the map's primary.
func TestDetourToSecondary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := replicatedRouter(t, []replicaAt{{"p:1", "", ""}, {"s:1", "", ""}})
		var asked []string
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := r.Do(ctx, "a", func(_ context.Context, route Route) error {
			asked = append(asked, route.Address())
			other := map[string]string{"p:1": "s:1", "s:1": "p:1"}[route.Address()]
			return &Error{Outcome: NotExecuted, Hint: other}
		})
		if err == nil || len(asked) < 4 || len(asked) > 30 {
			t.Errorf("%v after %d attempts: they must be paused", err, len(asked))
		}
		for i, at := range asked {
			if want := []string{"p:1", "s:1"}[i%2]; at != want {
				t.Fatalf("asked %v", asked)
			}
		}
	})
}

// While nobody answers, every replica is asked once a round, with pauses between rounds; a new map ends the pause.
func TestNearestReadRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := []replicaAt{{"p:1", "us", ""}, {"s:1", "eu", ""}, {"t:1", "eu", ""}}
		r := replicatedRouter(t, replicas, WithLocality("eu", ""))
		asked := map[string]int{}
		total := 0
		begun := time.Now()
		err := r.Do(WithNearestRead(t.Context()), "a", func(_ context.Context, route Route) error {
			if route.Address() == "new:1" {
				if route.Role() != RoleSecondary || route.Server() != "s3.kv" || route.Region() != "eu" || route.Zone() != "9" {
					t.Errorf("route to %s %s in %s/%s", route.Role(), route.Server(), route.Region(), route.Zone())
				}
				return nil
			}
			if total++; total == 30 {
				time.AfterFunc(time.Millisecond, func() {
					r.update(mapfeed.Update{Map: replicatedMap(t, 2, append(replicas, replicaAt{"new:1", "eu", "9"}))})
				})
			}
			asked[route.Address()]++
			return &Error{Outcome: NotExecuted}
		})
		if err != nil {
			t.Fatal(err)
		}
		if asked["p:1"] != 10 || asked["s:1"] < 10 || asked["t:1"] < 10 {
			t.Errorf("asked %v, want each once a round", asked)
		}
		if took := time.Since(begun); took < 500*time.Millisecond || took > 5*time.Second {
			t.Errorf("ten rounds took %v", took)
		}
	})
}

func TestNearestReadGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := replicatedRouter(t, []replicaAt{{"p:1", "", ""}, {"s:1", "", ""}})
		ctx, cancel := context.WithTimeout(WithNearestRead(t.Context()), time.Second)
		defer cancel()
		err := r.Do(ctx, "a", func(context.Context, Route) error { return &Error{Outcome: NotExecuted, Reason: "no"} })
		if e, ok := errors.AsType[*Error](err); !ok || e.Outcome != NotExecuted || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		final := errors.New("the application's")
		attempts := 0
		if err := r.Do(WithNearestRead(t.Context()), "a", func(context.Context, Route) error { attempts++; return final }); !errors.Is(err, final) || attempts != 1 {
			t.Errorf("%v after %d attempts", err, attempts)
		}
	})
}
