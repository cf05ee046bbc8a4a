package sdktest

import (
	"bytes"
	"context"
	"sync"

	"github.com/shardmanager/shardmanager/sdk"
)

// twice calls every callback of a handler two times, as happens when an answer is lost, and notes where the second call fails. It has all
// the callbacks that Check is about; where the handler has none, it does what a Host does without.
type twice struct {
	handler sdk.Handler
	kit     *kit
	touched sync.Map // shards that the handler has been told of
}

func (w *twice) again(name string, s sdk.Shard, call func() error) error {
	w.touched.Store(s.ID, true)
	if err := call(); err != nil {
		return err
	}
	if err := call(); err != nil {
		w.kit.violate("%s called again after it had succeeded: %v", name, err)
	}
	return nil
}

// Activate of an application without Activator is AddShard.
func (w *twice) Activate(ctx context.Context, s sdk.Shard, state []byte) error {
	activator, ok := w.handler.(sdk.Activator)
	if !ok {
		return w.again("AddShard", s, func() error { return w.handler.AddShard(ctx, s) })
	}
	return w.again("Activate", s, func() error { return activator.Activate(ctx, s, bytes.Clone(state)) })
}

func (w *twice) AddShard(ctx context.Context, s sdk.Shard) error {
	if _, ok := w.handler.(sdk.Activator); !ok {
		return nil // Activate has called it
	}
	return w.again("AddShard", s, func() error { return w.handler.AddShard(ctx, s) })
}

func (w *twice) DropShard(ctx context.Context, s sdk.Shard) error {
	if _, ok := w.touched.Load(s.ID); !ok {
		return nil
	}
	defer w.touched.Delete(s.ID)
	return w.again("DropShard", s, func() error { return w.handler.DropShard(ctx, s) })
}

func (w *twice) PrepareAddShard(ctx context.Context, s sdk.Shard, from sdk.Peer) error {
	preparer, ok := w.handler.(sdk.Preparer)
	if !ok {
		return nil
	}
	return w.again("PrepareAddShard", s, func() error { return preparer.PrepareAddShard(ctx, s, from) })
}

func (w *twice) LastState(ctx context.Context, s sdk.Shard) ([]byte, error) {
	source, ok := w.handler.(sdk.StateSource)
	if !ok {
		return nil, nil
	}
	var state []byte
	err := w.again("LastState", s, func() (err error) {
		state, err = source.LastState(ctx, s)
		return err
	})
	return state, err
}

// UpdateMembership of an application without MembershipUpdater has nothing to do.
func (w *twice) UpdateMembership(ctx context.Context, s sdk.Shard, members []sdk.Member) error {
	updater, ok := w.handler.(sdk.MembershipUpdater)
	if !ok {
		return nil
	}
	return w.again("UpdateMembership", s, func() error { return updater.UpdateMembership(ctx, s, members) })
}
