package sdktest

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

// errBroken is how the kit's streams break.
var errBroken = errors.New("sdktest: the stream broke")

// streaming is twice for applications that stream state. Each stream breaks once before it succeeds, as connections do.
type streaming struct {
	*twice
	source statestream.Source
	target statestream.Target
}

// wrap makes what a Host of the kit runs.
func (k *kit) wrap(handler sdk.Handler) sdk.Handler {
	both := &twice{handler: handler, kit: k}
	source, sends := handler.(statestream.Source)
	target, receives := handler.(statestream.Target)
	switch {
	case sends && receives:
		return &streaming{twice: both, source: source, target: target}
	case sends || receives:
		k.violate("it has one of StreamState and ReceiveState, and needs both: every server is source and target in turn")
	}
	return both
}

// cutWriter breaks after n bytes.
type cutWriter struct {
	n      int
	broken bool
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) <= c.n {
		c.n -= len(p)
		return len(p), nil
	}
	c.broken = true
	return c.n, errBroken
}

func (w *streaming) StreamState(ctx context.Context, s sdk.Shard, to sdk.Peer, out io.Writer) error {
	cut := &cutWriter{}
	err := w.source.StreamState(ctx, s, to, cut)
	if cut.broken && !errors.Is(err, errBroken) {
		w.kit.violate("StreamState answered %v when its stream broke, want the writer's error", err)
	}
	w.source.EndState(s, to)
	return w.source.StreamState(ctx, s, to, out)
}

func (w *streaming) StateDelta(ctx context.Context, s sdk.Shard, to sdk.Peer) ([]byte, error) {
	var delta []byte
	err := w.again("StateDelta", s, func() (err error) {
		delta, err = w.source.StateDelta(ctx, s, to)
		return err
	})
	return delta, err
}

func (w *streaming) EndState(s sdk.Shard, to sdk.Peer) { w.source.EndState(s, to) }

func (w *streaming) StateSize(s sdk.Shard) int64 {
	if sizer, ok := w.source.(statestream.Sizer); ok {
		return sizer.StateSize(s)
	}
	return 0
}

func (w *streaming) ReceiveState(ctx context.Context, s sdk.Shard, from sdk.Peer, in io.Reader) error {
	whole, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	broken := io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), cutReader{})
	if err := w.target.ReceiveState(ctx, s, from, broken); err == nil {
		w.kit.violate("ReceiveState returned nil for a stream that broke in the middle")
	}
	return w.again("ReceiveState", s, func() error { return w.target.ReceiveState(ctx, s, from, bytes.NewReader(whole)) })
}

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, errBroken }

// deltaAfterSnapshot: what is written after the snapshot comes along too, and what came before is not lost.
func deltaAfterSnapshot(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "before the snapshot")
	o := Order{Term: 2, Move: 2}
	k.works("PrepareAddShard", k.b.PrepareAddShard(ctx, k.shard, o, k.a))
	k.write(ctx, k.a, "after the snapshot")
	_, err := k.a.PrepareDropShard(ctx, k.shard, o, k.b, callTimeout)
	k.works("PrepareDropShard", err)
	k.works("AddShard", k.b.AddShard(ctx, k.shard, o))
	if k.keepsInMoves() {
		k.reads(ctx, k.b, "after the snapshot")
	}
	k.works("DropShard", k.a.DropShard(ctx, k.shard, o))
	k.works("PrepareAddShard of the first", k.a.PrepareAddShard(ctx, k.shard, Order{Term: 3, Move: 3}, k.b))
	_, err = k.b.PrepareDropShard(ctx, k.shard, Order{Term: 3, Move: 3}, k.a, callTimeout)
	k.works("PrepareDropShard without a change", err)
	k.works("AddShard of the first", k.a.AddShard(ctx, k.shard, Order{Term: 3, Move: 3}))
	if k.keepsInMoves() {
		k.reads(ctx, k.a, "after the snapshot") // an empty delta leaves the snapshot alone
	}
}

// snapshotOfAnAbortedMove: what an aborted move left at the target does not come back in the next.
func snapshotOfAnAbortedMove(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	k.works("PrepareAddShard", k.b.PrepareAddShard(ctx, k.shard, Order{Term: 2, Move: 2}, k.a))
	_, err := k.a.CancelMove(ctx, k.shard, Order{Term: 2, Move: 2})
	k.works("CancelMove", err)
	k.works("DropShard of the target", k.b.DropShard(ctx, k.shard, Order{Term: 2, Move: 3}))
	k.write(ctx, k.a, "two")
	o := Order{Term: 3, Move: 4}
	k.works("PrepareAddShard again", k.b.PrepareAddShard(ctx, k.shard, o, k.a))
	_, err = k.a.PrepareDropShard(ctx, k.shard, o, k.b, callTimeout)
	k.works("PrepareDropShard", err)
	k.works("AddShard", k.b.AddShard(ctx, k.shard, o))
	if k.keepsInMoves() {
		k.reads(ctx, k.b, "two")
	}
}

// snapshotWithoutHandOver: the source dies after the snapshot. It is older than what was acknowledged.
func snapshotWithoutHandOver(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	o := Order{Term: 2, Move: 2}
	k.works("PrepareAddShard", k.b.PrepareAddShard(ctx, k.shard, o, k.a))
	k.write(ctx, k.a, "two")
	k.works("Activate", k.b.Activate(ctx, k.shard, o, nil))
	k.works("AddShard", k.b.AddShard(ctx, k.shard, o))
	if k.app.Durable {
		k.reads(ctx, k.b, "two")
	}
	k.write(ctx, k.b, "three")
	k.reads(ctx, k.b, "three")
}
