package sdk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/record"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// service is ShardHostService: it decodes, checks and types errors; what is done is in host_commands.go.
type service struct{ host *Host }

// adoptWait is how long a command for an incarnation that is still being registered waits for it: the agent may be faster than its
// own answer.
const adoptWait = 2 * time.Second

// orderOf checks a command's fields.
func (h *Host) orderOf(c *pb.ShardCommand) (shard.Order, error) {
	switch {
	case c.GetApp() != h.app:
		return shard.Order{}, invalid("command.app", fmt.Sprintf("%q, not %q", h.app, c.GetApp()))
	case c.GetShard() == "":
		return shard.Order{}, invalid("command.shard", "the id of a shard")
	case c.GetTerm() == 0 || c.GetMove() == 0:
		return shard.Order{}, invalid("command.term, command.move", "numbers from 1")
	}
	return shard.Order{Term: shard.Term(c.GetTerm()), Move: shard.MoveID(c.GetMove())}, nil
}

// lifeOf finds the life that a command is for; STALE for any other than the present one.
func (h *Host) lifeOf(ctx context.Context, incarnation shard.Incarnation) (*life, error) {
	timeout := time.NewTimer(adoptWait)
	defer timeout.Stop()
	for {
		h.mu.Lock()
		adopting := h.adopting
		h.mu.Unlock()
		if l := h.life.Load(); l != nil && l.incarnation == incarnation && !l.over() {
			return l, nil
		}
		if adopting == nil {
			return nil, stale("command.incarnation", "the present incarnation of this server, not "+incarnation.String())
		}
		select {
		case <-adopting:
		case <-timeout.C:
			return nil, stale("command.incarnation", "an incarnation that this server was told of, not "+incarnation.String())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// command runs one command in its shard's turn. do is called if it is to be taken; one that was done before is answered again.
func (h *Host) command(ctx context.Context, kind record.Command, c *pb.ShardCommand, do func(*replica, shard.Order) error) error {
	o, err := h.orderOf(c)
	if err != nil {
		return err
	}
	l, err := h.lifeOf(ctx, shard.Incarnation(c.GetIncarnation()))
	if err != nil {
		return err
	}
	r := l.obtain(c.GetShard())
	if r == nil {
		return stale("command.incarnation", "an incarnation that has not ended")
	}
	r.supersede(o)
	if err := r.acquire(ctx); err != nil {
		return fmt.Errorf("shard %s: an earlier command still runs: %w", r.id, err)
	}
	defer r.release()
	if l.over() {
		return stale("command.incarnation", "an incarnation that has not ended")
	}
	r.mu.Lock()
	said, known := r.record.Judge(kind, o), r.record
	if said == record.Take {
		r.record.Accept(kind, o)
	}
	r.mu.Unlock()
	switch said {
	case record.Done:
		return nil
	case record.Take:
		if err := do(r, o); err != nil {
			return err
		}
		r.mu.Lock()
		r.record.Complete()
		r.mu.Unlock()
		h.logger.DebugContext(ctx, "command done", "shard", r.id, "command", kind.String(), "order", o.String())
		return nil
	case record.Refuse:
	}
	return stale("shard "+r.id, fmt.Sprintf("%s above %s in phase %s, not %s", kind, known.Max, known.Phase, o))
}

func stale(subject, expected string) error {
	return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE, subject, expected, "")
}

func invalid(subject, expected string) error {
	return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, subject, expected, "")
}

func unsupported(subject, expected string) error {
	return wire.Error(connect.CodeUnimplemented, pb.ErrorReason_ERROR_REASON_UNSUPPORTED, subject, expected, "")
}

// typed gives an error its Connect code.
func typed(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, errLifeOver):
		return stale("command.incarnation", "an incarnation that has not ended")
	}
	return connect.NewError(connect.CodeUnknown, err)
}

func (s *service) AddShard(ctx context.Context, req *pb.AddShardRequest) (*pb.AddShardResponse, error) {
	h := s.host
	members, err := membersOf(req.GetMembers())
	if err != nil {
		return nil, err
	}
	switch req.GetRole() {
	case pb.Role_ROLE_PRIMARY:
		err = h.command(ctx, record.Add, req.GetCommand(), func(r *replica, o shard.Order) error { return h.addShard(ctx, r, o, members) })
	case pb.Role_ROLE_SECONDARY:
		if !h.replicates() {
			return nil, unsupported("role", "ROLE_PRIMARY: this application has not both of the callbacks ChangeRole and UpdateMembership")
		}
		primary := wire.PeerFromProto(req.GetPrimary())
		err = h.command(ctx, record.Follow, req.GetCommand(), func(r *replica, o shard.Order) error { return h.follow(ctx, r, o, primary) })
	default:
		return nil, unsupported("role "+req.GetRole().String(), "ROLE_PRIMARY or ROLE_SECONDARY")
	}
	return &pb.AddShardResponse{}, typed(err)
}

