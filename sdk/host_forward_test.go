package sdk_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// Moves under load: clients keep asking whoever owned the shard when they last looked, and a refusal `not executed` sends them to look
// again. Nobody may see another failure, and every counter must have counted every request exactly once.
func TestMovesUnderLoadLoseNothing(t *testing.T) {
	const clients, moves, least = 8, 12, 20
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	apps, seen := []*app{newApp(), newApp()}, newWitness()
	servers := []*sdktest.Server{
		cluster.Start("a", apps[0], mountApp(apps[0]), sdk.WithObserver(seen)),
		cluster.Start("b", apps[1], mountApp(apps[1]), sdk.WithObserver(seen)),
	}
	must(t, cluster.Grant(ctx, testShard, servers[0]))

	var done atomic.Bool
	var refusals atomic.Int64
	want := make([]int, clients)
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			key := "key" + strconv.Itoa(n)
			server := servers[0]
			for want[n] < least || !done.Load() {
				got, err := send(ctx, server, "/count", testShard, key)
				if err != nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
				if got.outcome == sdk.OutcomeNotExecuted {
					refusals.Add(1)
					server = cluster.Owner(testShard)
					continue
				}
				want[n]++
				if got.status != http.StatusOK || got.body != strconv.Itoa(want[n]) {
					t.Errorf("client %d, request %d: %+v", n, want[n], got)
					return
				}
			}
		})
	}
	for n := range moves {
		if err := cluster.Move(ctx, testShard, servers[(n+1)%2]); err != nil {
			t.Error(err)
			break
		}
	}
	done.Store(true)
	wg.Wait()
	wanted := map[string]int{}
	for n := range clients {
		wanted["key"+strconv.Itoa(n)] = want[n]
	}
	if diff := cmp.Diff(wanted, apps[0].counters(testShard)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	seen.check(t, moves+1)
	t.Logf("%d requests, %d refusals after drops", seen.count, refusals.Load())
	for _, s := range servers {
		if count, bytes := s.Host.Held(); count != 0 || bytes != 0 {
			t.Errorf("%s still accounts for %d requests, %d bytes", s.Name, count, bytes)
		}
	}
}

// Between the hand-over and the new owner's AddShard every request to the old owner is answered by the new one.
func TestForwardedBetweenHandOverAndAdd(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	source, target := newApp(), newApp()
	a, b := cluster.Start("a", source, mountApp(source)), cluster.Start("b", target, mountApp(target))
	must(t, cluster.Grant(ctx, testShard, a))
	count(t, ctx, a, "1")

	o := sdktest.Order{Term: 2, Move: 2}
	must(t, b.PrepareAddShard(ctx, testShard, o, a))
	refusedNotExecuted(t, ctx, b, "prepared, and a router's request")
	busy, err := a.PrepareDropShard(ctx, testShard, o, b, 0)
	must(t, err)
	if busy {
		t.Fatal("busy without an operation")
	}
	count(t, ctx, a, "2")
	refusedNotExecuted(t, ctx, b, "activated, and a router's request")
	got, err := send(ctx, b, "/count", testShard, "key", sdk.HeaderForward, "2/3")
	must(t, err)
	if got.outcome != sdk.OutcomeNotExecuted {
		t.Errorf("forwarded under another move: %+v", got)
	}
	must(t, b.AddShard(ctx, testShard, o))
	count(t, ctx, a, "3")
	count(t, ctx, b, "4")
	must(t, a.DropShard(ctx, testShard, o))
	got, err = send(ctx, a, "/count", testShard, "key")
	must(t, err)
	if got.outcome != sdk.OutcomeNotExecuted || got.hint != b.Address {
		t.Errorf("after DropShard: %+v, want not-executed with hint %s", got, b.Address)
	}
	wantSource := []string{"Activate 07@1", "AddShard 07@1", "LastState 07@1", "DropShard 07@1"}
	wantTarget := []string{"PrepareAddShard 07@2", "Activate 07@2", "AddShard 07@2"}
	if diff := cmp.Diff(wantSource, source.seen()); diff != "" {
		t.Errorf("source's callbacks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantTarget, target.seen()); diff != "" {
		t.Errorf("target's callbacks (-want +got):\n%s", diff)
	}
}

// leaving is an application that is looked at while it drops a shard.
type leaving struct {
	*app
	dropping func()
}

func (l leaving) DropShard(ctx context.Context, s sdk.Shard) error {
	l.dropping()
	return l.app.DropShard(ctx, s)
}

// The target of an aborted move takes nothing any more once it drops the shard, although its source may still forward (PROTOCOL R10).
func TestAbortedTargetTakesNothing(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	source, target := newApp(), newApp()
	a := cluster.Start("a", source, mountApp(source))
	var b *sdktest.Server
	var whileDropping string
	b = cluster.Start("b", leaving{target, func() {
		if got, err := send(ctx, b, "/count", testShard, "key", sdk.HeaderForward, "2/2"); err == nil {
			whileDropping = got.outcome
		}
	}}, mountApp(target))
	must(t, cluster.Grant(ctx, testShard, a))
	o := sdktest.Order{Term: 2, Move: 2}
	must(t, b.PrepareAddShard(ctx, testShard, o, a))
	_, err := a.PrepareDropShard(ctx, testShard, o, b, 0)
	must(t, err)
	count(t, ctx, a, "1") // forwarded and taken
	must(t, b.DropShard(ctx, testShard, sdktest.Order{Term: 2, Move: 3}))
	if whileDropping != sdk.OutcomeNotExecuted {
		t.Errorf("forwarded while the target dropped the shard: %q, want it refused", whileDropping)
	}
}

func count(t *testing.T, ctx context.Context, s *sdktest.Server, want string) {
	t.Helper()
	got, err := send(ctx, s, "/count", testShard, "key")
	must(t, err)
	if got.status != http.StatusOK || got.body != want {
		t.Fatalf("%s answered %+v, want %s", s.Name, got, want)
	}
}

func refusedNotExecuted(t *testing.T, ctx context.Context, s *sdktest.Server, when string) {
	t.Helper()
	got, err := send(ctx, s, "/count", testShard, "key")
	must(t, err)
	if got.status != http.StatusServiceUnavailable || got.outcome != sdk.OutcomeNotExecuted {
		t.Errorf("%s: %s answered %+v, want 503 not-executed", when, s.Name, got)
	}
}
