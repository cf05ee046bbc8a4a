package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FuzzName: a request for a stream that is taken says the same when it is made again.
func FuzzName(f *testing.F) {
	for _, m := range []proto.Message{testName.ToProto(), &pb.StreamStateRequest{}, &pb.StreamStateRequest{To: &pb.Peer{Server: "b.kv", Incarnation: 1}, Attempt: 1}} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		req := new(pb.StreamStateRequest)
		if proto.Unmarshal(raw, req) != nil {
			return
		}
		n, ok := NameFromProto(req)
		again, okAgain := NameFromProto(n.ToProto())
		if n != again || ok != okAgain {
			t.Fatalf("%+v became %+v", n, again)
		}
		if ok && !n.answers(&pb.StateBegin{Request: n.ToProto()}) {
			t.Fatalf("%+v is not answered by its own begin", n)
		}
		if other := n; ok {
			other.Order = shard.Order{Term: n.Order.Term + 1, Move: n.Order.Move}
			if other.answers(&pb.StateBegin{Request: n.ToProto()}) {
				t.Fatalf("%+v is answered by the begin of another", n)
			}
		}
	})
}

// FuzzLast: whatever a source sends as its last state, it is refused, or taken whole: the parts up to the marker, and no more than allowed.
func FuzzLast(f *testing.F) {
	frames := func(messages ...*pb.TransferStateRequest) []byte {
		var all []byte
		for _, m := range messages {
			raw, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			all = append(binary.BigEndian.AppendUint32(append(all, 0), uint32(len(raw))), raw...)
		}
		return all
	}
	first := &pb.TransferStateRequest{From: "a.kv", FromIncarnation: 1, State: []byte("he"), Command: &pb.ShardCommand{App: "kv", Shard: "1", Term: 2}}
	f.Add(frames(first, &pb.TransferStateRequest{State: []byte("llo"), Marker: true}))
	f.Add(frames(first))
	f.Add(frames(&pb.TransferStateRequest{Marker: true}, first))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{2, 0, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, body []byte) {
		called := false
		handler := connect.NewClientStreamHandler("/x", func(_ context.Context, stream *connect.ClientStream[pb.TransferStateRequest]) (*connect.Response[pb.TransferStateResponse], error) {
			called = true
			first, state, err := ReceiveLast(stream)
			if err != nil {
				if first != nil || state != nil {
					t.Errorf("refused, and %v with %q", first, state)
				}
				if wire := (*connect.Error)(nil); !errors.As(err, &wire) {
					t.Errorf("an error without a code: %v", err)
				}
				return nil, err
			}
			if want := parts(body); !bytes.Equal(state, want) {
				t.Errorf("state %q, the parts are %q", state, want)
			}
			return connect.NewResponse(&pb.TransferStateResponse{}), nil
		}, connect.WithReadMaxBytes(MaxFrame))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/connect+proto")
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if !called {
			t.Fatal("nothing was received")
		}
	})
}

// parts is the slow and simple way: the states of all messages up to the marker.
func parts(body []byte) (state []byte) {
	for len(body) >= 5 {
		n := binary.BigEndian.Uint32(body[1:])
		m := new(pb.TransferStateRequest)
		if uint64(n) > uint64(len(body)-5) || proto.Unmarshal(body[5:5+n], m) != nil {
			return nil
		}
		state = append(state, m.GetState()...)
		if m.GetMarker() {
			return state
		}
		body = body[5+n:]
	}
	return nil
}