func (s *service) DropShard(ctx context.Context, req *pb.DropShardRequest) (*pb.DropShardResponse, error) {
	err := s.host.command(ctx, record.Drop, req.GetCommand(), func(r *replica, o shard.Order) error {
		return s.host.retire(ctx, r, o, dropPatience)
	})
	return &pb.DropShardResponse{}, typed(err)
}

func (s *service) PrepareAddShard(ctx context.Context, req *pb.PrepareAddShardRequest) (*pb.PrepareAddShardResponse, error) {
	members, err := membersOf(req.GetMembers())
	if err != nil {
		return nil, err
	}
	err = s.host.command(ctx, record.PrepareAdd, req.GetCommand(), func(r *replica, o shard.Order) error {
		return s.host.prepareAdd(ctx, r, o, wire.PeerFromProto(req.GetFrom()), members)
	})
	return &pb.PrepareAddShardResponse{}, typed(err)
}

func (s *service) PrepareDropShard(ctx context.Context, req *pb.PrepareDropShardRequest) (*pb.PrepareDropShardResponse, error) {
	to := wire.PeerFromProto(req.GetTo())
	if to.Server == "" || to.DataAddress == "" || to.Incarnation == 0 {
		return nil, invalid("to", "the server, incarnation and data address of the future owner")
	}
	patience := time.Duration(req.GetDeadlineMs()) * time.Millisecond
	if patience <= 0 {
		patience = defaultPatience
	}
	err := s.host.command(ctx, record.PrepareDrop, req.GetCommand(), func(r *replica, o shard.Order) error {
		return s.host.prepareDrop(ctx, r, o, to, patience)
	})
	if errors.Is(err, errStillRunning) {
		return &pb.PrepareDropShardResponse{Busy: true}, nil
	}
	return &pb.PrepareDropShardResponse{}, typed(err)
}

func (s *service) CancelMove(ctx context.Context, req *pb.CancelMoveRequest) (*pb.CancelMoveResponse, error) {
	begun, err := s.host.cancelMove(ctx, req.GetCommand())
	if err != nil {
		return nil, typed(err)
	}
	return &pb.CancelMoveResponse{Begun: begun}, nil
}

func (s *service) Activate(ctx context.Context, req *pb.ActivateRequest) (*pb.ActivateResponse, error) {
	state := req.GetState()
	if len(state) == 0 {
		state = nil
	}
	members, err := membersOf(req.GetMembers())
	if err != nil {
		return nil, err
	}
	err = s.host.command(ctx, record.Activate, req.GetCommand(), func(r *replica, o shard.Order) error {
		return s.host.activate(ctx, r, o, state, members)
	})
	return &pb.ActivateResponse{}, typed(err)
}

func (s *service) CollectLoad(ctx context.Context, _ *pb.CollectLoadRequest) (*pb.CollectLoadResponse, error) {
	loads, err := s.host.collectLoad(ctx)
	if err != nil {
		return nil, typed(err)
	}
	response := &pb.CollectLoadResponse{}
	for _, id := range shard.SortedKeys(loads) {
		response.Loads = append(response.Loads, &pb.CollectedLoad{Shard: id, Load: loads[id]})
	}
	return response, nil
}

func (s *service) EndIncarnation(ctx context.Context, req *pb.EndIncarnationRequest) (*pb.EndIncarnationResponse, error) {
	return &pb.EndIncarnationResponse{}, typed(s.host.endIncarnation(ctx, shard.Incarnation(req.GetIncarnation()), req.GetReason()))
}

func (s *service) Ping(context.Context, *pb.PingRequest) (*pb.PingResponse, error) {
	id, incarnation := s.host.Server()
	return &pb.PingResponse{Server: id, Incarnation: incarnation}, nil
}

// ChangeRole is not how roles change: AddShard says which role to take, whatever was held.
func (s *service) ChangeRole(context.Context, *pb.ChangeRoleRequest) (*pb.ChangeRoleResponse, error) {
	return nil, unsupported("ChangeRole", "AddShard with the role to take")
}

func (s *service) UpdateMembership(ctx context.Context, req *pb.UpdateMembershipRequest) (*pb.UpdateMembershipResponse, error) {
	members, err := membersOf(req.GetMembers())
	if err == nil {
		err = s.host.updateMembership(ctx, req.GetCommand(), members)
	}
	return &pb.UpdateMembershipResponse{}, typed(err)
}
