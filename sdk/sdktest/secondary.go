package sdktest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Member is a secondary as its primary is told of it.
type Member struct {
	Server *Server
	InSync bool
}

// AddSecondary gives the command AddShard with the role secondary. primary may be nil: there is none at present.
func (s *Server) AddSecondary(ctx context.Context, shardID string, o Order, primary *Server) error {
	request := &pb.AddShardRequest{Command: s.command(shardID, o), Role: pb.Role_ROLE_SECONDARY}
	if primary != nil {
		request.Primary = primary.peer()
	}
	_, err := s.client.AddShard(ctx, request)
	return err
}

// UpdateMembership gives that command.
func (s *Server) UpdateMembership(ctx context.Context, shardID string, o Order, members ...Member) error {
	_, err := s.client.UpdateMembership(ctx, &pb.UpdateMembershipRequest{Command: s.command(shardID, o), Members: membersToProto(members)})
	return err
}

// decide takes the next number for a decision at the present term.
func (c *Cluster) decide(shardID string) row {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rows[shardID]
	r.order.Move++
	c.rows[shardID] = r
	return r
}

func (c *Cluster) setMembers(shardID string, members []Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rows[shardID]
	r.members = members
	c.rows[shardID] = r
}

// others are the members without one server.
func others(members []Member, s *Server) []Member {
	return slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Server == s })
}

// AddSecondary makes s a secondary of the shard, in sync: s is told first, then the primary, and this returns once the primary says that s
// has everything.
func (c *Cluster) AddSecondary(ctx context.Context, shardID string, s *Server) error {
	r := c.decide(shardID)
	if r.owner == nil {
		return fmt.Errorf("add secondary %s of %s: it has no primary", s.Name, shardID)
	}
	if err := s.AddSecondary(ctx, shardID, r.order, r.owner); err != nil {
		return fmt.Errorf("add secondary %s of %s: AddShard: %w", s.Name, shardID, err)
	}
	rest := others(r.members, s)
	if err := r.owner.UpdateMembership(ctx, shardID, r.order, append(rest, Member{Server: s})...); err != nil {
		return fmt.Errorf("add secondary %s of %s: UpdateMembership: %w", s.Name, shardID, err)
	}
	c.setMembers(shardID, append(rest, Member{Server: s, InSync: true}))
	return nil
}

// Exclude takes s off the list of the primary's secondaries, as when it died. It hears of nothing.
func (c *Cluster) Exclude(ctx context.Context, shardID string, s *Server) error {
	r := c.decide(shardID)
	rest := others(r.members, s)
	c.setMembers(shardID, rest) // first: a primary that dies now has no say who follows it
	if err := r.owner.UpdateMembership(ctx, shardID, r.order, rest...); err != nil {
		return fmt.Errorf("exclude %s from %s: UpdateMembership: %w", s.Name, shardID, err)
	}
	return nil
}

// RemoveSecondary takes the shard away from a secondary.
func (c *Cluster) RemoveSecondary(ctx context.Context, shardID string, s *Server) error {
	if err := c.Exclude(ctx, shardID, s); err != nil {
		return err
	}
	if err := s.DropShard(ctx, shardID, c.decide(shardID).order); err != nil {
		return fmt.Errorf("remove %s from %s: DropShard: %w", s.Name, shardID, err)
	}
	return nil
}

// Promote makes a secondary primary at the next term because the primary is gone; that one hears of nothing.
func (c *Cluster) Promote(ctx context.Context, shardID string, s *Server) error {
	members := others(c.members(shardID), s)
	o, _ := c.next(shardID)
	c.setMembers(shardID, members)
	if err := s.Activate(ctx, shardID, o, nil, members...); err != nil {
		return fmt.Errorf("promote %s to primary of %s: Activate: %w", s.Name, shardID, err)
	}
	if err := s.AddShard(ctx, shardID, o, members...); err != nil {
		return fmt.Errorf("promote %s to primary of %s: AddShard: %w", s.Name, shardID, err)
	}
	c.own(shardID, s)
	return nil
}

// Switch moves the primary to one of its secondaries, and makes the primary before a secondary of that.
func (c *Cluster) Switch(ctx context.Context, shardID string, to *Server) error {
	members := others(c.members(shardID), to)
	o, from := c.next(shardID)
	if from == nil {
		return fmt.Errorf("switch %s to %s: nobody owns it", shardID, to.Name)
	}
	if err := to.PrepareAddShard(ctx, shardID, o, from, members...); err != nil {
		return fmt.Errorf("switch %s to %s: PrepareAddShard: %w", shardID, to.Name, err)
	}
	busy, err := from.PrepareDropShard(ctx, shardID, o, to, callTimeout)
	if err == nil && busy {
		err = errors.New("busy")
	}
	if err != nil {
		return fmt.Errorf("switch %s to %s: PrepareDropShard: %w", shardID, to.Name, err)
	}
	if err := to.AddShard(ctx, shardID, o, members...); err != nil {
		return fmt.Errorf("switch %s to %s: AddShard: %w", shardID, to.Name, err)
	}
	c.own(shardID, to)
	c.setMembers(shardID, members)
	return c.AddSecondary(ctx, shardID, from)
}

func (c *Cluster) members(shardID string) []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows[shardID].members
}
