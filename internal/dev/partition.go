package dev

import (
	"context"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/relay"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// partialPartition parts the agents of two servers from every allocator, while the store, other agents and clients reach them: they renew
// through the store and serve on, and nobody takes their shards. Once with connections that fall silent, once with ones that are reset.
func partialPartition(ctx context.Context, s *stage) error {
	for i := range s.times(partitionTrials) {
		cut := []relay.Cut{relay.Silent, relay.Refused}[i%2]
		victims := s.apart()
		err := s.parted(ctx, victims, cut)
		for _, v := range victims {
			s.network.Set(agentOf(v.place), relay.Healthy)
		}
		if err != nil {
			return err
		}
		began := time.Now()
		s.event("healed")
		if err := s.rest(ctx); err != nil {
			return err
		}
		s.awaited(began)
	}
	return nil
}

// apart picks two servers of different regions: the fullest, and the fullest elsewhere.
func (s *stage) apart() []*server {
	of, _ := s.watch.ShardsOf()
	first := s.fullest()
	var second *server
	for _, v := range s.servers {
		if v.place.Region != first.place.Region && (second == nil || of[v.place.ID()] > of[second.place.ID()]) {
			second = v
		}
	}
	return []*server{first, second}
}

// parted cuts agents off for a while and watches that the leader notices and that their servers keep shards.
func (s *stage) parted(ctx context.Context, victims []*server, cut relay.Cut) error {
	heal := time.Now().Add(partitionLength)
	for _, v := range victims {
		s.event("the agent of %s no longer reaches any allocator (%v) for %v", v.place.ID(), cut, partitionLength)
		s.network.Set(agentOf(v.place), cut)
	}
	if err := clock.Await(ctx, partitionLength, "the leader to miss them", s.missed(victims)); err != nil {
		return err
	}
	s.event("the leader misses them")
	if err := clock.Sleep(ctx, time.Until(heal)); err != nil {
		return err
	}
	of, _ := s.watch.ShardsOf()
	for _, v := range victims {
		if of[v.place.ID()] == 0 {
			s.broke("%s lost its shards although it could renew through the store", v.place.ID())
		}
	}
	return nil
}

// missed fails while the leader believes that a server is attached.
func (s *stage) missed(victims []*server) func(context.Context) error {
	return func(ctx context.Context) error {
		servers, err := s.admins.Servers(ctx)
		if err != nil {
			return err
		}
		for _, status := range servers {
			for _, v := range victims {
				if status.GetServer().GetId() == v.place.ID() && status.GetState() == pb.ServerState_SERVER_STATE_ATTACHED {
					return fmt.Errorf("%s is attached", v.place.ID())
				}
			}
		}
		return nil
	}
}
