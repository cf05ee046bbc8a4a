package mapfeed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/suggest"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

var _ shardmanagerv1connect.ShardMapServiceHandler = (*Hub)(nil)

// Watch implements ShardMapServiceHandler: a keep-alive, which says how old this hub's map may be, then a whole map or the changes since the
// version that the caller has, then every change, how far regions are from each other as often as that changes, and a keep-alive whenever a
// second passed without any of them.
func (h *Hub) Watch(ctx context.Context, req *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
	if err := h.admit(req.GetCluster()); err != nil {
		return err
	}
	defer h.leave()
	f, err := h.find(ctx, shard.App(req.GetApp()))
	if err != nil {
		return err
	}
	w := watcher{hub: h, feed: f, stream: stream, at: wire.VersionFromProto(req.GetResume())}
	// Only the binary codecs copy what is encoded already.
	w.plain = strings.Contains(stream.Conn().RequestHeader().Get("Content-Type"), "json")
	return w.run(ctx, req.GetApp())
}

// GetShardMap implements ShardMapServiceHandler.
func (h *Hub) GetShardMap(ctx context.Context, req *pb.GetShardMapRequest) (*pb.GetShardMapResponse, error) {
	f, err := h.find(ctx, shard.App(req.GetApp()))
	if err != nil {
		return nil, err
	}
	now := h.read(f, shard.Version{})
	if now.current == nil {
		return nil, h.unknown(req.GetApp())
	}
	return &pb.GetShardMapResponse{Snapshot: wire.SnapshotToProto(now.current)}, nil
}

func (h *Hub) admit(cluster string) error {
	if cluster != "" && h.cfg.Cluster != "" && cluster != h.cfg.Cluster {
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_WRONG_CLUSTER, "cluster",
			fmt.Sprintf("this is %q, not %q: correct the caller's cluster or its addresses", h.cfg.Cluster, cluster), "")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers >= h.cfg.Watchers {
		return connect.NewError(connect.CodeResourceExhausted,
			fmt.Errorf("watch: all %d streams are taken: ask another allocator or agent", h.cfg.Watchers))
	}
	h.watchers++
	return nil
}

func (h *Hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers--
}

// find returns the feed of an app, which it waits for a moment if the hub's owner begins to follow it.
func (h *Hub) find(ctx context.Context, app shard.App) (*feed, error) {
	if _, ok := h.Map(app); !ok && (h.cfg.OnWatch == nil || !h.cfg.OnWatch(app)) {
		return nil, h.unknown(string(app))
	}
	waiting, cancel := context.WithTimeout(ctx, firstMapWait)
	defer cancel()
	f, err := h.await(waiting, app)
	if err == nil {
		return f, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, h.unknown(string(app))
}

func (h *Hub) unknown(app string) error {
	return wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "app",
		fmt.Sprintf("an app of this cluster, not %q: nobody here has its map%s", app, suggest.Or(shard.App(app), slices.Values(h.Apps()))), "")
}

// maxBatch is how many changes a watcher is sent between two looks at the history: one that stalls holds on to no more than these.
const maxBatch = 16

// watcher is one stream.
type watcher struct {
	hub    *Hub
	feed   *feed
	stream *connect.ServerStream[pb.WatchResponse]
	plain  bool          // send messages as they are, not as encoded once
	at     shard.Version // what the caller has
	told   uint64        // number of the latencies that it has; 0: none
}

func (w *watcher) run(ctx context.Context, app string) error {
	if err := w.keepAlive(); err != nil {
		return err
	}
	silence := time.NewTimer(KeepAliveInterval)
	defer silence.Stop()
	for {
		messages, now := w.pending()
		if now.current == nil {
			return w.hub.unknown(app)
		}
		for _, m := range messages {
			if err := w.send(m); err != nil {
				return err
			}
		}
		if len(messages) > 0 {
			silence.Reset(KeepAliveInterval)
			continue // look again: more may have happened while those were sent
		}
		latencies := w.hub.newestLatencies()
		if told, err := w.tell(latencies); err != nil {
			return err
		} else if told {
			silence.Reset(KeepAliveInterval)
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-now.changed:
		case <-latencies.changed:
		case <-silence.C:
			if err := w.keepAlive(); err != nil {
				return err
			}
			silence.Reset(KeepAliveInterval)
		}
	}
}

// keepAlive says how old the map may be, although nothing changes.
func (w *watcher) keepAlive() error {
	m := &pb.KeepAlive{BehindMs: uint64(w.hub.behind(w.feed).Milliseconds())}
	if now := w.hub.read(w.feed, w.at); now.current != nil {
		m.Version = wire.VersionToProto(now.current.Version)
	}
	return w.stream.Send(&pb.WatchResponse{Message: &pb.WatchResponse_KeepAlive{KeepAlive: m}})
}

// pending lists what the caller has not been sent. Nobody queues it: a caller that is slow falls out of the history and gets a whole map.
func (w *watcher) pending() ([]*message, reading) {
	now := w.hub.read(w.feed, w.at)
	if now.current == nil {
		return nil, now
	}
	if !now.known {
		return []*message{w.hub.snapshotOf(w.feed)}, now
	}
	frames := now.frames[:min(len(now.frames), maxBatch)]
	messages := make([]*message, len(frames))
	for i, fr := range frames {
		messages[i] = fr.message
	}
	return messages, now
}

// snapshotOf returns a recent whole map of a feed, nil if it has just been removed.
func (h *Hub) snapshotOf(f *feed) *message {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.current == nil {
		return nil
	}
	return f.snapshot()
}

func (w *watcher) send(m *message) error {
	if m == nil {
		return nil // removed meanwhile: the next look finds it
	}
	if err := w.stream.Send(w.encoding(m)); err != nil {
		return err
	}
	w.at = m.version
	return nil
}
