package snapshot

import (
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Summary reads all values, as a leader would that begins, and counts.
func (s *Snapshot) Summary() (*pb.SnapshotSummary, error) {
	keys := storage.NewKeys(s.Header.GetCluster(), s.Header.GetGroup())
	loaded, err := keys.Load(s.Entries)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	out := &pb.SnapshotSummary{
		Header: s.Header, Entries: uint64(len(s.Entries)), Sha256: fmt.Sprintf("%x", s.Sum), Servers: uint32(len(loaded.Registered)), Drains: uint32(len(loaded.Drains)), //nolint:gosec // fewer than entries
		Fences: uint32(len(loaded.Fences)), Probations: uint32(len(loaded.Probations)), Quarantined: uint32(len(loaded.Quarantines)), Maintenance: uint32(len(loaded.Events)), //nolint:gosec // likewise
	}
	for _, e := range s.Entries {
		if record := new(pb.GenerationRecord); e.Key == keys.Generation() && wire.Decode(e.Value, record) == nil {
			out.Generation = record.GetGeneration()
		}
		out.Bytes += uint64(len(e.Key) + len(e.Value))
		out.Index = max(out.Index, uint64(e.Modify))
		if rest, ok := strings.CutPrefix(e.Key, keys.Root()+"g/"); ok && !strings.HasPrefix(rest, s.Header.GetGroup()+"/") {
			out.OtherGroups++
		}
	}
	leader, sequence := new(pb.LeaderRecord), new(pb.SequenceRecord)
	if loaded.Leader.Key != "" && wire.Decode(loaded.Leader.Value, leader) == nil { // Load read it already
		out.Leader = leader.GetAllocator()
	}
	if loaded.Sequence.Key != "" && wire.Decode(loaded.Sequence.Value, sequence) == nil { // likewise
		out.Epoch = sequence.GetEpoch()
	}
	for _, problem := range loaded.Unreadable {
		out.Unreadable = append(out.Unreadable, problem.Error())
	}
	for _, app := range loaded.Apps {
		a := summaryOf(app)
		out.Apps = append(out.Apps, a)
		out.Generation = max(out.Generation, shard.Term(a.GetTerm()).Generation())
	}
	return out, nil
}

func summaryOf(app ledger.AppState) *pb.SnapshotApp {
	out := &pb.SnapshotApp{Name: string(app.Spec.Name), ResourceVersion: app.Spec.ResourceVersion, Shards: app.Spec.Space.Hash.Shards}
	for _, r := range app.Rows {
		if app.Spec.Space.Named && r.ID != "" {
			out.Shards++
		}
		if r.Primary.Server != "" {
			out.Primaries++
		}
		if r.Open != nil {
			out.Moves++
		}
		out.Secondaries += uint32(len(r.Secondaries)) //nolint:gosec // a few
		out.Term = max(out.Term, uint64(r.Term))
	}
	return out
}
