package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Meter counts what a stream has brought so far.
type Meter struct {
	name            Name
	received, total atomic.Int64
}

// Inbox is what a process receives. The zero value is ready.
type Inbox struct {
	attempts atomic.Uint64

	mu     sync.Mutex
	meters []*Meter
}

// Progress lists the streams under way, by shard.
func (in *Inbox) Progress() []*pb.TransferProgress {
	in.mu.Lock()
	defer in.mu.Unlock()
	list := make([]*pb.TransferProgress, 0, len(in.meters))
	for _, m := range in.meters {
		list = append(list, &pb.TransferProgress{
			Shard: m.name.Shard, Term: uint64(m.name.Order.Term), Move: uint64(m.name.Order.Move),
			ReceivedBytes: m.received.Load(), TotalBytes: m.total.Load(),
		})
	}
	slices.SortFunc(list, func(a, b *pb.TransferProgress) int { return strings.Compare(a.GetShard(), b.GetShard()) })
	return list
}

func (in *Inbox) add(m *Meter) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.meters = append(in.meters, m)
}

func (in *Inbox) remove(m *Meter) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.meters = slices.DeleteFunc(in.meters, func(other *Meter) bool { return other == m })
}

// Pull asks a source for a snapshot under the next attempt, whose number it returns, and has the application receive it. Attempt 0 without an error: the source,
// or its application, gives none. After an error the application has received nothing that counts.
func (in *Inbox) Pull(
	ctx context.Context, transport http.RoundTripper, name Name, limits Limits, receive func(context.Context, io.Reader) error,
) (attempt uint64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	name.Attempt = in.attempts.Add(1)
	meter := &Meter{name: name}
	in.add(meter)
	defer in.remove(meter)
	client := shardmanagerv1connect.NewShardHostServiceClient(&http.Client{Transport: transport}, "http://"+name.Source.DataAddress,
		connect.WithReadMaxBytes(MaxFrame), connect.WithAcceptCompression("gzip", nil, nil))
	var stream *connect.ServerStreamForClient[pb.StreamStateResponse]
	reader := newReader(ctx, cancel, name, limits, meter, func() (*pb.StreamStateResponse, error) {
		if stream == nil { // it opens with the first frame, so that the watch stands over that too
			opened, err := client.StreamState(ctx, name.ToProto())
			if err != nil {
				return nil, err
			}
			stream = opened
		}
		switch {
		case stream.Receive():
			return stream.Msg(), nil
		case stream.Err() != nil:
			return nil, stream.Err()
		}
		return nil, io.EOF
	})
	shut := func() {
		if stream != nil {
			_ = stream.Close()
		}
		stream = nil
	}
	defer shut()
	reader.reopen = func(received uint64) {
		shut()
		name.Received = received
	}
	if err := reader.begin(); connect.CodeOf(err) == connect.CodeUnimplemented {
		return 0, nil
	} else if err != nil {
		return 0, pullError(name, err)
	}
	own := receive(ctx, reader)
	if err := reader.verdict(); err != nil && !(own != nil && errors.Is(err, ErrUnread)) {
		return 0, pullError(name, err) // what the application says of it came of this
	}
	if own != nil {
		return 0, own
	}
	return name.Attempt, nil
}

// pullError types what went wrong, naming the stream; a typed refusal by the source keeps its meaning for people only: it was not the
// receiver's caller who was refused.
func pullError(name Name, err error) error {
	subject := fmt.Sprintf("state of shard %s from %s at %s", name.Shard, name.Source.Server, name.Source.DataAddress)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the time to prepare the shard is over: %w", err)
	}
	return wire.Error(connect.CodeAborted, pb.ErrorReason_ERROR_REASON_STATE_STREAM, subject, err.Error(), "")
}
