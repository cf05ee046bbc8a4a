package plane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// step is what comes next for a shard: commands, and then a change of its row.
type step func(context.Context) error

type client = shardmanagerv1connect.ShardHostServiceClient

// next decides what comes next for a shard; nil: nothing, until something changes. What it decides is in the row before it returns. The caller holds
// the plane's mu.
func (l *leader) next(r *row) step {
	p := l.plane
	r.leaving = slices.DeleteFunc(r.leaving, func(h leaver) bool { return p.over(h.Holder) })
	switch {
	case r.primary == Holder{}:
		return l.place(r)
	case p.over(r.primary):
		return l.replace(r)
	case p.lost(r.primary):
		return nil // until its lease has certainly ended
	case r.target != Holder{}:
		return l.carryOn(r)
	case !r.served:
		return l.serve(r)
	}
	if s := l.begin(r); s != nil {
		return s
	}
	if len(r.leaving) > 0 {
		return l.drop(r)
	}
	return l.secondaries(r)
}

// place gives a shard to somebody that nobody has.
func (l *leader) place(r *row) step {
	to, found := l.plane.choose(r, func(Holder) bool { return true })
	if !found {
		r.avoid = ""
		return nil
	}
	return l.grant(r, to, mayBeLost)
}

// kept says whether a grant keeps the shard's state.
type kept uint8

const (
	isKept    kept = iota + 1
	mayBeLost      // unless it is durable
)

func (l *leader) grant(r *row, to Holder, state kept) step {
	r.grant(to)
	l.plane.deps.Checker.Note(r.id, fmt.Sprintf("leader: %s is to be primary at term %d", to, r.granted.Term))
	if state == mayBeLost && !l.plane.cfg.Durable {
		l.plane.deps.Checker.Forget(r.id)
	}
	return l.serve(r)
}

// replace gives a shard to somebody else whose primary is over.
func (l *leader) replace(r *row) step {
	p := l.plane
	switch target := r.target; {
	case target == Holder{}:
	case p.over(target):
		r.target, r.move = Holder{}, moving{}
	case p.lost(target):
		return nil // it may execute, too
	case !r.move.aborting:
		return l.grant(r, target, mayBeLost)
	default:
		return l.stopTarget(r, func() { r.target, r.move = Holder{}, moving{} })
	}
	for _, m := range r.members {
		if m.inSync && !p.lost(m.Holder) {
			return l.grant(r, m.Holder, isKept)
		}
	}
	to, found := p.choose(r, func(Holder) bool { return true })
	if !found {
		r.avoid = ""
		return nil
	}
	return l.grant(r, to, mayBeLost)
}

// stopTarget has the target of a move that is called off drop the shard, so that it cannot execute it any more.
func (l *leader) stopTarget(r *row, then func()) step {
	target, order := r.target, r.nextMove()
	if r.tries >= maxTries {
		l.plane.fence(target, "it does not drop shard "+r.id)
	}
	return func(ctx context.Context) error {
		if err := l.dropAt(ctx, r, target, order); err != nil {
			return err
		}
		l.done(r, then)
		return nil
	}
}

func (l *leader) dropAt(ctx context.Context, r *row, at Holder, o shard.Order) error {
	return l.order(ctx, r, at, "DropShard", func(ctx context.Context, host client) error {
		_, err := host.DropShard(ctx, &pb.DropShardRequest{Command: command(r, at, o)})
		return err
	})
}

func command(r *row, to Holder, o shard.Order) *pb.ShardCommand {
	return &pb.ShardCommand{App: App, Shard: r.id, Term: uint64(o.Term), Move: uint64(o.Move), Incarnation: to.Incarnation}
}

func (l *leader) peer(h Holder) *pb.Peer {
	if h == (Holder{}) {
		return nil
	}
	return &pb.Peer{Server: h.Server + "." + App, Incarnation: h.Incarnation, DataAddress: l.plane.servers[h.Server].Address}
}

// membersOf are those to tell a primary.
func (l *leader) membersOf(r *row, primary Holder) []*pb.Member {
	var list []*pb.Member
	for _, m := range r.members {
		if m.Holder != primary && m.added {
			list = append(list, &pb.Member{Peer: l.peer(m.Holder), InSync: m.inSync})
		}
	}
	return list
}

