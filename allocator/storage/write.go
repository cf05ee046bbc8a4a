package storage

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/eventspec"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Limits of one transaction of a leader: the store's, less what Guard takes.
const (
	guardOps   = 2
	guardBytes = 4 << 10
	// OpsPerWriteOp is the most operations that an operation of a ledger's write becomes, the deletion of an app aside.
	OpsPerWriteOp = 2
	// MaxWriteOps is the most operations of a ledger's write that are sure to be one transaction, if its bytes let it.
	MaxWriteOps = (coord.MaxTxnOps - guardOps) / OpsPerWriteOp
)

// Indexes remembers at which index each key of the group was last modified; an absent key is at 0. One goroutine uses it at a time.
type Indexes struct{ at map[string]coord.Index }

func newIndexes() *Indexes { return &Indexes{at: map[string]coord.Index{}} }

// Committed takes note that operations were committed at an index.
func (x *Indexes) Committed(ops []coord.Op, index coord.Index) {
	for _, op := range ops {
		switch op.Verb {
		case coord.Set, coord.CAS, coord.Lock, coord.Unlock:
			x.at[op.Key] = index
		case coord.Delete, coord.DeleteCAS:
			delete(x.at, op.Key)
		case coord.CheckSession, coord.CheckIndex, coord.CheckNotExists:
		}
	}
}

