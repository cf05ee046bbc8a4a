package storage

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// owners numbers the servers that a chunk's rows name, from 1.
type owners struct {
	list []*pb.ChunkServer
	at   map[ledger.Owner]uint32
}

func (o *owners) position(owner ledger.Owner) uint32 {
	if owner == (ledger.Owner{}) {
		return 0
	}
	if at, ok := o.at[owner]; ok {
		return at
	}
	o.list = append(o.list, &pb.ChunkServer{Id: string(owner.Server), Incarnation: uint64(owner.Incarnation)})
	at := uint32(len(o.list))
	o.at[owner] = at
	return at
}

// chunkToProto turns rows into columns.
func chunkToProto(rows []ledger.Row) *pb.AssignmentChunk {
	names := owners{at: map[ledger.Owner]uint32{}}
	chunk := &pb.AssignmentChunk{
		Terms: make([]uint64, len(rows)), Moves: make([]uint64, len(rows)),
		Primaries: make([]uint32, len(rows)), PrimaryTerms: make([]uint64, len(rows)),
	}
	for i, row := range rows {
		chunk.Terms[i], chunk.Moves[i] = uint64(row.Term), uint64(row.Move)
		chunk.Primaries[i], chunk.PrimaryTerms[i] = names.position(row.Primary), uint64(row.PrimaryTerm)
		if row.Open == nil {
			continue
		}
		chunk.Open = append(chunk.Open, &pb.ChunkMove{
			Row: uint32(i), Move: uint64(row.Open.Move), Term: uint64(row.Open.Term),
			From: names.position(row.Open.From), To: names.position(row.Open.To),
			Reason: pb.MoveReason(row.Open.Reason), Phase: uint32(row.Open.Phase), Stays: row.Open.Stays,
		})
	}
	secondariesToProto(chunk, rows, &names)
	namesToProto(chunk, rows)
	chunk.Servers = names.list
	return chunk
}

// secondariesToProto adds the columns of secondaries, if there are any.
func secondariesToProto(chunk *pb.AssignmentChunk, rows []ledger.Row, names *owners) {
	for i, row := range rows {
		if len(row.Secondaries) == 0 && row.MembersMove == 0 {
			continue
		}
		if chunk.SecondaryCounts == nil {
			chunk.SecondaryCounts, chunk.MembersMoves = make([]uint32, len(rows)), make([]uint64, len(rows))
		}
		chunk.SecondaryCounts[i], chunk.MembersMoves[i] = uint32(len(row.Secondaries)), uint64(row.MembersMove)
		for _, s := range row.Secondaries {
			chunk.Secondaries = append(chunk.Secondaries, names.position(s.Owner))
			chunk.SecondaryTerms = append(chunk.SecondaryTerms, uint64(s.Order.Term))
			chunk.SecondaryMoves = append(chunk.SecondaryMoves, uint64(s.Order.Move))
			chunk.SecondaryStates = append(chunk.SecondaryStates, uint32(s.State))
			chunk.SecondaryReplaces = append(chunk.SecondaryReplaces, names.position(s.Replaces))
		}
	}
}

// secondariesFromProto fills in the secondaries of rows.
func secondariesFromProto(chunk *pb.AssignmentChunk, rows []ledger.Row) error {
	n := len(chunk.Secondaries)
	if len(chunk.SecondaryTerms) != n || len(chunk.SecondaryMoves) != n || len(chunk.SecondaryStates) != n || len(chunk.SecondaryReplaces) != n {
		return fmt.Errorf("secondaries: columns of %d, %d, %d, %d and %d: expected as many in each", n, len(chunk.SecondaryTerms),
			len(chunk.SecondaryMoves), len(chunk.SecondaryStates), len(chunk.SecondaryReplaces))
	}
	counts := len(chunk.SecondaryCounts)
	if counts != len(chunk.MembersMoves) || counts != len(rows) && (n > 0 || counts > 0) {
		return fmt.Errorf("secondaries: counts of %d and memberships of %d rows of %d", counts, len(chunk.MembersMoves), len(rows))
	}
	next := 0
	for i, count := range chunk.SecondaryCounts {
		rows[i].MembersMove = shard.MoveID(chunk.MembersMoves[i])
		if rows[i].MembersMove > rows[i].Move {
			return fmt.Errorf("row %d: membership of move %d above the highest, %d", i, rows[i].MembersMove, rows[i].Move)
		}
		if uint64(count) > uint64(n-next) {
			return fmt.Errorf("row %d: %d secondaries: %d are left", i, count, n-next)
		}
		for range count {
			s, err := secondaryAt(chunk, next, rows[i])
			if err != nil {
				return fmt.Errorf("row %d: secondary: %w", i, err)
			}
			rows[i].Secondaries = append(rows[i].Secondaries, s)
			next++
		}
	}
	if next != n {
		return fmt.Errorf("secondaries: %d belong to no row", n-next)
	}
	return nil
}

