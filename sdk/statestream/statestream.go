// Package statestream is what an application implements to take much state along when a shard moves.
//
// Without it, a planned move carries what sdk.StateSource returns, at most 64 MiB, in the instant in which nobody serves the shard. With it, a
// snapshot of any size goes from application to application while the source serves on, and only what changed since has to follow in
// that instant:
//
//	target                                    source
//	ReceiveState  ◄── StreamState  ─────────  notes from its beginning on what changes
//	                                          … serves on …
//	                                          the last operation ends
//	Activate      ◄── StateDelta   ─────────  instead of LastState
//
// The interfaces are optional, like those of package sdk, and an sdk.Host looks for them on its Handler. State the intention, so that the
// compiler finds a slip in a signature:
//
//	var (
//		_ statestream.Source = (*App)(nil)
//		_ statestream.Target = (*App)(nil)
//	)
//
// The stream is checked from end to end: order, size and a checksum (XXH64). If its connection breaks it goes on, in another one, after the last part that
// arrived, and the applications notice nothing; after some breaks in a row the attempt fails, and ReceiveState is called anew. sdk.WithStateStreams bounds how much a source sends, sdk.WithStateLimits what
// a target puts up with. While only one of two servers has the callbacks, as in an upgrade, moves carry the last state as before.
package statestream

import (
	"context"
	"io"

	"github.com/shardmanager/shardmanager/sdk"
)

// Source gives the state of a shard that is served here. It needs sdk.StateSource too, for targets that do not receive streams.
//
// StreamState runs beside operations on the shard; no other callback for the shard begins meanwhile, except EndState and StreamState for other
// targets. A target is known by its Incarnation.
type Source interface {
	// StreamState writes a snapshot of the shard for the server to, in any form that its ReceiveState understands, and from its
	// beginning on notes what changes, for StateDelta. Writes wait for the network and for the rate limit: take what is consistent first, and
	// hold no lock that an operation needs. An error from w has to be returned.
	StreamState(ctx context.Context, s sdk.Shard, to sdk.Peer, w io.Writer) error
	// StateDelta returns what changed since the snapshot for to began, for its Activate: at most 64 MiB, possibly nothing. It is called after the last own operation
	// has ended, and again only if it failed.
	StateDelta(ctx context.Context, s sdk.Shard, to sdk.Peer) ([]byte, error)
	// EndState says that the snapshot for to is of no use any more: it was handed over, it failed, or the move came to nothing. Nothing more need
	// be noted for it. It is called once for each StreamState, after that has returned, also if that failed or was never called.
	EndState(s sdk.Shard, to sdk.Peer)
}

// Sizer is implemented by sources that know beforehand how much StreamState will write.
type Sizer interface {
	// StateSize estimates it in bytes, for operators' progress only; 0: unknown. It has to be quick.
	StateSize(s sdk.Shard) int64
}

// Target takes the state of a shard that it is about to hold. It needs sdk.Activator.
type Target interface {
	// ReceiveState reads what from's StreamState wrote, to the end: only io.EOF from r says that it was all there and right; after any other error
	// everything read is void. Each call begins from nothing: what an earlier one left is to be replaced. It must not touch the
	// storage's term, the move may be aborted.
	//
	// What was received is kept until AddShard or DropShard. Activate, which may be repeated, tells what it is worth: with a state that is not nil, that is what
	// changed since, to be applied on top, even if it is empty; with nil nobody handed over, and what was received is older than what the
	// previous owner acknowledged. If ReceiveState was not called, a state is the whole, as LastState returned it.
	ReceiveState(ctx context.Context, s sdk.Shard, from sdk.Peer, r io.Reader) error
}