// serve has the primary serve; if it cannot, the shard is taken back.
func (l *leader) serve(r *row) step {
	to, order := r.primary, r.granted
	if r.tries >= 2*maxTries {
		l.plane.fence(to, "it neither serves nor drops shard "+r.id)
		return nil
	}
	if r.tries >= maxTries {
		order = r.nextMove()
		return func(ctx context.Context) error {
			if err := l.dropAt(ctx, r, to, order); err != nil {
				return err
			}
			l.done(r, func() { r.primary, r.avoid = Holder{}, to.Server })
			return nil
		}
	}
	members := l.membersOf(r, to)
	return func(ctx context.Context) error {
		err := l.order(ctx, r, to, "Activate", func(ctx context.Context, host client) error {
			_, err := host.Activate(ctx, &pb.ActivateRequest{Command: command(r, to, order), Members: members})
			return err
		})
		if err != nil {
			return err
		}
		err = l.order(ctx, r, to, "AddShard", func(ctx context.Context, host client) error {
			_, err := host.AddShard(ctx, &pb.AddShardRequest{Command: command(r, to, order), Role: pb.Role_ROLE_PRIMARY, Members: members})
			return err
		})
		if err != nil {
			return err
		}
		l.done(r, func() { r.served, r.avoid = true, "" })
		return nil
	}
}

// begin begins a move, if somebody asked for it or the primary is drained.
func (l *leader) begin(r *row) step {
	p := l.plane
	var to Holder
	alive := false
	switch {
	case r.wish != "":
		to, alive = p.alive(r.wish)
		if !alive || to == r.primary {
			r.wish = ""
			p.wake()
			return nil
		}
	case p.drained[r.primary.Server]:
		if to, alive = p.choose(r, func(h Holder) bool { return r.member(h) != nil }); !alive {
			to, alive = p.choose(r, func(Holder) bool { return true })
		}
	}
	if !alive {
		return nil
	}
	r.target, r.move, r.tries = to, moving{order: r.nextTerm(), began: time.Now()}, 0
	p.deps.Checker.Note(r.id, fmt.Sprintf("leader: moves from %s to %s at term %d", r.primary, to, r.move.order.Term))
	return l.carryOn(r)
}

// carryOn goes on with a move, or calls it off.
func (l *leader) carryOn(r *row) step {
	p := l.plane
	if !r.move.aborting && (p.lost(r.target) || time.Since(r.move.began) > moveDeadline || r.tries >= maxTries) {
		r.move.aborting, r.tries, r.wish = true, 0, ""
		p.deps.Checker.Note(r.id, fmt.Sprintf("leader: calls the move to %s off", r.target))
	}
	switch {
	case r.move.aborting:
		return l.abort(r)
	case !r.move.prepared:
		return l.prepare(r)
	}
	return l.handOver(r)
}

func (l *leader) prepare(r *row) step {
	target := r.target
	request := &pb.PrepareAddShardRequest{Command: command(r, target, r.move.order), From: l.peer(r.primary), Members: l.membersOf(r, target)}
	return func(ctx context.Context) error {
		err := l.order(ctx, r, target, "PrepareAddShard", func(ctx context.Context, host client) error {
			_, err := host.PrepareAddShard(ctx, request)
			return err
		})
		if err != nil {
			return err
		}
		l.done(r, func() { r.move.prepared = true })
		return nil
	}
}

func (l *leader) handOver(r *row) step {
	from, target := r.primary, r.target
	request := &pb.PrepareDropShardRequest{Command: command(r, from, r.move.order), To: l.peer(target), DeadlineMs: (commandTimeout / 2).Milliseconds()}
	return func(ctx context.Context) error {
		busy := false
		err := l.order(ctx, r, from, "PrepareDropShard", func(ctx context.Context, host client) error {
			answer, err := host.PrepareDropShard(ctx, request)
			busy = answer.GetBusy()
			return err
		})
		if err != nil {
			return err
		}
		l.done(r, func() {
			if busy {
				r.move.aborting = true
				return
			}
			r.primary, r.granted, r.served, r.told = target, r.move.order, false, true
			r.members = slices.DeleteFunc(r.members, func(m member) bool { return m.Holder == target })
			r.target, r.move = Holder{}, moving{}
			if r.wish == target.Server {
				r.wish = ""
			}
			r.leave(from)
		})
		return nil
	}
}