// under lists the keys with a prefix, in order.
func (x *Indexes) under(prefix string) []string {
	var keys []string
	for key := range x.at {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Guard is what every transaction of a leader begins with: its session holds the lock, and the sequence key is as it was last seen. The
// sequence number makes the transaction recognisable afterwards (PROTOCOL R12).
func (k Keys) Guard(session coord.SessionID, at coord.Index, epoch shard.Epoch, number uint64) ([]coord.Op, error) {
	value, err := wire.Encode(&pb.SequenceRecord{Epoch: wire.EpochToProto(epoch), Write: number})
	if err != nil {
		return nil, err
	}
	return []coord.Op{
		{Verb: coord.CheckSession, Key: k.Leader(), Session: session},
		{Verb: coord.CAS, Key: k.Sequence(), Value: value, Index: at},
	}, nil
}

// IsServer reports whether a key is a server's.
func (k Keys) IsServer(key string) bool { return strings.HasPrefix(key, k.Servers()) }

// Encode turns a write into the operations of as few transactions as it fits in, in the order in which they must be committed; the guard
// is still to be put before each. The fences are all in the first.
func (k Keys) Encode(x *Indexes, epoch shard.Epoch, ops []ledger.WriteOp) ([][]coord.Op, error) {
	var b batches
	for _, op := range ops {
		if fence, ok := op.(ledger.PutFence); ok {
			if err := k.fence(&b, x, epoch, fence); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if err := k.encode(&b, x, epoch, op); err != nil {
			return nil, err
		}
	}
	return b.done, nil
}

// Split puts operations into as few transactions as they fit in, in their order, with room for what is put before each.
func Split(ops []coord.Op) [][]coord.Op {
	var b batches
	for _, op := range ops {
		b.add(op)
	}
	return b.done
}

func (k Keys) encode(b *batches, x *Indexes, epoch shard.Epoch, op ledger.WriteOp) error {
	switch op := op.(type) {
	case ledger.PutSpec:
		return b.put(x, k.Spec(op.Spec.Name), &pb.AppRecord{Spec: appspec.ToProto(op.Spec)})
	case ledger.RemoveApp:
		b.remove(x, k.Spec(op.App))
		for n := range op.Chunks {
			b.remove(x, k.Chunk(op.App, n))
		}
		for _, key := range x.under(k.Quarantines(op.App)) { // an app of that name may come again
			b.remove(x, key)
		}
		return nil
	case ledger.PutChunk:
		return b.put(x, k.Chunk(op.App, op.Chunk), chunkToProto(op.Rows))
	case ledger.PutFence:
		return nil // all of them went first
	case ledger.PutRest:
		rest := &pb.RestRecord{Incarnation: uint64(op.Rest.Owner.Incarnation), LengthNs: int64(op.Rest.Length)}
		return b.put(x, k.Rest(op.Rest.Owner.Server), rest)
	case ledger.RemoveRest:
		b.remove(x, k.Rest(op.Server))
		return nil
	case ledger.PutDrain:
		if op.On {
			return b.put(x, k.Drain(op.Server), &pb.DrainRecord{Server: string(op.Server)})
		}
		b.remove(x, k.Drain(op.Server))
		return nil
	case ledger.PutMark:
		return k.encodeMark(b, x, op.Row)
	case ledger.PutHeard:
		return b.put(x, k.Generation(), &pb.GenerationRecord{Generation: epoch.Generation, Heard: op.Generation, Reason: op.Why})
	case ledger.PutEvent:
		if op.Row.Gone {
			b.remove(x, k.Event(op.Row.Event.ID))
			return nil
		}
		return b.put(x, k.Event(op.Row.Event.ID), &pb.MaintenanceRecord{Event: eventspec.ToProto(&op.Row.Event)})
	default:
		return fmt.Errorf("encode write: unexpected operation %T", op)
	}
}

func (k Keys) encodeMark(b *batches, x *Indexes, row probation.Row) error {
	switch row := row.(type) {
	case probation.PutProbation:
		p := row.Probation
		return b.put(x, k.Probation(row.Server), &pb.ProbationRecord{
			Server: string(row.Server), Fences: uint32(min(max(p.Fences, 0), math.MaxInt32)), WindowNs: int64(p.Window), LengthNs: int64(p.Length),
			LeftNs: int64(p.Left), Reason: p.Reason,
		})
	case probation.RemoveProbation:
		b.remove(x, k.Probation(row.Server))
		return nil
	case probation.PutQuarantine:
		q := row.Quarantine
		return b.put(x, k.Quarantine(q.App, q.Shard), &pb.QuarantineRecord{App: string(q.App), Shard: string(q.Shard), Reason: q.Why})
	case probation.RemoveQuarantine:
		b.remove(x, k.Quarantine(row.App, row.Shard))
		return nil
	default:
		return fmt.Errorf("encode write: unexpected row %T", row)
	}
}

// fence deletes the server's key, if it shows the fenced incarnation, and stores the fence. An agent writes its key once in an incarnation (PROTOCOL R2), so the
// index of its creation is that of its last change.
func (k Keys) fence(b *batches, x *Indexes, epoch shard.Epoch, op ledger.PutFence) error {
	id := op.Fence.Owner.Server
	server := coord.Op{Verb: coord.CheckNotExists, Key: k.Server(id)}
	if op.Registered != nil {
		server = coord.Op{Verb: coord.DeleteCAS, Key: k.Server(id), Index: coord.Index(op.Registered.Create)}
		if op.Registered.Server.Incarnation != op.Fence.Owner.Incarnation { // its successor's, which stays
			server.Verb = coord.CheckIndex
		}
	}
	put, err := putOp(x, k.Fence(id), &pb.FenceRecord{
		Incarnation: uint64(op.Fence.Owner.Incarnation), Epoch: wire.EpochToProto(epoch), Reason: op.Fence.Reason,
	})
	if err != nil {
		return err
	}
	b.add(server, put)
	return nil
}

// Sweep is the operations that delete leftovers.
func (k Keys) Sweep(x *Indexes, leftovers []string) [][]coord.Op {
	var b batches
	for _, key := range leftovers {
		b.remove(x, key)
	}
	return b.done
}

// batches fills transactions up to the limits. A key that is written again in the same write takes the place of what was there: in a
// transaction each key has one operation, and only the last word counts.
type batches struct {
	done  [][]coord.Op
	bytes int // of the last
	where map[string]place
}

// place of a key's operation.
type place struct{ batch, op int }

// add puts operations that belong together into one transaction.
func (b *batches) add(ops ...coord.Op) {
	size := 0
	for _, op := range ops {
		size += len(op.Key) + len(op.Value)
	}
	last := len(b.done) - 1
	if last < 0 || len(b.done[last])+len(ops) > coord.MaxTxnOps-guardOps || b.bytes+size > coord.MaxTxnBytes-guardBytes {
		b.done, b.bytes = append(b.done, nil), 0
		last++
	}
	if b.where == nil {
		b.where = map[string]place{}
	}
	for i, op := range ops {
		b.where[op.Key] = place{last, len(b.done[last]) + i}
	}
	b.done[last] = append(b.done[last], ops...)
	b.bytes += size
}

// replace puts an operation in the place of the one on its key; false if there is none.
func (b *batches) replace(op coord.Op) bool {
	at, ok := b.where[op.Key]
	if ok {
		b.done[at.batch][at.op] = op
	}
	return ok
}

func (b *batches) put(x *Indexes, key string, m proto.Message) error {
	op, err := putOp(x, key, m)
	if err != nil {
		return err
	}
	if !b.replace(op) {
		b.add(op)
	}
	return nil
}

func putOp(x *Indexes, key string, m proto.Message) (coord.Op, error) {
	value, err := wire.Encode(m)
	if err != nil {
		return coord.Op{}, fmt.Errorf("key %s: %w", key, err)
	}
	return coord.Op{Verb: coord.CAS, Key: key, Value: value, Index: x.at[key]}, nil
}

// remove deletes a key that is there.
func (b *batches) remove(x *Indexes, key string) {
	at, ok := x.at[key]
	if !ok {
		b.replace(coord.Op{Verb: coord.CheckNotExists, Key: key}) // written in this very write, and taken back
		return
	}
	if op := (coord.Op{Verb: coord.DeleteCAS, Key: key, Index: at}); !b.replace(op) {
		b.add(op)
	}
}
