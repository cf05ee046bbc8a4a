package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// pair is two servers, the shard granted to the first.
func pair(t *testing.T, ctx context.Context) (cluster *sdktest.Cluster, a, b *sdktest.Server, source, target *app) {
	t.Helper()
	cluster = sdktest.NewCluster(t, "kv")
	source, target = newApp(), newApp()
	a, b = cluster.Start("a", source, mountApp(source)), cluster.Start("b", target, mountApp(target))
	must(t, cluster.Grant(ctx, testShard, a))
	return cluster, a, b, source, target
}

var move = sdktest.Order{Term: 2, Move: 2}

// A hand-over that fails leaves requests waiting; the next attempt sends again, with the state that LastState gave the first time, and the
// requests that waited are answered by the target.
func TestHandOverIsRepeated(t *testing.T) {
	ctx := testContext(t)
	_, a, b, source, target := pair(t, ctx)
	count(t, ctx, a, "1")
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	target.fail("Activate", errors.New("storage is away"))
	if _, err := a.PrepareDropShard(ctx, testShard, move, b, 0); err == nil || !strings.Contains(err.Error(), "storage is away") {
		t.Fatalf("PrepareDropShard with a failing target: %v", err)
	}
	waited := make(chan answer, 1)
	go func() {
		got, err := send(ctx, a, "/count", testShard, "key")
		if err != nil {
			t.Error(err)
		}
		waited <- got
	}()
	waitHeld(t, a, 1)
	target.fail("Activate", nil)
	busy, err := a.PrepareDropShard(ctx, testShard, move, b, 0)
	if err != nil || busy {
		t.Fatalf("PrepareDropShard again: busy %v, %v", busy, err)
	}
	if got := <-waited; got.body != "2" {
		t.Errorf("the request that waited: %+v, want 2", got)
	}
	_, err = a.PrepareDropShard(ctx, testShard, move, b, 0)
	must(t, err) // done before: answered again
	wantSource := []string{"Activate 07@1", "AddShard 07@1", "LastState 07@1"}
	if diff := cmp.Diff(wantSource, source.seen()); diff != "" {
		t.Errorf("source's callbacks (-want +got):\n%s", diff)
	}
	wantTarget := []string{"PrepareAddShard 07@2", "Activate 07@2", "Activate 07@2"}
	if diff := cmp.Diff(wantTarget, target.seen()); diff != "" {
		t.Errorf("target's callbacks (-want +got):\n%s", diff)
	}
}

// waitHeld returns once the server holds n requests.
func waitHeld(t *testing.T, s *sdktest.Server, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		count, _ := s.Host.Held()
		if count == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %d requests, want %d", s.Name, count, n)
		}
	}
}

// A move that is aborted after the hand-over (PROTOCOL R10): the target is stopped, and requests that waited at the source meanwhile run
// there, at a new term.
func TestAbortAfterHandOver(t *testing.T) {
	ctx := testContext(t)
	_, a, b, source, target := pair(t, ctx)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	_, err := a.PrepareDropShard(ctx, testShard, move, b, 0)
	must(t, err)
	begun, err := a.CancelMove(ctx, testShard, move)
	if err != nil || !begun {
		t.Fatalf("CancelMove: begun %v, %v, want begun", begun, err)
	}
	must(t, b.DropShard(ctx, testShard, sdktest.Order{Term: 2, Move: 3}))
	waited := make(chan answer, 1)
	go func() {
		got, err := send(ctx, a, "/count", testShard, "key")
		if err != nil {
			t.Error(err)
		}
		waited <- got
	}()
	waitHeld(t, a, 1) // forwarded, refused by the target, held (docs/architecture.md §6)
	must(t, a.AddShard(ctx, testShard, sdktest.Order{Term: 3, Move: 4}))
	if got := <-waited; got.body != "1" {
		t.Errorf("the request that waited: %+v, want 1", got)
	}
	wantSource := []string{"Activate 07@1", "AddShard 07@1", "LastState 07@1", "Activate 07@3", "AddShard 07@3"}
	if diff := cmp.Diff(wantSource, source.seen()); diff != "" {
		t.Errorf("source's callbacks (-want +got):\n%s", diff)
	}
	wantTarget := []string{"PrepareAddShard 07@2", "Activate 07@2", "DropShard 07@2"}
	if diff := cmp.Diff(wantTarget, target.seen()); diff != "" {
		t.Errorf("target's callbacks (-want +got):\n%s", diff)
	}
}

// The cheap abort: a source that has not begun refuses the move for ever and serves on at its term.
func TestAbortBeforeHandOver(t *testing.T) {
	ctx := testContext(t)
	_, a, b, _, target := pair(t, ctx)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	for range 2 {
		begun, err := a.CancelMove(ctx, testShard, move)
		if err != nil || begun {
			t.Fatalf("CancelMove: begun %v, %v, want not begun", begun, err)
		}
	}
	if _, err := a.PrepareDropShard(ctx, testShard, move, b, 0); !sdktest.IsStale(err) {
		t.Errorf("PrepareDropShard after CancelMove: %v, want stale", err)
	}
	must(t, b.DropShard(ctx, testShard, sdktest.Order{Term: 2, Move: 3}))
	count(t, ctx, a, "1")
	if diff := cmp.Diff([]string{"PrepareAddShard 07@2", "DropShard 07@2"}, target.seen()); diff != "" {
		t.Errorf("target's callbacks (-want +got):\n%s", diff)
	}
}