// abort ends a move at its source: it goes on at its term if the hand-over has not begun there, else at a new one once the target has stopped
// (PROTOCOL R10).
func (l *leader) abort(r *row) step {
	from, target, order := r.primary, r.target, r.move.order
	if r.tries >= maxTries {
		l.plane.fence(from, "it does not say whether it handed shard "+r.id+" over")
		return nil
	}
	return func(ctx context.Context) error {
		begun := false
		err := l.order(ctx, r, from, "CancelMove", func(ctx context.Context, host client) error {
			answer, err := host.CancelMove(ctx, &pb.CancelMoveRequest{Command: command(r, from, order)})
			begun = answer.GetBegun()
			return err
		})
		if err != nil {
			return err
		}
		if !begun {
			l.done(r, func() {
				r.leave(target)
				r.target, r.move = Holder{}, moving{}
			})
			return nil
		}
		p := l.plane
		p.mu.Lock()
		over, stop := p.over(target), r.nextMove()
		p.mu.Unlock()
		if !over {
			if err := l.dropAt(ctx, r, target, stop); err != nil {
				return err
			}
		}
		l.done(r, func() { r.grant(from) })
		return nil
	}
}

// drop has somebody drop what has left it.
func (l *leader) drop(r *row) step {
	h := r.leaving[0]
	if r.tries >= maxTries {
		l.plane.fence(h.Holder, "it does not drop shard "+r.id)
	}
	return func(ctx context.Context) error {
		if err := l.dropAt(ctx, r, h.Holder, h.order); err != nil && !sdktest.IsStale(errors.Unwrap(err)) {
			return err
		}
		l.done(r, func() { r.leaving = slices.DeleteFunc(r.leaving, func(other leaver) bool { return other == h }) })
		return nil
	}
}

// secondaries brings a shard its secondaries: who is lost leaves the row before the primary hears of it, who is new counts as in sync once the primary
// has said so.
func (l *leader) secondaries(r *row) step {
	p := l.plane
	for i := range r.members {
		if m := r.members[i]; p.lost(m.Holder) || p.drained[m.Server] {
			r.members, r.told = slices.Delete(r.members, i, i+1), false
			r.leave(m.Holder)
			break
		}
	}
	if !r.told {
		return l.tell(r)
	}
	for i := range r.members {
		if !r.members[i].added {
			return l.follow(r, r.members[i].Holder)
		}
	}
	if len(r.members) < p.cfg.Secondaries {
		if to, found := p.choose(r, func(h Holder) bool { return r.member(h) == nil }); found {
			r.members = append(r.members, member{Holder: to})
			return l.follow(r, to)
		}
	}
	return nil
}

func (l *leader) tell(r *row) step {
	primary, members := r.primary, l.membersOf(r, r.primary)
	request := &pb.UpdateMembershipRequest{Command: command(r, primary, shard.Order{Term: r.granted.Term, Move: r.nextMove().Move}), Members: members}
	return func(ctx context.Context) error {
		err := l.order(ctx, r, primary, "UpdateMembership", func(ctx context.Context, host client) error {
			_, err := host.UpdateMembership(ctx, request)
			return err
		})
		if err != nil {
			return err
		}
		l.done(r, func() {
			r.told = true
			for i := range r.members {
				r.members[i].inSync = r.members[i].added
			}
		})
		return nil
	}
}

// follow makes a holder a secondary.
func (l *leader) follow(r *row, to Holder) step {
	request := &pb.AddShardRequest{Command: command(r, to, r.nextMove()), Role: pb.Role_ROLE_SECONDARY, Primary: l.peer(r.primary)}
	return func(ctx context.Context) error {
		err := l.order(ctx, r, to, "AddShard as a secondary", func(ctx context.Context, host client) error {
			_, err := host.AddShard(ctx, request)
			return err
		})
		if err != nil {
			return err
		}
		l.done(r, func() {
			r.told = false
			if m := r.member(to); m != nil {
				m.added = true
			}
		})
		return nil
	}
}
