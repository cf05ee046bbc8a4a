package mapfeed

import (
	"slices"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// latencies is the newest matrix that a hub was given. It has no version of its own: it is a hint, the last one that arrived counts, and
// along a chain of hubs that lag behind each other it only becomes newer. The Hub's lock guards it.
type latencies struct {
	number  uint64 // of the matrix, from 1
	matrix  latency.Matrix
	message *message
	changed chan struct{} // closed when there is another
}

// SetLatencies makes m what watchers of any app are told of how far regions are from each other. One that says nothing new is ignored.
func (h *Hub) SetLatencies(m latency.Matrix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Equal(m.Pairs(), h.latencies.matrix.Pairs()) {
		return
	}
	close(h.latencies.changed)
	h.latencies = latencies{number: h.latencies.number + 1, matrix: m, changed: make(chan struct{}), message: newMessage(shard.Version{}, func() *pb.WatchResponse {
		return &pb.WatchResponse{Message: &pb.WatchResponse_Latencies{Latencies: &pb.RegionLatencies{Pairs: wire.LatenciesToProto(m)}}}
	})}
}

// Latencies is the newest matrix; the zero one if there is none.
func (h *Hub) Latencies() latency.Matrix {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latencies.matrix
}

func (h *Hub) newestLatencies() latencies {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latencies
}

// tell sends the newest matrix, if the caller was not told of it yet.
func (w *watcher) tell(now latencies) (told bool, err error) {
	if now.number == w.told {
		return false, nil
	}
	w.told = now.number
	return true, w.stream.Send(w.encoding(now.message))
}

// encoding is a message in the form that the caller's codec needs.
func (w *watcher) encoding(m *message) *pb.WatchResponse {
	if w.plain {
		return m.plain()
	}
	return m.packed()
}
