package sdk

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// namedMap is a map of an app that names its shards: all of them are at one address.
func namedMap(t testing.TB, counter uint64, names ...shard.ID) *shard.Map {
	t.Helper()
	var changes []shard.Named
	var entries []shard.Entry
	id := shard.MakeServerID("agent-a", "kv")
	for i, name := range names {
		changes = append(changes, shard.Named{Index: shard.Index(i), ID: name})
		entries = append(entries, shard.Entry{Index: shard.Index(i), Primary: id, Term: 1})
	}
	servers := []shard.Server{{ID: id, App: "kv", Agent: "agent-a", Incarnation: 1, DataAddress: "127.0.0.1:1001"}}
	m, err := shard.NewNamedMap("kv", shard.Version{Epoch: shard.Epoch{Index: 1}, Counter: counter}, new(shard.Names).With(changes), servers, entries)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A shard that is not there is waited for a moment; then the error says that there is none, whatever way the request goes.
func TestARequestForNoShard(t *testing.T) {
	for name, test := range map[string]struct {
		mark    func(context.Context) context.Context
		created time.Duration // 0: never
		asked   bool          // it was there, and refused
		fails   time.Duration // after; 0: it succeeds
	}{
		"never":                       {fails: missingPatience},
		"never, for any replica":      {mark: WithNearestRead, fails: missingPatience},
		"created":                     {created: missingPatience / 2},
		"created, for any replica":    {mark: WithNearestRead, created: missingPatience / 2},
		"created too late":            {created: 2 * missingPatience, fails: missingPatience},
		"deleted while it is asked":   {asked: true, fails: missingPatience},
		"deleted and created in time": {asked: true, created: missingPatience / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := stillRouter(t, "127.0.0.1:1001")
				r.update(mapfeed.Update{Map: namedMap(t, 2, "other")})
				if test.asked {
					r.update(mapfeed.Update{Map: namedMap(t, 3, "other", "inbox")})
				}
				if test.created > 0 {
					time.AfterFunc(test.created, func() { r.update(mapfeed.Update{Map: namedMap(t, 5, "inbox")}) })
				}
				ctx := within(t, patience)
				if test.mark != nil {
					ctx = test.mark(ctx)
				}
				began := time.Now()
				err := r.Do(ctx, "inbox", func(context.Context, Route) error {
					if v := r.view.Load(); v.m.Version.Counter == 3 {
						r.update(mapfeed.Update{Map: namedMap(t, 4, "other")})
						return &Error{Outcome: NotExecuted, Shard: "inbox", Reason: "it is being dropped"}
					}
					return nil
				})
				if test.fails == 0 {
					if err != nil {
						t.Errorf("it failed: %v", err)
					}
					return
				}
				outcome, _ := OutcomeOf(err)
				if !errors.Is(err, ErrNoShard) || outcome != NotExecuted || !strings.HasPrefix(err.Error(), "shard inbox: not-executed: ") {
					t.Errorf("error %v, want one that says that there is no such shard", err)
				}
				if took := time.Since(began); took < test.fails || took > test.fails+2*longestPause {
					t.Errorf("it took %v, want %v", took, test.fails)
				}
			})
		})
	}
}

// A deadline that comes first is one, and the error says what was lacking all the same.
func TestARequestForNoShardInNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stillRouter(t, "127.0.0.1:1001")
		r.update(mapfeed.Update{Map: namedMap(t, 2, "other")})
		err := r.Do(within(t, missingPatience/4), "inbox", func(context.Context, Route) error { return nil })
		if !errors.Is(err, ErrNoShard) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want both causes", err)
		}
	})
}

// Connect clients get a code that says so, too.
func TestAConnectCallForNoShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stillRouter(t, "127.0.0.1:1001")
		r.update(mapfeed.Update{Map: namedMap(t, 2, "other")})
		client := echoClient(r, servePipes(t, refusing(NotExecuted, "")).base(t, "h1"))
		_, err := client.CallUnary(within(t, patience), connect.NewRequest(wrapperspb.String("inbox")))
		if outcome, _ := OutcomeOf(err); connect.CodeOf(err) != connect.CodeNotFound || outcome != NotExecuted || !errors.Is(err, ErrNoShard) {
			t.Errorf("error %v, want not_found", err)
		}
	})
}
