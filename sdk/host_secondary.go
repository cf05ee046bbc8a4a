package sdk

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/internal/lane"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// maxMembers is the most secondaries of a shard that a primary is told of.
const maxMembers = 64

// replicates reports whether the application can be a secondary.
func (h *Host) replicates() bool {
	_, changer := h.handler.(RoleChanger)
	_, updater := h.handler.(MembershipUpdater)
	return changer && updater
}

// follow makes this server a secondary at o. Whatever it did as a primary, or as the target of a switch, ends first; the replica is kept.
func (h *Host) follow(ctx context.Context, r *replica, o shard.Order, primary shard.Peer) error {
	if r.armed || r.snapshot().Phase != shard.Following {
		if err := h.standDown(ctx, r); err != nil {
			return fmt.Errorf("shard %s: as a primary: %w", r.id, err)
		}
	}
	if err := r.outbox.Drop(ctx, nil); err != nil { // snapshots that it gave as a primary
		return fmt.Errorf("shard %s: %w", r.id, err)
	}
	s := h.shardAt(r, o.Term, RoleSecondary)
	var err error
	switch {
	case r.armed:
		err = h.changeRole(ctx, r, s, RolePrimary)
	case r.role != RoleSecondary:
		r.touched = true
		err = h.call(ctx, r.life, "AddShard", s, func(ctx context.Context) error { return h.handler.AddShard(ctx, s) })
	}
	if err != nil {
		return err
	}
	r.role, r.armed, r.added, r.raised = RoleSecondary, false, 0, 0
	r.update(func() {
		r.record.Enter(shard.Following, o)
		r.gate, r.peer, r.activated = gateFollow, primary, 0
		r.lastState, r.asked, r.members = nil, false, nil
	})
	return nil
}

// changeRole calls ChangeRole; s has the role to take.
func (h *Host) changeRole(ctx context.Context, r *replica, s Shard, from Role) error {
	changer, ok := h.handler.(RoleChanger)
	if !ok {
		return unsupported("role", "an application with the callback ChangeRole")
	}
	return h.call(ctx, r.life, "ChangeRole", s, func(ctx context.Context) error { return changer.ChangeRole(ctx, s, from, s.Role) })
}

// firstMembership tells a new primary its secondaries, and returns once it replicates to them, or to those of a list that came since.
func (h *Host) firstMembership(ctx context.Context, r *replica, o shard.Order, members []Member) error {
	updater, ok := h.handler.(MembershipUpdater)
	if !ok {
		return nil
	}
	_, err := r.lane.Propose(uint64(o.Term), uint64(o.Move), h.tellMembers(trace.SpanContextFromContext(ctx), r, updater, o.Term, members))
	if err != nil && !errors.Is(err, lane.ErrReplaced) {
		return fmt.Errorf("shard %s: UpdateMembership: %w", r.id, err)
	}
	r.lane.Start()
	if err := r.lane.Wait(ctx); err != nil {
		return fmt.Errorf("shard %s: UpdateMembership: %w", r.id, err)
	}
	return nil
}

// updateMembership tells a primary its secondaries. It waits for no other command of the shard, only for UpdateMembership itself.
func (h *Host) updateMembership(ctx context.Context, c *pb.ShardCommand, members []Member) error {
	updater, ok := h.handler.(MembershipUpdater)
	if !ok {
		return unsupported("UpdateMembership", "an application with the callback UpdateMembership")
	}
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
		return stale("shard "+c.GetShard(), "a shard that this server is primary of")
	}
	call, err := r.lane.Propose(uint64(o.Term), uint64(o.Move), h.tellMembers(trace.SpanContextFromContext(ctx), r, updater, o.Term, members))
	if err == nil {
		err = call.Wait(ctx)
	}
	if errors.Is(err, lane.ErrClosed) || errors.Is(err, lane.ErrReplaced) {
		known := r.snapshot()
		return stale("shard "+r.id, fmt.Sprintf("a membership above %d of the term at which it is primary, not %s in phase %s at term %d: %v",
			r.lane.Newest(), o, known.Phase, known.Term, err))
	}
	return err
}

// tellMembers outlives the command that it is for, and stays in its trace.
func (h *Host) tellMembers(in trace.SpanContext, r *replica, updater MembershipUpdater, term shard.Term, members []Member) func(context.Context) error {
	s := h.shardAt(r, term, RolePrimary)
	return func(ctx context.Context) error {
		ctx = trace.ContextWithSpanContext(ctx, in)
		return h.call(ctx, r.life, "UpdateMembership", s, func(ctx context.Context) error { return updater.UpdateMembership(ctx, s, members) })
	}
}

// membersOf checks a list of members: each has to be reachable, and there once.
func membersOf(list []*pb.Member) ([]Member, error) {
	if len(list) > maxMembers {
		return nil, invalid("members", fmt.Sprintf("at most %d", maxMembers))
	}
	members, seen := make([]Member, 0, len(list)), map[shard.ServerID]bool{}
	for _, m := range wire.MembersFromProto(list) {
		if m.Server == "" || m.Incarnation == 0 || m.DataAddress == "" || seen[m.Server] {
			return nil, invalid("members", "for each secondary its server, incarnation and data address, and each once")
		}
		seen[m.Server] = true
		members = append(members, Member{Peer: publicPeer(m.Peer), InSync: m.InSync})
	}
	return members, nil
}
