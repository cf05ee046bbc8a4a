package rollout

import (
	"context"
	"fmt"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// moves counts how often each shard moved since the first look.
type moves struct {
	seen  map[string]bool // finished moves, by shard and order
	count map[string]int  // by shard
	begun bool
	lost  bool // some finished between two looks that the leader remembers no more
}

// look adds what was finished since the last one.
func (m *moves) look(ctx context.Context, s shell.Shell, app string) error {
	answer, err := shell.Leader(ctx, s, shardmanagerv1connect.AdminServiceClient.ListMoves, &pb.ListMovesRequest{App: app})
	if err != nil {
		return err
	}
	if m.seen == nil {
		m.seen, m.count = map[string]bool{}, map[string]int{}
	}
	fresh := 0
	for _, f := range answer.GetFinished() {
		key := fmt.Sprint(f.GetApp(), "/", f.GetShard(), " ", f.GetTerm(), " ", f.GetMove())
		if m.seen[key] {
			continue
		}
		m.seen[key] = true
		fresh++
		if m.begun && f.GetFrom() != "" && f.GetStep() == pb.MoveStep_MOVE_STEP_DONE {
			m.count[f.GetApp()+"/"+f.GetShard()]++
		}
	}
	m.lost = m.lost || m.begun && fresh > 0 && fresh == len(answer.GetFinished())
	m.begun = true
	return nil
}

func (m *moves) summary() string {
	total, most := 0, 0
	for _, n := range m.count {
		total += n
		most = max(most, n)
	}
	if total == 0 {
		return "no shard moved"
	}
	text := fmt.Sprintf("%d shards moved, %.2f times each, %d at most", len(m.count), float64(total)/float64(len(m.count)), most)
	if m.lost {
		text = "at least " + text
	}
	return text
}