func secondaryAt(chunk *pb.AssignmentChunk, at int, row ledger.Row) (ledger.Secondary, error) {
	owner, err := ownerAt(chunk, chunk.Secondaries[at])
	if err != nil {
		return ledger.Secondary{}, err
	}
	replaces, err := ownerAt(chunk, chunk.SecondaryReplaces[at])
	if err != nil {
		return ledger.Secondary{}, fmt.Errorf("replaces: %w", err)
	}
	s := ledger.Secondary{Owner: owner, Replaces: replaces, State: ledger.SecondaryState(chunk.SecondaryStates[at]),
		Order: shard.Order{Term: shard.Term(chunk.SecondaryTerms[at]), Move: shard.MoveID(chunk.SecondaryMoves[at])}}
	switch {
	case owner == ledger.Owner{}:
		return s, fmt.Errorf("server 0: expected one")
	case chunk.SecondaryStates[at] < uint32(ledger.Joining) || chunk.SecondaryStates[at] > uint32(ledger.Leaving):
		return s, fmt.Errorf("state %d: expected 1 to %d", chunk.SecondaryStates[at], ledger.Leaving)
	case s.Order.Term > row.Term || s.Order.Move > row.Move:
		return s, fmt.Errorf("order %s above the row's highest, %s", s.Order, shard.Order{Term: row.Term, Move: row.Move})
	}
	return s, nil
}

// rowsFromProto turns columns back into rows, and fails where they contradict each other: such a chunk was not written by a ledger.
func rowsFromProto(chunk *pb.AssignmentChunk) ([]ledger.Row, error) {
	n := len(chunk.Terms)
	if len(chunk.Moves) != n || len(chunk.Primaries) != n || len(chunk.PrimaryTerms) != n || n > ledger.ChunkShards {
		return nil, fmt.Errorf("columns of %d, %d, %d and %d rows: expected as many in each, at most %d",
			n, len(chunk.Moves), len(chunk.Primaries), len(chunk.PrimaryTerms), ledger.ChunkShards)
	}
	rows := make([]ledger.Row, n)
	for i := range rows {
		primary, err := ownerAt(chunk, chunk.Primaries[i])
		if err != nil {
			return nil, fmt.Errorf("row %d: primary: %w", i, err)
		}
		if chunk.PrimaryTerms[i] > chunk.Terms[i] {
			return nil, fmt.Errorf("row %d: primary's term %d above the highest, %d", i, chunk.PrimaryTerms[i], chunk.Terms[i])
		}
		rows[i] = ledger.Row{
			Term: shard.Term(chunk.Terms[i]), Move: shard.MoveID(chunk.Moves[i]), Primary: primary, PrimaryTerm: shard.Term(chunk.PrimaryTerms[i]),
		}
	}
	for _, open := range chunk.Open {
		if uint64(open.Row) >= uint64(n) {
			return nil, fmt.Errorf("open move in row %d of %d", open.Row, n)
		}
		move, err := moveFromProto(chunk, open)
		if err != nil {
			return nil, fmt.Errorf("row %d: open move: %w", open.Row, err)
		}
		rows[open.Row].Open = move
	}
	if err := secondariesFromProto(chunk, rows); err != nil {
		return nil, err
	}
	if err := namesFromProto(chunk, rows); err != nil {
		return nil, err
	}
	return rows, nil
}

func moveFromProto(chunk *pb.AssignmentChunk, open *pb.ChunkMove) (*ledger.OpenMove, error) {
	phase := ledger.MovePhase(open.Phase)
	if open.Phase < uint32(ledger.Opened) || open.Phase > uint32(ledger.Moved) {
		return nil, fmt.Errorf("phase %d: expected 1 to %d", open.Phase, ledger.Moved)
	}
	reason := placement.Reason(open.Reason)
	if reason < placement.Place || reason > placement.Replicas {
		return nil, fmt.Errorf("reason %d: expected 1 to %d", open.Reason, placement.Replicas)
	}
	if open.Term > chunk.Terms[open.Row] || open.Move > chunk.Moves[open.Row] {
		return nil, fmt.Errorf("order %d/%d above the row's highest, %d/%d", open.Term, open.Move, chunk.Terms[open.Row], chunk.Moves[open.Row])
	}
	from, err := ownerAt(chunk, open.From)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	to, err := ownerAt(chunk, open.To)
	if err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	return &ledger.OpenMove{
		Move: shard.MoveID(open.Move), Term: shard.Term(open.Term), From: from, To: to, Reason: reason, Phase: phase, Stays: open.Stays,
	}, nil
}

func ownerAt(chunk *pb.AssignmentChunk, position uint32) (ledger.Owner, error) {
	if position == 0 {
		return ledger.Owner{}, nil
	}
	if uint64(position) > uint64(len(chunk.Servers)) {
		return ledger.Owner{}, fmt.Errorf("server %d of %d", position, len(chunk.Servers))
	}
	s := chunk.Servers[position-1]
	return ledger.Owner{Server: shard.ServerID(s.GetId()), Incarnation: shard.Incarnation(s.GetIncarnation())}, nil
}

// namesToProto adds the ids of a named key space, if the rows have any.
func namesToProto(chunk *pb.AssignmentChunk, rows []ledger.Row) {
	for i, row := range rows {
		if row.ID == "" {
			continue
		}
		if chunk.Ids == nil {
			chunk.Ids = make([]string, len(rows))
		}
		if chunk.Ids[i] = string(row.ID); row.Deleting {
			chunk.Deleting = append(chunk.Deleting, uint32(i))
		}
	}
}

// namesFromProto fills in the ids of a named key space.
func namesFromProto(chunk *pb.AssignmentChunk, rows []ledger.Row) error {
	if n := len(chunk.Ids); n > 0 && n != len(rows) {
		return fmt.Errorf("ids of %d rows of %d", n, len(rows))
	}
	for i, id := range chunk.Ids {
		rows[i].ID = shard.ID(id)
	}
	for _, i := range chunk.Deleting {
		if uint64(i) >= uint64(len(rows)) || rows[i].ID == "" {
			return fmt.Errorf("row %d of %d is being deleted, and has no shard", i, len(rows))
		}
		rows[i].Deleting = true
	}
	return nil
}