// A primary that is granted its shard at a new term, while it still serves, is activated anew; requests wait meanwhile.
func TestGrantedAgainWhileServing(t *testing.T) {
	ctx := testContext(t)
	_, a, _, source, _ := pair(t, ctx)
	opCtx, token, err := a.Host.Begin(ctx, testShard)
	must(t, err)
	go func() {
		<-opCtx.Done() // an operation in progress is given a moment, then told to stop
		_ = token.End()
	}()
	must(t, a.AddShard(ctx, testShard, sdktest.Order{Term: 4, Move: 5}))
	if opCtx.Err() == nil {
		t.Error("activated at term 4 while an operation of term 1 ran")
	}
	if err := a.AddShard(ctx, testShard, sdktest.Order{Term: 1, Move: 1}); !sdktest.IsStale(err) {
		t.Errorf("AddShard at the old term: %v, want stale", err)
	}
	count(t, ctx, a, "1")
	_, token, err = a.Host.Begin(ctx, testShard)
	must(t, err)
	if got := token.Shard().Term; got != 4 {
		t.Errorf("operations run at term %d, want 4", got)
	}
	must(t, token.End())
	want := []string{"Activate 07@1", "AddShard 07@1", "Activate 07@4", "AddShard 07@4"}
	if diff := cmp.Diff(want, source.seen()); diff != "" {
		t.Errorf("callbacks (-want +got):\n%s", diff)
	}
}

// A last state of several parts arrives whole.
func TestLargeState(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	state := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
	source, target := &blob{state: state}, &blob{}
	a, b := cluster.Start("a", source, nil), cluster.Start("b", target, nil)
	must(t, cluster.Grant(ctx, testShard, a))
	must(t, cluster.Move(ctx, testShard, b))
	if !bytes.Equal(target.state, state) {
		t.Errorf("the target got %d bytes, want the %d of the source", len(target.state), len(state))
	}
	source.state = bytes.Repeat([]byte("x"), 64<<20+1)
	must(t, cluster.Move(ctx, testShard, a))
	source.state = bytes.Repeat([]byte("x"), 64<<20+1)
	if err := cluster.Move(ctx, testShard, b); err == nil || !strings.Contains(err.Error(), "67108864") {
		t.Errorf("moving a state over 64 MiB: %v, want an error naming the limit", err)
	}
}

// blob is an application whose state is one value.
type blob struct{ state []byte }

func (*blob) AddShard(context.Context, sdk.Shard) error  { return nil }
func (*blob) DropShard(context.Context, sdk.Shard) error { return nil }
func (b *blob) Activate(_ context.Context, _ sdk.Shard, state []byte) error {
	if state != nil {
		b.state = state
	}
	return nil
}
func (b *blob) LastState(context.Context, sdk.Shard) ([]byte, error) { return b.state, nil }

// What a forward that breaks means: before anything was sent the request is held and tried again, afterwards its outcome is unknown.
func TestForwardThatBreaks(t *testing.T) {
	ctx := testContext(t)
	_, a, b, _, _ := pair(t, ctx)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	_, err := a.PrepareDropShard(ctx, testShard, move, b, 0)
	must(t, err)
	must(t, b.Stop())

	got, err := send(ctx, a, "/count", testShard, "key", "Connect-Timeout-Ms", "50")
	must(t, err)
	for got.outcome == sdk.OutcomeUnknown && ctx.Err() == nil { // it went out on a pooled connection that was just being closed
		got, err = send(ctx, a, "/count", testShard, "key", "Connect-Timeout-Ms", "50")
		must(t, err)
	}
	if got.outcome != sdk.OutcomeNotExecuted {
		t.Errorf("the target is gone: %+v, want not-executed", got)
	}

	listener, err := net.Listen("tcp", b.Address)
	must(t, err)
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.ReadFull(conn, make([]byte, 10)) // it reads a little and dies
		_ = conn.Close()
	}()
	got, err = send(ctx, a, "/count", testShard, "key")
	must(t, err)
	if got.status != http.StatusServiceUnavailable || got.outcome != sdk.OutcomeUnknown {
		t.Errorf("the target died in the middle: %+v, want 503 unknown", got)
	}
}

// Repeated and stale commands to a server, over the wire.
func TestCommandsAreIdempotent(t *testing.T) {
	ctx := testContext(t)
	_, a, b, source, target := pair(t, ctx)
	for range 2 {
		must(t, b.PrepareAddShard(ctx, testShard, move, a))
	}
	for range 2 {
		_, err := a.PrepareDropShard(ctx, testShard, move, b, 0)
		must(t, err)
	}
	for range 2 {
		must(t, b.AddShard(ctx, testShard, move))
		must(t, b.Activate(ctx, testShard, move, nil))
	}
	for range 2 {
		must(t, a.DropShard(ctx, testShard, move))
	}
	if err := a.AddShard(ctx, testShard, sdktest.Order{Term: 1, Move: 1}); !sdktest.IsStale(err) {
		t.Errorf("AddShard below the remembered order: %v, want stale", err)
	}
	if err := b.PrepareAddShard(ctx, testShard, move, a); !sdktest.IsStale(err) {
		t.Errorf("PrepareAddShard of a move that is over: %v, want stale", err)
	}
	want := []string{"Activate 07@1", "AddShard 07@1", "LastState 07@1", "DropShard 07@1"}
	if diff := cmp.Diff(want, source.seen()); diff != "" {
		t.Errorf("source's callbacks (-want +got):\n%s", diff)
	}
	want = []string{"PrepareAddShard 07@2", "Activate 07@2", "AddShard 07@2"}
	if diff := cmp.Diff(want, target.seen()); diff != "" {
		t.Errorf("target's callbacks (-want +got):\n%s", diff)
	}
}
