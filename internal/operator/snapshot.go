package operator

import (
	"context"
	"io"
	"time"

	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// snapshotTime bounds a copy of the whole cluster.
const snapshotTime = 10 * time.Minute

// Snapshot writes the snapshot file that the first allocator sends which can; begin is called before each attempt, and gives it an empty place to write to.
func (c *Client) Snapshot(ctx context.Context, begin func() (io.Writer, error)) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotTime)
	defer cancel()
	return c.any(func(address string) error {
		to, err := begin()
		if err != nil {
			return err
		}
		endpoint, err := transport.Dial(address)
		if err != nil {
			return c.failure(address, &AddressError{err})
		}
		defer endpoint.Close()
		stream, err := shardmanagerv1connect.NewSnapshotServiceClient(endpoint.Client, endpoint.URL).SaveSnapshot(ctx, &pb.SaveSnapshotRequest{})
		if err != nil {
			return c.failure(address, err)
		}
		defer func() { _ = stream.Close() }() // what was read is all that matters
		for stream.Receive() {
			if _, err := to.Write(stream.Msg().GetChunk()); err != nil {
				return err
			}
		}
		if err := stream.Err(); err != nil {
			return c.failure(address, err)
		}
		return nil
	})
}
