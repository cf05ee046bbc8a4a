package fleet

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Watch follows the shard map as any router does, and counts how often each shard's primary moved.
type Watch struct {
	follower *mapfeed.Follower
	replicas int

	mu      sync.Mutex
	current *shard.Map
	last    []shard.ServerID // by shard: the last primary that it had
	moves   []int            // by shard
}

func newWatch(addresses []string, shards, replicas int) (*Watch, error) {
	w := &Watch{replicas: replicas, last: make([]shard.ServerID, shards), moves: make([]int, shards)}
	var err error
	w.follower, err = mapfeed.NewFollower(mapfeed.FollowerConfig{App: app, Cluster: cluster, Addresses: addresses}, func(u mapfeed.Update) { w.take(u.Map) }, nil)
	return w, err
}

func (w *Watch) take(m *shard.Map) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = m
	for i := range w.last {
		s, _ := m.Lookup(shard.Index(i))
		if s == nil {
			continue
		}
		if w.last[i] != "" && w.last[i] != s.ID {
			w.moves[i]++
		}
		w.last[i] = s.ID
	}
}

// Moves is how many shards moved since reset, how often in all, and how often the one that moved most.
func (w *Watch) Moves() (shards, total, most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.moves {
		total, most = total+n, max(most, n)
		if n > 0 {
			shards++
		}
	}
	return shards, total, most
}

func (w *Watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.moves)
}

// Count adds up something of every server for each replica that it has. primary: it is one.
func (w *Watch) Count(each func(index int, server string, primary bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return
	}
	for i := range w.last {
		if s, _ := w.current.Lookup(shard.Index(i)); s != nil {
			each(i, string(s.ID), true)
		}
		for k := range w.replicas - 1 {
			if s := w.current.Secondary(shard.Index(i), k); s != nil {
				each(i, string(s.ID), false)
			}
		}
	}
}

// placed fails while a replica is missing.
func (w *Watch) placed(context.Context) error {
	n := 0
	w.Count(func(int, string, bool) { n++ })
	if want := len(w.last) * w.replicas; n < want {
		return fmt.Errorf("%d of %d replicas are placed", n, want)
	}
	return nil
}

// Reasons follows what the leader says of moves that are over, until ctx ends, and counts them by reason. Those by which shards left a server that was
// replaced already are hops.
func (f *Fleet) Reasons(ctx context.Context, every time.Duration) (reasons map[string]int, hops int) {
	reasons = map[string]int{}
	seen, begun := map[string]bool{}, false
	for {
		answer, err := operator.Leader(ctx, f.Operator, shardmanagerv1connect.AdminServiceClient.ListMoves, &pb.ListMovesRequest{App: app})
		replaced := map[string]bool{}
		for _, s := range f.Servers() {
			replaced[s.ID()] = s.Upgraded()
		}
		for _, m := range answer.GetFinished() {
			key := fmt.Sprint(m.GetShard(), " ", m.GetTerm(), " ", m.GetMove())
			if err != nil || seen[key] {
				continue
			}
			seen[key] = true
			if !begun || m.GetStep() != pb.MoveStep_MOVE_STEP_DONE {
				continue
			}
			reasons[strings.ToLower(strings.TrimPrefix(m.GetReason().String(), "MOVE_REASON_"))]++
			if replaced[m.GetFrom()] {
				hops++
			}
		}
		begun = begun || err == nil
		if !clock.Pause(ctx, every) {
			return reasons, hops
		}
	}
}
