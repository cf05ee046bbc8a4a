package ownership

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

// Around is called instead of a callback, which next is: it may wait, fail, or leave next out.
type Around func(ctx context.Context, call Call, next func(context.Context) error) error

// Plain is an Around that changes nothing.
func Plain(ctx context.Context, _ Call, next func(context.Context) error) error { return next(ctx) }

// Handler is h, watched, with around in between. It has all optional callbacks; where h has none, it does what a Host does without.
func (s *Server) Handler(h sdk.Handler, around Around) sdk.Handler {
	w := &watched{server: s, handler: h, around: around}
	w.activator, _ = h.(sdk.Activator)
	source, sends := h.(statestream.Source)
	target, receives := h.(statestream.Target)
	if sends && receives {
		return &streaming{watched: w, source: source, target: target}
	}
	return w
}

type watched struct {
	server    *Server
	handler   sdk.Handler
	activator sdk.Activator // nil: it has none
	around    Around
}

// call runs one callback, watched.
func (w *watched) call(ctx context.Context, callback string, s sdk.Shard, do func(context.Context) error) (err error) {
	call, began := w.server.begin(callback, s, w.activator != nil), time.Now()
	defer func() {
		if cause := recover(); cause != nil {
			w.server.end(callback, s, time.Since(began), errPanic)
			panic(cause) // the Host makes an error of it
		}
		w.server.end(callback, s, time.Since(began), err)
	}()
	return w.around(ctx, call, do)
}

var errPanic = errors.New("panic")

func (w *watched) follows(shard string) bool {
	w.server.checker.mu.Lock()
	defer w.server.checker.mu.Unlock()
	return w.server.course(shard).role == sdk.RoleSecondary
}

// Activate of an application without Activator is AddShard, or ChangeRole of a secondary.
func (w *watched) Activate(ctx context.Context, s sdk.Shard, state []byte) error {
	switch {
	case w.activator != nil:
		return w.call(ctx, "Activate", s, func(ctx context.Context) error { return w.activator.Activate(ctx, s, state) })
	case w.follows(s.ID):
		return w.changeRole(ctx, s, sdk.RoleSecondary)
	}
	return w.call(ctx, "AddShard", s, func(ctx context.Context) error { return w.handler.AddShard(ctx, s) })
}

func (w *watched) AddShard(ctx context.Context, s sdk.Shard) error {
	if w.activator == nil && s.Role == sdk.RolePrimary {
		return nil // Activate has called it
	}
	return w.call(ctx, "AddShard", s, func(ctx context.Context) error { return w.handler.AddShard(ctx, s) })
}

func (w *watched) DropShard(ctx context.Context, s sdk.Shard) error {
	return w.call(ctx, "DropShard", s, func(ctx context.Context) error { return w.handler.DropShard(ctx, s) })
}

func (w *watched) PrepareAddShard(ctx context.Context, s sdk.Shard, from sdk.Peer) error {
	preparer, ok := w.handler.(sdk.Preparer)
	if !ok {
		return nil
	}
	return w.call(ctx, "PrepareAddShard", s, func(ctx context.Context) error { return preparer.PrepareAddShard(ctx, s, from) })
}

func (w *watched) LastState(ctx context.Context, s sdk.Shard) (state []byte, err error) {
	source, ok := w.handler.(sdk.StateSource)
	if !ok {
		return nil, nil
	}
	err = w.call(ctx, "LastState", s, func(ctx context.Context) (err error) {
		state, err = source.LastState(ctx, s)
		return err
	})
	return state, err
}

func (w *watched) ChangeRole(ctx context.Context, s sdk.Shard, from, to sdk.Role) error {
	if w.activator == nil && to == sdk.RolePrimary {
		return nil // Activate has called it
	}
	return w.changeRole(ctx, s, from)
}

func (w *watched) changeRole(ctx context.Context, s sdk.Shard, from sdk.Role) error {
	changer, ok := w.handler.(sdk.RoleChanger)
	if !ok {
		return nil
	}
	return w.call(ctx, "ChangeRole", s, func(ctx context.Context) error { return changer.ChangeRole(ctx, s, from, s.Role) })
}

func (w *watched) UpdateMembership(ctx context.Context, s sdk.Shard, members []sdk.Member) error {
	updater, ok := w.handler.(sdk.MembershipUpdater)
	if !ok {
		return nil
	}
	return w.call(ctx, "UpdateMembership", s, func(ctx context.Context) error { return updater.UpdateMembership(ctx, s, members) })
}

func (w *watched) CollectLoad(ctx context.Context) (map[string]map[string]int64, error) {
	collector, ok := w.handler.(sdk.LoadCollector)
	if !ok {
		return nil, nil
	}
	return collector.CollectLoad(ctx)
}

// streaming is watched for applications that stream state.
type streaming struct {
	*watched
	source statestream.Source
	target statestream.Target
}

func (w *streaming) StreamState(ctx context.Context, s sdk.Shard, to sdk.Peer, out io.Writer) error {
	return w.call(ctx, "StreamState", s, func(ctx context.Context) error { return w.source.StreamState(ctx, s, to, out) })
}

func (w *streaming) StateDelta(ctx context.Context, s sdk.Shard, to sdk.Peer) (delta []byte, err error) {
	err = w.call(ctx, "StateDelta", s, func(ctx context.Context) (err error) {
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
	return w.call(ctx, "ReceiveState", s, func(ctx context.Context) error { return w.target.ReceiveState(ctx, s, from, in) })
}
