package sdktest

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/shardmanager/shardmanager/sdk"
)

// twice calls every callback of a handler two times, as happens when an answer is lost, and notes where the second call fails. It has all
// the callbacks that Check is about; where the handler has none, it does what a Host does without.
type twice struct {
	handler sdk.Handler
	kit     *kit
	touched sync.Map // shards that the handler has been told of
	follows sync.Map // shards that it is a secondary of
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

// Activate of an application without Activator is AddShard, or ChangeRole of a secondary.
func (w *twice) Activate(ctx context.Context, s sdk.Shard, state []byte) error {
	activator, ok := w.handler.(sdk.Activator)
	if _, follows := w.follows.Load(s.ID); !ok && follows {
		return w.changeRole(ctx, s, sdk.RoleSecondary)
	}
	if !ok {
		return w.again("AddShard", s, func() error { return w.handler.AddShard(ctx, s) })
	}
	return w.again("Activate", s, func() error { return activator.Activate(ctx, s, bytes.Clone(state)) })
}

func (w *twice) AddShard(ctx context.Context, s sdk.Shard) error {
	if s.Role == sdk.RoleSecondary {
		w.follows.Store(s.ID, true)
	} else if _, ok := w.handler.(sdk.Activator); !ok {
		return nil // Activate has called it
	}
	return w.again("AddShard", s, func() error { return w.handler.AddShard(ctx, s) })
}

func (w *twice) DropShard(ctx context.Context, s sdk.Shard) error {
	if _, ok := w.touched.Load(s.ID); !ok {
		return nil
	}
	defer w.touched.Delete(s.ID)
	w.follows.Delete(s.ID)
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

func (w *twice) ChangeRole(ctx context.Context, s sdk.Shard, from, to sdk.Role) error {
	if _, ok := w.handler.(sdk.Activator); !ok && to == sdk.RolePrimary {
		return nil // Activate has called it
	}
	return w.changeRole(ctx, s, from)
}

func (w *twice) changeRole(ctx context.Context, s sdk.Shard, from sdk.Role) error {
	changer, ok := w.handler.(sdk.RoleChanger)
	if !ok {
		return nil
	}
	err := w.again("ChangeRole", s, func() error { return changer.ChangeRole(ctx, s, from, s.Role) })
	if err == nil && s.Role == sdk.RolePrimary {
		w.follows.Delete(s.ID)
	} else if err == nil {
		w.follows.Store(s.ID, true)
	}
	return err
}

// UpdateMembership of an application without MembershipUpdater has nothing to do. A newer list may come between the two calls.
func (w *twice) UpdateMembership(ctx context.Context, s sdk.Shard, members []sdk.Member) error {
	updater, ok := w.handler.(sdk.MembershipUpdater)
	if !ok {
		return nil
	}
	if err := updater.UpdateMembership(ctx, s, slices.Clone(members)); err != nil {
		return err
	}
	if err := updater.UpdateMembership(ctx, s, slices.Clone(members)); err != nil && ctx.Err() == nil {
		w.kit.violate("UpdateMembership called again after it had succeeded: %v", err)
	}
	return nil
}
