package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// MaxLast is the largest last state, or last delta, that a hand-over carries, in bytes; it travels in parts of MaxChunk.
const MaxLast = 64 << 20

// SendLast sends the last state in parts; the last one carries the marker: nothing executes at the source any more. The name's attempt is that of
// the snapshot that it is the delta to, 0 if the state is whole. It returns once the target has activated the shard.
func SendLast(ctx context.Context, transport http.RoundTripper, name Name, state []byte) error {
	client := shardmanagerv1connect.NewShardHostServiceClient(&http.Client{Transport: transport}, "http://"+name.Target.DataAddress)
	stream, err := client.TransferState(ctx)
	if err != nil {
		return err
	}
	command := name.ToProto().GetCommand()
	command.Incarnation = uint64(name.Target.Incarnation)
	message := &pb.TransferStateRequest{
		Command: command, From: string(name.Source.Server), FromIncarnation: uint64(name.Source.Incarnation), BaseAttempt: name.Attempt,
	}
	for rest := state; ; {
		n := min(len(rest), MaxChunk)
		message.State, rest = rest[:n], rest[n:]
		message.Marker = len(rest) == 0
		if err := stream.Send(message); err != nil && !errors.Is(err, io.EOF) {
			_, _ = stream.CloseAndReceive()
			return err
		} else if err != nil || message.Marker {
			break // io.EOF: the answer says why
		}
		message = &pb.TransferStateRequest{}
	}
	_, err = stream.CloseAndReceive()
	return err
}

// ReceiveLast reads the parts up to the marker. The first message says whose state it is.
func ReceiveLast(stream *connect.ClientStream[pb.TransferStateRequest]) (first *pb.TransferStateRequest, state []byte, err error) {
	for stream.Receive() {
		message := stream.Msg()
		if first == nil {
			first = message
		}
		switch {
		case len(message.GetState()) > MaxChunk:
			return nil, nil, invalid("state", fmt.Sprintf("parts of at most %d bytes", MaxChunk))
		case len(state)+len(message.GetState()) > MaxLast:
			return nil, nil, invalid("state", fmt.Sprintf("at most %d bytes in all", MaxLast))
		}
		state = append(state, message.GetState()...)
		if message.GetMarker() {
			return first, state, nil
		}
	}
	if err := stream.Err(); err != nil {
		return nil, nil, err
	}
	return nil, nil, invalid("marker", "the hand-over marker in the last message")
}

func invalid(subject, expected string) error {
	return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, subject, expected, "")
}
