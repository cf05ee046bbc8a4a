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
	if l != nil {
		var cancel context.CancelCauseFunc
		ctx, cancel = l.within(ctx)
		defer cancel(context.Canceled)
	}
	began := time.Now()
	defer func() {
		defer func() { h.options.called(name, time.Since(began), err) }()
		if cause := recover(); cause != nil {
			h.logger.ErrorContext(ctx, "callback panicked", "callback", name, "shard", s.ID, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = connect.NewError(connect.CodeUnknown, fmt.Errorf("callback %s: shard %s: panic: %v", name, s.ID, cause))
		}
	}()
	if err := h.traced(ctx, "callback "+name, s, callback); err != nil {
		// A code of its own: whatever the application's error carries is not the Host's verdict on the command.
		return connect.NewError(connect.CodeUnknown, fmt.Errorf("callback %s: shard %s: %w", name, s.ID, err))
	}
	return nil
}

func (h *Host) shardAt(r *replica, term shard.Term, role Role) Shard {
	return Shard{App: h.app, ID: r.id, Term: uint64(term), Role: role}
}

// addShard makes this server primary at o. It ends a promotion too.
func (h *Host) addShard(ctx context.Context, r *replica, o shard.Order, members []Member) error {
	if err := h.activate(ctx, r, o, nil, members); err != nil {
		return err
	}
	if err := h.serve(ctx, r, o); err != nil {
		return err
	}
	r.update(func() {
		r.record.Enter(shard.Serving, o)
		r.gate, r.peer, r.members = gateOpen, shard.Peer{}, nil
	})
	return nil
}

// serve tells the application, once for each term, that it is primary: a secondary by ChangeRole, any other by AddShard.
func (h *Host) serve(ctx context.Context, r *replica, o shard.Order) error {
	if r.added == o.Term {
		return nil
	}
	s := h.shardAt(r, o.Term, RolePrimary)
	var err error
	if r.role == RoleSecondary {
		err = h.changeRole(ctx, r, s, RoleSecondary)
	} else {
		err = h.call(ctx, r.life, "AddShard", s, func(ctx context.Context) error { return h.handler.AddShard(ctx, s) })
	}
	if err == nil {
		r.added, r.role = o.Term, RolePrimary
	}
	return err
}

// activate gives the application the right to write at o.Term: its storage's term is raised first, then it reads (PROTOCOL R9), and then it
// hears of its secondaries. Whoever was primary here before, at a lower term, is stopped first, and requests wait; a secondary refuses
// them.
func (h *Host) activate(ctx context.Context, r *replica, o shard.Order, state []byte, members []Member) error {
	if r.activated == o.Term {
		return nil
	}
	if err := r.outbox.Drop(ctx, nil); err != nil { // they were given under an older term
		return fmt.Errorf("shard %s: %w", r.id, err)
	}
	if r.raised != o.Term {
		if err := h.standDown(ctx, r); err != nil {
			return fmt.Errorf("shard %s: an older term: %w", r.id, err)
		}
		if r.snapshot().Phase == shard.Forwarding {
			r.setGate(gateHold)
		}
		if err := h.raise(ctx, r, o, state); err != nil {
			return err
		}
	}
	if err := h.firstMembership(ctx, r, o, members); err != nil {
		return err
	}
	r.update(func() {
		r.activated, r.since, r.lastState, r.asked = o.Term, h.now(), nil, false
		r.record.Enter(shard.Prepared, o)
	})
	return nil
}

// standDown ends the right to write that this server has or may have. Requests wait while that of a primary ends; what a source still
// forwards to a prepared target is refused, and so are reads at a secondary, but those that run may go on.
func (h *Host) standDown(ctx context.Context, r *replica) error {
	r.mu.Lock()
	before := r.gate
	r.mu.Unlock()
	switch r.snapshot().Phase {
	case shard.Serving:
		r.setGate(gateHold)
	case shard.Following:
		r.setGate(gateClosed)
	case shard.Prepared:
		r.update(func() { r.activated = 0 })
	case shard.Forwarding, shard.None:
	}
	if !r.armed {
		return nil
	}
	if err := r.quiesce(ctx, dropPatience); err != nil {
		r.setGate(before)
		return err
	}
	if err := r.lane.Close(ctx); err != nil {
		return fmt.Errorf("UpdateMembership has not returned: %w", err)
	}
	h.released(r)
	return nil
}

