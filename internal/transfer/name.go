package transfer

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Limits of the wire.
const (
	// MaxChunk is the largest chunk that a receiver takes, in bytes.
	MaxChunk = 1 << 20
	// MaxFrame is the largest message that carries one.
	MaxFrame = MaxChunk + 64<<10
)

// Reasons why a stream failed; the receiver has discarded what it had.
var (
	ErrStalled    = errors.New("the stream stalled")
	ErrIncomplete = errors.New("the stream broke before its end")
	ErrDisorder   = errors.New("the frames are out of order")
	ErrWrong      = errors.New("the stream is not the one asked for")
	ErrChecksum   = errors.New("the content is not what the source says it sent")
	ErrTooLarge   = errors.New("the stream is larger than allowed")
	ErrUnread     = errors.New("the application did not read the state to its end")
)

// Reasons why a source gives no stream.
var (
	// ErrOldAttempt: a newer attempt of the same target has begun.
	ErrOldAttempt = errors.New("a newer attempt has begun")
	// ErrBusy: too many streams wait for their turn already.
	ErrBusy = errors.New("too many streams wait already")
	// ErrDropped: the snapshot is of no use any more: the move ended, the shard left, or a newer attempt began.
	ErrDropped = errors.New("the snapshot is not wanted any more")
)

// Name says which stream it is; both ends agree on all of it.
type Name struct {
	App     string
	Shard   string
	Order   shard.Order // under which the target prepares the shard
	Source  shard.Peer
	Target  shard.Peer
	Attempt uint64 // from 1, growing within the target's incarnation
	// Received is how many chunks of the attempt the target has, in a request that goes on with it after a connection broke.
	Received uint64
}

// ToProto is the request for the stream.
func (n Name) ToProto() *pb.StreamStateRequest {
	return &pb.StreamStateRequest{
		Command: &pb.ShardCommand{
			App: n.App, Shard: n.Shard, Term: uint64(n.Order.Term), Move: uint64(n.Order.Move), Incarnation: uint64(n.Source.Incarnation),
		},
		To: wire.PeerToProto(n.Target), Attempt: n.Attempt, Received: n.Received,
	}
}

// NameFromProto reads a request; ok is false where the target or the attempt is missing. Of the source it knows the incarnation.
func NameFromProto(req *pb.StreamStateRequest) (n Name, ok bool) {
	c := req.GetCommand()
	n = Name{
		App: c.GetApp(), Shard: c.GetShard(), Order: shard.Order{Term: shard.Term(c.GetTerm()), Move: shard.MoveID(c.GetMove())},
		Source: shard.Peer{Incarnation: shard.Incarnation(c.GetIncarnation())}, Target: wire.PeerFromProto(req.GetTo()), Attempt: req.GetAttempt(),
		Received: req.GetReceived(),
	}
	return n, n.Target.Server != "" && n.Target.Incarnation != 0 && n.Attempt != 0
}

// answers reports whether a begin answers this request.
func (n Name) answers(begin *pb.StateBegin) bool { return proto.Equal(begin.GetRequest(), n.ToProto()) }
