package kvcmd_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
	"github.com/shardmanager/shardmanager/sdk"
)

// toShard is a client of one server that names a shard, as the Router would.
func toShard(address, shard string) kvv1connect.KvServiceClient {
	naming := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			r.Header().Set(sdk.HeaderShard, shard)
			return next(ctx, r)
		}
	})
	return kvv1connect.NewKvServiceClient(http.DefaultClient, "http://"+address, connect.WithInterceptors(naming))
}

func TestService(t *testing.T) {
	f := startFleet(t, 2, 2, longLease)
	ctx := t.Context()
	kv := toShard(f.servers[0].server.DataAddress, "0")
	increment := func(client, number uint64) (int64, error) {
		r, err := kv.Increment(ctx, &kvv1.IncrementRequest{Key: "k", RequestId: &kvv1.RequestId{Client: client, Number: number}})
		return r.GetValue(), err
	}
	for _, c := range []struct {
		name           string
		client, number uint64
		want           int64
		code           connect.Code // 0: none
	}{
		{"first", 1, 1, 1, 0},
		{"repeated", 1, 1, 1, 0},
		{"another client", 2, 1, 2, 0},
		{"second", 1, 2, 3, 0},
		{"repeated after another client's", 2, 1, 2, 0},
		{"superseded", 1, 1, 0, connect.CodeAborted},
		{"third", 1, 3, 4, 0},
		{"without a number", 1, 0, 0, connect.CodeInvalidArgument},
	} {
		value, err := increment(c.client, c.number)
		if value != c.want || (err == nil) != (c.code == 0) || (err != nil && connect.CodeOf(err) != c.code) {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, value, err, c.want, c.code)
		}
	}
	if r, err := kv.Get(ctx, &kvv1.GetRequest{Key: "k"}); err != nil || r.GetValue() != 4 {
		t.Errorf("get: %d, %v", r.GetValue(), err)
	}
	if r, err := kv.Get(ctx, &kvv1.GetRequest{Key: "never"}); err != nil || r.GetValue() != 0 {
		t.Errorf("get of a key never written: %d, %v", r.GetValue(), err)
	}
	// A write that this server does not remember: the store refuses the next one, and says what it has.
	store := kvstore.NewClient(f.storeAddress)
	if _, _, err := store.Write(ctx, "0", 1, "k", 10, 4, kvstore.RequestID{Client: 9, Number: 1}); err != nil {
		t.Fatal(err)
	}
	if value, err := increment(1, 4); err != nil || value != 11 {
		t.Errorf("from memory that is out of date: %d, %v", value, err)
	}
	for _, key := range []string{"", strings.Repeat("k", 257)} {
		if _, err := kv.Get(ctx, &kvv1.GetRequest{Key: key}); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
	_, err := toShard(f.servers[1].server.DataAddress, "0").Get(ctx, &kvv1.GetRequest{Key: "k"})
	if outcome, _ := sdk.OutcomeOf(err); outcome != sdk.NotExecuted {
		t.Errorf("at a server that does not own the shard: %v", err)
	}
}

// TestStateGoesAlong: after a move the new owner knows the values, and writes on from them.
func TestStateGoesAlong(t *testing.T) {
	f := startFleet(t, 1, 2, longLease)
	ctx := t.Context()
	id := func(n uint64) *kvv1.RequestId { return &kvv1.RequestId{Client: 7, Number: n} }
	from, to := toShard(f.servers[0].server.DataAddress, "0"), toShard(f.servers[1].server.DataAddress, "0")
	if _, err := from.Increment(ctx, &kvv1.IncrementRequest{Key: "k", RequestId: id(1)}); err != nil {
		t.Fatal(err)
	}
	f.move(0, f.servers[1])
	for n, kv := range []kvv1connect.KvServiceClient{to, from} { // the old owner still forwards
		r, err := kv.Increment(ctx, &kvv1.IncrementRequest{Key: "k", RequestId: id(uint64(n + 2))})
		if err != nil || r.GetValue() != int64(n+2) {
			t.Errorf("increment %d: %d, %v", n+2, r.GetValue(), err)
		}
	}
	if r, err := from.Increment(ctx, &kvv1.IncrementRequest{Key: "k", RequestId: id(3)}); err != nil || r.GetValue() != 3 {
		t.Errorf("repeated: %d, %v", r.GetValue(), err)
	}
}

// TestFencedByTerm: a server whose lease still runs, but whose shard's term was raised by another, changes nothing any more.
func TestFencedByTerm(t *testing.T) {
	f := startFleet(t, 1, 1, longLease)
	ctx := t.Context()
	kv := toShard(f.servers[0].server.DataAddress, "0")
	if _, err := kv.Increment(ctx, &kvv1.IncrementRequest{Key: "k", RequestId: &kvv1.RequestId{Client: 1, Number: 1}}); err != nil {
		t.Fatal(err)
	}
	store := kvstore.NewClient(f.storeAddress)
	if err := store.RaiseTerm(ctx, "0", 2); err != nil {
		t.Fatal(err)
	}
	_, err := kv.Increment(ctx, &kvv1.IncrementRequest{Key: "k", RequestId: &kvv1.RequestId{Client: 1, Number: 2}})
	if connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(err.Error(), "stale term") {
		t.Errorf("increment: %v", err)
	}
	if _, err := kv.Get(ctx, &kvv1.GetRequest{Key: "k"}); connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("get: %v", err)
	}
	if e, err := store.Read(ctx, "0", 2, "k"); err != nil || e.Value != 1 {
		t.Errorf("the store has %+v, %v", e, err)
	}
}

func TestBadCommandLines(t *testing.T) {
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"store: expected the address":       {"serve"},
		"log-level":                         {"serve", "--store", "127.0.0.1:1", "--log-level", "loud"},
		"agent, allocators: expected":       {"load"},
		"rate 0: expected 1":                {"load", "--agent", "unix:///a", "--rate", "0"},
		"unknown flag":                      {"store", "--port", "1"},
		"unknown command":                   {"serve", "--store", "127.0.0.1:1", "now"},
		"listen \"nowhere\"":                {"store", "--listen", "nowhere"},
		"address-file":                      {"store", "--address-file", filepath.Join(dir, "none", "f")},
		"not a history":                     {"serve", "--store", "127.0.0.1:1", "--history", "/etc/passwd"},
		"create history: open " + dir + "/": {"serve", "--store", "127.0.0.1:1", "--history", dir + "/"},
	} {
		p := start(t, args...)
		if err := p.cmd.Wait(); err == nil || !strings.Contains(p.stderr.String(), want) || strings.Contains(p.stderr.String(), "panic") {
			t.Errorf("%v: %v, %q; want %q", args, err, p.stderr, want)
		}
	}
}

// TestStopsCleanly: SIGTERM ends every verb at once with success, also a server whose agent does not answer.
func TestStopsCleanly(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"store"},
		{"serve", "--store", "127.0.0.1:1", "--agent", "unix://" + dir + "/none"},
	} {
		file := filepath.Join(dir, args[0])
		p := start(t, append(args, "--listen", "127.0.0.1:0", "--address-file", file)...)
		if address := awaitFile(t, file); !strings.HasPrefix(address, "127.0.0.1:") {
			t.Errorf("address %q", address)
		}
		begun := time.Now()
		if err := p.stop(t, syscall.SIGTERM); err != nil || time.Since(begun) > patience/2 {
			t.Errorf("%s: %v after %v: %s", args[0], err, time.Since(begun), p.stderr)
		}
	}
}