// raise calls Activate; an application without it does the same in AddShard or ChangeRole.
func (h *Host) raise(ctx context.Context, r *replica, o shard.Order, state []byte) error {
	r.touched, r.armed = true, true
	r.lane.Open(uint64(o.Term)) // a membership may come while the application is at it
	var err error
	if activator, ok := h.handler.(Activator); ok {
		s := h.shardAt(r, o.Term, RolePrimary)
		err = h.call(ctx, r.life, "Activate", s, func(ctx context.Context) error { return activator.Activate(ctx, s, state) })
	} else {
		err = h.serve(ctx, r, o)
	}
	if err != nil {
		return err
	}
	r.raised, r.owned = o.Term, o.Term
	if h.observer != nil {
		h.observer.Activated(r.id, uint64(o.Term), h.now().Raw)
	}
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

// prepareAdd makes this server the target of a move. A secondary is that as it is: it has the state.
func (h *Host) prepareAdd(ctx context.Context, r *replica, o shard.Order, from shard.Peer, members []Member) error {
	kept := r.role == RoleSecondary && !r.armed
	if !kept && (r.snapshot().Phase != shard.None || r.armed) {
		if err := h.retire(ctx, r, o, dropPatience); err != nil {
			return err
		}
	}
	r.received = 0
	if preparer, ok := h.handler.(Preparer); ok && !kept {
		r.touched = true
		s := h.shardAt(r, o.Term, RolePrimary)
		prepare := func(ctx context.Context) error { return preparer.PrepareAddShard(ctx, s, publicPeer(from)) }
		if err := h.call(ctx, r.life, "PrepareAddShard", s, prepare); err != nil {
			return err
		}
	}
	if !kept {
		if err := h.pullState(ctx, r, o, from); err != nil {
			return err
		}
	}
	r.update(func() {
		r.record.Enter(shard.Prepared, o)
		r.gate, r.peer, r.members = gateClosed, from, members
	})
	return nil
}

// retire stops whatever the shard does here and drops it. It answers only when nothing runs any more.
func (h *Host) retire(ctx context.Context, r *replica, o shard.Order, patience time.Duration) error {
	r.update(func() { r.gate, r.activated = gateClosed, 0 }) // what the source of a move still forwards is refused too
	err := r.quiesce(ctx, patience)
	if err == nil {
		err = r.lane.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("drop shard %s: %w", r.id, err)
	}
	h.released(r)
	if err := r.outbox.Drop(ctx, nil); err != nil {
		return fmt.Errorf("drop shard %s: %w", r.id, err)
	}
	if r.touched {
		role := RolePrimary
		if r.role == RoleSecondary && !r.armed {
			role = RoleSecondary
		}
		s := h.shardAt(r, max(r.snapshot().Term, r.raised), role)
		if err := h.call(ctx, nil, "DropShard", s, func(ctx context.Context) error { return h.handler.DropShard(ctx, s) }); err != nil {
			return err
		}
	}
	r.update(func() {
		r.record.Enter(shard.None, o)
		r.activated, r.raised, r.added, r.role, r.armed, r.touched, r.received = 0, 0, 0, 0, false, false, 0
		r.lastState, r.asked, r.members = nil, false, nil
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
	begun = r.record.Cancel(o)
	r.mu.Unlock()
	if begun {
		return true, nil
	}
	return false, r.outbox.Drop(ctx, func(_ shard.Peer, under shard.Order) bool { return under != o })
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
		return r == nil || r.snapshot().Phase == shard.None
	})
	return loads, nil
}

func publicPeer(p shard.Peer) Peer {
	return Peer{Server: string(p.Server), DataAddress: p.DataAddress, Incarnation: uint64(p.Incarnation)}
}
