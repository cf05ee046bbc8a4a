package api

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/gossip"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Gossip is what operators use of the gossip that an allocator takes part in. All but Members wait for the answers of all members.
type Gossip interface {
	Members() []gossip.Member
	ListKeys() (gossip.Keys, error)
	InstallKey(text string) (gossip.Keys, error)
	UseKey(key string) (gossip.Keys, error)
	RemoveKey(key string) (gossip.Keys, error)
}

// member is the leader's part in gossip.
func (a *Admin) member() (Gossip, error) {
	switch {
	case a.node.Leader() == nil:
		return nil, a.notLeader()
	case a.gossip == nil:
		return nil, gossipRefused("gossip_listen", "the leader takes no part in gossip: set it for every allocator, with gossip_join and the cluster's gossip_key_file")
	}
	return a.gossip, nil
}

func gossipRefused(subject, expected string) error {
	return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_GOSSIP, subject, expected, "")
}

// standings orders how the lives of one agent stand: the first counts.
var standings = []gossip.Status{gossip.Alive, gossip.Leaving, gossip.Failed, gossip.Left}

// standing is how each agent stands by gossip: alive if any of its lives is. Whoever is missing is unknown.
func (a *Admin) standing() map[string]pb.GossipStatus {
	of := map[string]pb.GossipStatus{}
	if a.gossip == nil {
		return of
	}
	members := a.gossip.Members()
	for _, status := range standings {
		for _, m := range members {
			if _, known := of[m.Name]; m.Role == gossip.RoleAgent && m.Status == status && !known {
				of[m.Name] = statusToProto(status)
			}
		}
	}
	return of
}

func statusToProto(s gossip.Status) pb.GossipStatus {
	switch s {
	case gossip.Alive:
		return pb.GossipStatus_GOSSIP_STATUS_ALIVE
	case gossip.Leaving:
		return pb.GossipStatus_GOSSIP_STATUS_LEAVING
	case gossip.Left:
		return pb.GossipStatus_GOSSIP_STATUS_LEFT
	case gossip.Failed:
		return pb.GossipStatus_GOSSIP_STATUS_FAILED
	}
	return pb.GossipStatus_GOSSIP_STATUS_UNSPECIFIED
}

// ListGossipMembers implements AdminServiceHandler.
func (a *Admin) ListGossipMembers(context.Context, *pb.ListGossipMembersRequest) (*pb.ListGossipMembersResponse, error) {
	node, err := a.member()
	if err != nil {
		return nil, err
	}
	out := new(pb.ListGossipMembersResponse)
	for _, m := range node.Members() {
		out.Members = append(out.Members, &pb.GossipMember{
			Life: m.Life, Role: string(m.Role), Name: m.Name, Region: m.Region, Zone: m.Zone, Version: m.Version, Address: m.Address,
			Status: statusToProto(m.Status), Apps: m.Apps,
		})
	}
	return out, nil
}

// ListGossipKeys implements AdminServiceHandler.
func (a *Admin) ListGossipKeys(ctx context.Context, _ *pb.ListGossipKeysRequest) (*pb.ListGossipKeysResponse, error) {
	node, err := a.member()
	if err != nil {
		return nil, err
	}
	keys, trouble, err := a.alone(ctx, node.ListKeys)
	if err != nil {
		return nil, err
	}
	out := &pb.ListGossipKeysResponse{Members: count(keys.Members), Answered: count(keys.Answered), Trouble: trouble}
	for _, k := range keys.Keys {
		out.Keys = append(out.Keys, &pb.GossipKey{Name: k.Name, Members: count(k.Members), Primary: count(k.Primary)})
	}
	return out, nil
}

// RotateGossipKey implements AdminServiceHandler.
func (a *Admin) RotateGossipKey(ctx context.Context, req *pb.RotateGossipKeyRequest) (*pb.RotateGossipKeyResponse, error) {
	node, err := a.member()
	if err != nil {
		return nil, err
	}
	steps := map[pb.GossipKeyStep]func(string) (gossip.Keys, error){
		pb.GossipKeyStep_GOSSIP_KEY_STEP_INSTALL: node.InstallKey, pb.GossipKeyStep_GOSSIP_KEY_STEP_USE: node.UseKey, pb.GossipKeyStep_GOSSIP_KEY_STEP_REMOVE: node.RemoveKey,
	}
	step := steps[req.GetStep()]
	if step == nil {
		return nil, invalid(&wire.FieldError{Field: "step", Expected: "to install, use or remove a key"})
	}
	keys, trouble, err := a.alone(ctx, func() (gossip.Keys, error) { return step(req.GetKey()) })
	if err != nil {
		return nil, err
	}
	return &pb.RotateGossipKeyResponse{Key: gossip.KeyName(req.GetKey()), Members: count(keys.Members), Answered: count(keys.Answered), Trouble: trouble}, nil
}

// alone asks the members for their keys while nobody else does. What some of them did not do is trouble; an error means that nothing was done.
func (a *Admin) alone(ctx context.Context, ask func() (gossip.Keys, error)) (keys gossip.Keys, trouble string, err error) {
	select {
	case a.rotating <- struct{}{}:
		defer func() { <-a.rotating }()
	case <-ctx.Done():
		return gossip.Keys{}, "", ctx.Err()
	}
	keys, err = ask()
	switch {
	case err == nil:
		return keys, "", nil
	case keys.Members > 0:
		return keys, said(err), nil
	case errors.Is(err, gossip.ErrBadKey):
		return keys, "", invalid(&wire.FieldError{Field: "key", Expected: "a key of " + gossip.KeyHelp})
	default:
		return keys, "", gossipRefused("", said(err))
	}
}

// said is an error of gossip without its first word, which the reason of a refusal is already.
func said(err error) string { return strings.TrimPrefix(err.Error(), "gossip: ") }
