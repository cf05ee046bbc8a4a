package mapfeed

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// received reads n messages of a stream.
func received(t *testing.T, stream *connect.ServerStreamForClient[pb.WatchResponse], n int) []string {
	t.Helper()
	var got []string
	for range n {
		if !stream.Receive() {
			t.Fatalf("stream ended after %v: %v", got, stream.Err())
		}
		got = append(got, describe(stream.Msg()))
	}
	return got
}

func TestWatch(t *testing.T) {
	for name, opts := range map[string][]connect.ClientOption{
		"connect": nil, "grpc": {connect.WithGRPC()}, "json": {connect.WithProtoJSON()},
	} {
		t.Run(name, func(t *testing.T) {
			base := version(1, 1)
			h := NewHub(HubConfig{Cluster: "test"})
			h.Set(testMap(t, base))
			address, _ := serve(t, h)
			client := clientOf(t, address, opts...)
			for _, c := range []struct {
				resume shard.Version
				want   []string
			}{
				{shard.Version{}, []string{"keep-alive " + base.String(), "snapshot " + base.String()}},
				{base, []string{"keep-alive " + base.String()}},
				{version(9, 9), []string{"keep-alive " + base.String(), "snapshot " + base.String()}},
			} {
				stream, err := client.Watch(t.Context(), &pb.WatchRequest{App: "kv", Cluster: "test", Resume: wire.VersionToProto(c.resume)})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, received(t, stream, len(c.want))); diff != "" {
					t.Errorf("resumed at %s (-want +got):\n%s", c.resume, diff)
				}
				_ = stream.Close()
			}
			stream, err := client.Watch(t.Context(), &pb.WatchRequest{App: "kv", Resume: wire.VersionToProto(base)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stream.Close() }()
			received(t, stream, 1)
			d := move(base, 4, "b.kv")
			mustApply(t, h, d)
			if diff := cmp.Diff([]string{"delta " + d.Version.String()}, received(t, stream, 1)); diff != "" {
				t.Error(diff)
			}
			answer, err := client.GetShardMap(t.Context(), &pb.GetShardMapRequest{App: "kv"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := wire.SnapshotFromProto(answer.Snapshot)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := h.Map(testApp)
			sameMap(t, got, want)
		})
	}
}

// A watcher whose app is removed is told so, and so is one that asks for an app that nobody knows.
func TestWatchRefusals(t *testing.T) {
	h := NewHub(HubConfig{Cluster: "test", Watchers: 2})
	h.Set(testMap(t, version(1, 1)))
	address, _ := serve(t, h)
	client := clientOf(t, address)
	watch := func(app, cluster string) (*connect.ServerStreamForClient[pb.WatchResponse], error) {
		stream, err := client.Watch(t.Context(), &pb.WatchRequest{App: app, Cluster: cluster})
		if err != nil {
			t.Fatal(err)
		}
		if !stream.Receive() {
			return nil, stream.Err()
		}
		return stream, nil
	}
	_, err := watch("kv", "other")
	if detail, ok := wire.DetailOf(err); !ok || detail.Reason != pb.ErrorReason_ERROR_REASON_WRONG_CLUSTER || connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("wrong cluster: %v, want failed_precondition with WRONG_CLUSTER", err)
	}
	_, err = watch("nobody", "test")
	if detail, ok := wire.DetailOf(err); !ok || detail.Subject != "app" || connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("unknown app: %v, want not_found about app", err)
	}
	if _, err = client.GetShardMap(t.Context(), &pb.GetShardMapRequest{App: "nobody"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("map of an unknown app: %v, want not_found", err)
	}
	first, err := watch("kv", "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = watch("kv", ""); err != nil {
		t.Fatal(err)
	}
	if _, err = watch("kv", ""); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("watcher beyond the limit: %v, want resource_exhausted", err)
	}
	received(t, first, 2)
	h.Remove(testApp)
	for first.Receive() {
		if got := describe(first.Msg()); !strings.HasPrefix(got, "keep-alive") {
			t.Errorf("%s after the app was removed", got)
		}
	}
	if connect.CodeOf(first.Err()) != connect.CodeNotFound {
		t.Errorf("stream of a removed app ended with %v, want not_found", first.Err())
	}
}

