package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const (
	// readTime bounds the read of the whole cluster.
	readTime = 30 * time.Second
	// chunkBytes is the size of a message.
	chunkBytes = 64 << 10
)

// Source is what a copy is made of, and who makes it.
type Source struct {
	Store                          coord.KV
	Cluster, Group, Name, Software string
}

// handler serves SnapshotService.
type handler struct {
	from    Source
	copying chan struct{} // capacity 1: a copy is the whole cluster in memory
}

var _ shardmanagerv1connect.SnapshotServiceHandler = (*handler)(nil)

// Handle adds SnapshotService to what an allocator serves to operators.
func Handle(mux *http.ServeMux, from Source) {
	mux.Handle(shardmanagerv1connect.NewSnapshotServiceHandler(&handler{from: from, copying: make(chan struct{}, 1)}))
}

// SaveSnapshot implements SnapshotServiceHandler.
func (h *handler) SaveSnapshot(ctx context.Context, _ *pb.SaveSnapshotRequest, stream *connect.ServerStream[pb.SaveSnapshotResponse]) error {
	select {
	case h.copying <- struct{}{}:
		defer func() { <-h.copying }()
	default:
		return connect.NewError(connect.CodeResourceExhausted, errors.New("snapshot: another one is being taken here: ask again later"))
	}
	reading, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	entries, err := h.from.Store.List(reading, storage.NewKeys(h.from.Cluster, h.from.Group).Root())
	if err != nil {
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("snapshot: the store cannot be read: %w", err))
	}
	out := bufio.NewWriterSize(sender{stream}, chunkBytes)
	header := &pb.SnapshotHeader{Cluster: h.from.Cluster, Group: h.from.Group, Allocator: h.from.Name, Version: h.from.Software, TimeMs: time.Now().UnixMilli()}
	if err := Write(out, header, entries); err != nil {
		return err
	}
	return out.Flush()
}

// sender sends what is written, a message each time.
type sender struct {
	stream *connect.ServerStream[pb.SaveSnapshotResponse]
}

func (s sender) Write(p []byte) (int, error) {
	if err := s.stream.Send(&pb.SaveSnapshotResponse{Chunk: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}
