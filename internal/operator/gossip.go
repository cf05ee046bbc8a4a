package operator

import (
	"context"
	"time"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// gossipTime bounds a call for which all members of gossip are asked, twice at most: a thousand members far apart get half a minute each time.
const gossipTime = 90 * time.Second

// KeysError says that not all members of gossip did what they were asked; the answer of those who did came with it.
type KeysError struct{ Trouble string } // which, for people

func (e *KeysError) Error() string {
	return e.Trouble + ": repeat this until all members answer, before the next step"
}

func keysError(trouble string) error {
	if trouble == "" {
		return nil
	}
	return &KeysError{trouble}
}

// GossipKeys asks all members of gossip for their keys. A *KeysError comes with what was answered.
func (c *Client) GossipKeys(ctx context.Context) (*pb.ListGossipKeysResponse, error) {
	patient := *c
	patient.Within = gossipTime
	answer, err := Leader(ctx, &patient, shardmanagerv1connect.AdminServiceClient.ListGossipKeys, &pb.ListGossipKeysRequest{})
	if err != nil {
		return nil, err
	}
	return answer, keysError(answer.GetTrouble())
}

// RotateGossipKey has all members of gossip take a step of a rotation. A *KeysError comes with what was answered.
func (c *Client) RotateGossipKey(ctx context.Context, step pb.GossipKeyStep, key string) (*pb.RotateGossipKeyResponse, error) {
	patient := *c
	patient.Within = gossipTime
	answer, err := Leader(ctx, &patient, shardmanagerv1connect.AdminServiceClient.RotateGossipKey, &pb.RotateGossipKeyRequest{Step: step, Key: key})
	if err != nil {
		return nil, err
	}
	return answer, keysError(answer.GetTrouble())
}