// An app that the hub's owner begins to follow is waited for, but not for ever.
func TestWatchBeginsToFollow(t *testing.T) {
	t.Parallel() // it really waits
	asked := make(chan shard.App, 10)
	h := NewHub(HubConfig{OnWatch: func(app shard.App) bool {
		asked <- app
		return app == testApp
	}})
	address, _ := serve(t, h)
	client := clientOf(t, address)
	go func() {
		<-asked
		h.Set(testMap(t, version(1, 1)))
	}()
	if _, err := client.GetShardMap(t.Context(), &pb.GetShardMapRequest{App: "kv"}); err != nil {
		t.Errorf("app that arrives soon: %v", err)
	}
	if _, err := client.GetShardMap(t.Context(), &pb.GetShardMapRequest{App: "other"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("app that nobody follows: %v, want not_found", err)
	}
	if _, err := client.GetShardMap(t.Context(), &pb.GetShardMapRequest{App: "kw"}); err == nil || !strings.Contains(err.Error(), "did you mean kv?") {
		t.Errorf("app with a typing error: %v", err)
	}
	h.Remove(testApp)
	began := time.Now()
	if _, err := client.GetShardMap(t.Context(), &pb.GetShardMapRequest{App: "kv"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("app that does not arrive: %v, want not_found", err)
	}
	if waited := time.Since(began); waited < firstMapWait {
		t.Errorf("waited %s for an app that is asked for, want %s", waited, firstMapWait)
	}
}

// A watcher that does not read makes nobody wait; once it reads again and has fallen out of the history, it gets a whole map.
func TestSlowWatcher(t *testing.T) {
	h := NewHub(HubConfig{})
	h.Set(testMap(t, version(1, 1)))
	address, _ := serve(t, h)
	stream, err := clientOf(t, address, connect.WithAcceptCompression("gzip", nil, nil)).Watch(t.Context(), &pb.WatchRequest{App: "kv"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	if got := received(t, stream, 2); got[1] != "snapshot 0.1.1" {
		t.Fatal(got)
	}
	bulky := server("b")
	bulky.Version = strings.Repeat("x", 512<<10)
	v := version(1, 1)
	for range maxFrames + 100 { // 300 MB, more than the connection's buffers hold
		d := move(v, 5, "b.kv")
		d.Servers = []shard.Server{bulky}
		mustApply(t, h, d)
		v = d.Version
	}
	m := testMap(t, version(1, 1))
	snapshots := 0
	for m.Version != v {
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		switch r := stream.Msg().Message.(type) {
		case *pb.WatchResponse_Snapshot:
			snapshots++
			if m, err = wire.SnapshotFromProto(r.Snapshot); err != nil {
				t.Fatal(err)
			}
		case *pb.WatchResponse_Delta:
			d, err := wire.DeltaFromProto(r.Delta)
			if err != nil {
				t.Fatal(err)
			}
			if m, err = m.Apply(d); err != nil {
				t.Fatalf("a change is missing: %v", err)
			}
		}
	}
	if snapshots != 1 {
		t.Errorf("%d whole maps for a watcher that fell behind, want 1", snapshots)
	}
	want, _ := h.Map(testApp)
	sameMap(t, m, want)
}

// Each hub says how old its map may be: never old where it is made, for ever where it came from the disk, else since it was heard of.
func TestWatchSaysHowOldTheMapMayBe(t *testing.T) {
	for name, c := range map[string]struct {
		cfg         HubConfig
		heard       time.Duration // ago; 0: never
		least, most time.Duration
	}{
		"made here": {HubConfig{}, time.Hour, 0, patience},
		"made by a leader that cannot prove its lock": {HubConfig{Vouched: func() (time.Time, bool) { return time.Now().Add(-time.Hour), true }}, 0, time.Hour, time.Hour + patience},
		"from the disk": {HubConfig{Vouched: elsewhere}, 0, neverHeard, neverHeard},
		"followed":      {HubConfig{Vouched: elsewhere}, time.Hour, time.Hour, time.Hour + patience},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHub(c.cfg)
			h.Set(testMap(t, version(1, 1)))
			if c.heard > 0 {
				h.Heard(testApp, time.Now().Add(-c.heard))
			}
			address, _ := serve(t, h)
			stream, err := clientOf(t, address).Watch(t.Context(), &pb.WatchRequest{App: "kv"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stream.Close() }()
			if received(t, stream, 1); stream.Msg().GetKeepAlive() == nil {
				t.Fatalf("%s first, want a keep-alive", describe(stream.Msg()))
			}
			if behind := time.Duration(stream.Msg().GetKeepAlive().BehindMs) * time.Millisecond; behind < c.least || behind > c.most {
				t.Errorf("behind by %s, want %s to %s", behind, c.least, c.most)
			}
		})
	}
}
