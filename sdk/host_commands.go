package sdk

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// dropPatience is how long operations of a shard that is dropped, or granted anew, may go on before their contexts are cancelled.
const dropPatience = time.Second

// defaultPatience is used where PrepareDropShard names no deadline.
const defaultPatience = 10 * time.Second

// call runs a callback of the application. Its context also ends with the life l, if one is given; a panic becomes an error.
func (h *Host) call(ctx context.Context, l *life, name string, s Shard, callback func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	if l != nil {
		defer context.AfterFunc(l.ctx, func() { cancel(errLifeOver) })()
	}
	defer func() {
		if cause := recover(); cause != nil {
			h.logger.Error("callback panicked", "callback", name, "shard", s.ID, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = connect.NewError(connect.CodeUnknown, fmt.Errorf("callback %s: shard %s: panic: %v", name, s.ID, cause))
		}
	}()
	if err := callback(ctx); err != nil {
		// A code of its own: whatever the application's error carries is not the Host's verdict on the command.
		return connect.NewError(connect.CodeUnknown, fmt.Errorf("callback %s: shard %s: %w", name, s.ID, err))
	}
	return nil
}

func (h *Host) shardAt(r *replica, term shard.Term) Shard {
	return Shard{App: h.app, ID: r.id, Term: uint64(term), Role: RolePrimary}
}

// addShard makes this server primary at o.
func (h *Host) addShard(ctx context.Context, r *replica, o shard.Order) error {
	if err := h.activate(ctx, r, o, nil); err != nil {
		return err
	}
	if r.added != o.Term {
		s := h.shardAt(r, o.Term)
		if err := h.call(ctx, r.life, "AddShard", s, func(ctx context.Context) error { return h.handler.AddShard(ctx, s) }); err != nil {
			return err
		}
		r.added = o.Term
	}
	r.update(func() {
		r.record.enter(shard.Serving, o)
		r.gate, r.peer = gateOpen, shard.Peer{}
	})
	return nil
}

// activate gives the application the right to write at o.Term: its storage's term is raised first, then it reads (PROTOCOL R9). An
// application without Activator does that in AddShard. Whoever was primary here before, at a lower term, is stopped first, and
// requests wait.
func (h *Host) activate(ctx context.Context, r *replica, o shard.Order, state []byte) error {
	if r.activated == o.Term {
		return nil
	}
	switch r.snapshot().phase {
	case shard.Serving:
		before := r.setGate(gateHold)
		if err := r.quiesce(ctx, dropPatience); err != nil {
			r.setGate(before)
			return fmt.Errorf("shard %s: an older term: %w", r.id, err)
		}
	case shard.Forwarding:
		r.setGate(gateHold)
	case shard.Prepared:
		r.update(func() { r.activated = 0 }) // at another term: what runs under that one ends first
		if err := r.quiesce(ctx, dropPatience); err != nil {
			return fmt.Errorf("shard %s: an older term: %w", r.id, err)
		}
	case shard.None:
	}
	h.released(r)
	s := h.shardAt(r, o.Term)
	r.touched = true
	name, callback := "AddShard", func(ctx context.Context) error { return h.handler.AddShard(ctx, s) }
	activator, has := h.handler.(Activator)
	if has {
		name, callback = "Activate", func(ctx context.Context) error { return activator.Activate(ctx, s, state) }
	}
	if err := h.call(ctx, r.life, name, s, callback); err != nil {
		return err
	}
	if !has {
		r.added = o.Term
	}
	r.owned = o.Term
	if h.observer != nil {
		h.observer.Activated(r.id, uint64(o.Term), h.now().Raw)
	}
	r.update(func() {
		r.activated, r.lastState, r.asked = o.Term, nil, false
		r.record.enter(shard.Prepared, o)
	})
	return nil
}

// released tells the observer that the right to execute has ended: the gate is closed and no token is out.
func (h *Host) released(r *replica) {
	if r.owned == 0 {
		return
	}
	if h.observer != nil {
		h.observer.Released(r.id, uint64(r.owned), h.now().Raw)
	}
	r.owned = 0
}

// prepareAdd makes this server the target of a move.
func (h *Host) prepareAdd(ctx context.Context, r *replica, o shard.Order, from shard.Peer) error {
	if r.snapshot().phase != shard.None {
		if err := h.retire(ctx, r, o, dropPatience); err != nil {
			return err
		}
	}
	if preparer, ok := h.handler.(Preparer); ok {
		r.touched = true
		s := h.shardAt(r, o.Term)
		prepare := func(ctx context.Context) error { return preparer.PrepareAddShard(ctx, s, publicPeer(from)) }
		if err := h.call(ctx, r.life, "PrepareAddShard", s, prepare); err != nil {
			return err
		}
	}
	r.update(func() {
		r.record.enter(shard.Prepared, o)
		r.gate, r.peer = gateClosed, from
	})
	return nil
}

// retire stops whatever the shard does here and drops it. It answers only when nothing runs any more.
func (h *Host) retire(ctx context.Context, r *replica, o shard.Order, patience time.Duration) error {
	r.update(func() { r.gate, r.activated = gateClosed, 0 }) // what the source of a move still forwards is refused too
	if err := r.quiesce(ctx, patience); err != nil {
		return fmt.Errorf("drop shard %s: %w", r.id, err)
	}
	h.released(r)
	if r.touched {
		s := h.shardAt(r, max(r.snapshot().term, r.activated))
		if err := h.call(ctx, nil, "DropShard", s, func(ctx context.Context) error { return h.handler.DropShard(ctx, s) }); err != nil {
			return err
		}
	}
	r.update(func() {
		r.record.enter(shard.None, o)
		r.activated, r.added, r.touched = 0, 0, false
		r.lastState, r.asked = nil, false
	})
	return nil
}

// cancelMove refuses a move for ever if it has not begun here (PROTOCOL R10).
func (h *Host) cancelMove(ctx context.Context, c *pb.ShardCommand) (begun bool, err error) {
	o, err := h.orderOf(c)
	if err != nil {
		return false, err
	}
	l, err := h.lifeOf(ctx, shard.Incarnation(c.GetIncarnation()))
	if err != nil {
		return false, err
	}
	r := l.obtain(c.GetShard())
	if r == nil {
		return false, errLifeOver
	}
	if err := r.acquire(ctx); err != nil {
		return false, fmt.Errorf("shard %s: an earlier command still runs: %w", r.id, err)
	}
	defer r.release()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record.cancel(o), nil
}

// endIncarnation ends the incarnation named, if it is this server's; of any other nothing runs here.
func (h *Host) endIncarnation(ctx context.Context, incarnation shard.Incarnation, reason string) error {
	if incarnation == 0 {
		return invalid("incarnation", "the incarnation to end")
	}
	if l := h.life.Load(); l == nil || l.incarnation != incarnation {
		// It may be just being registered.
		if _, err := h.lifeOf(ctx, incarnation); err != nil {
			return nil
		}
	}
	l := h.life.Load()
	if l == nil || l.incarnation != incarnation {
		return nil
	}
	return h.endLife(ctx, l, reason)
}

// notify runs a callback that changes nothing in the guard, for a shard that is served.
func (h *Host) notify(ctx context.Context, c *pb.ShardCommand, name string, callback func(context.Context, Shard) error) error {
	o, err := h.orderOf(c)
	if err != nil {
		return err
	}
	l, err := h.lifeOf(ctx, shard.Incarnation(c.GetIncarnation()))
	if err != nil {
		return err
	}
	r := l.find(c.GetShard())
	if r == nil {
		return stale("shard "+c.GetShard(), name+" for a shard that is served")
	}
	if err := r.acquire(ctx); err != nil {
		return fmt.Errorf("shard %s: an earlier command still runs: %w", r.id, err)
	}
	defer r.release()
	known := r.snapshot()
	if known.phase != shard.Serving || o.Compare(known.max) < 0 {
		return stale("shard "+r.id, fmt.Sprintf("%s at %s or above for a shard that is served, not %s in phase %s", name, known.max, o, known.phase))
	}
	s := h.shardAt(r, known.term)
	return h.call(ctx, l, name, s, func(ctx context.Context) error { return callback(ctx, s) })
}

// collectLoad asks the application for the loads of the shards that are held; empty without the callback.
func (h *Host) collectLoad(ctx context.Context) (map[string]map[string]int64, error) {
	collector, ok := h.handler.(LoadCollector)
	l := h.life.Load()
	if !ok || l == nil {
		return nil, nil
	}
	var loads map[string]map[string]int64
	err := h.call(ctx, l, "CollectLoad", Shard{App: h.app}, func(ctx context.Context) (err error) {
		loads, err = collector.CollectLoad(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	loads = maps.Clone(loads)
	maps.DeleteFunc(loads, func(id string, _ map[string]int64) bool {
		r := l.find(id)
		return r == nil || r.snapshot().phase == shard.None
	})
	return loads, nil
}

func publicMembers(list []shard.Member) []Member {
	members := make([]Member, 0, len(list))
	for _, m := range list {
		members = append(members, Member{Peer: publicPeer(m.Peer), InSync: m.InSync})
	}
	return members
}

func publicPeer(p shard.Peer) Peer {
	return Peer{Server: string(p.Server), DataAddress: p.DataAddress, Incarnation: uint64(p.Incarnation)}
}
