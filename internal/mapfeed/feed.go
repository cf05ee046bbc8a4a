package mapfeed

import (
	"sort"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Limits of one app's history. A watcher that is further behind gets the whole map, which is then the smaller answer.
const (
	maxFrames       = 512
	maxFrameEntries = 1 << 17
	// snapshotReuse is how many deltas may follow a snapshot before the next new watcher has it encoded afresh.
	snapshotReuse = 64
)

// feed is one app's map and its recent history. The Hub's lock guards it; frames and messages never change once made.
type feed struct {
	current *shard.Map // nil: the app was removed, and the feed is dead
	frames  []*frame   // consecutive: each begins where the one before ended, and the last one ends at current
	entries int        // changed shards in all frames
	whole   *message   // last snapshot encoded, nil: none
	heard   time.Time  // when it was up to date, last; zero: not known
	changed chan struct{}
}

// frame is one delta of the history.
type frame struct {
	delta   shard.Delta
	message *message
}

// message is a WatchResponse that is encoded once, by the first watcher that needs it, and copied for all others.
type message struct {
	version shard.Version // after it was applied
	plain   func() *pb.WatchResponse
	packed  func() *pb.WatchResponse
}

func newMessage(version shard.Version, plain func() *pb.WatchResponse) *message {
	return &message{version: version, plain: plain, packed: sync.OnceValue(func() *pb.WatchResponse { return pack(plain()) })}
}

// pack returns a message whose encoding is that of m, ready made: the bytes travel as fields that protobuf does not know and therefore
// copies as they are. Only the binary codec does that; JSON needs the plain message.
func pack(m *pb.WatchResponse) *pb.WatchResponse {
	encoded, err := proto.Marshal(m)
	if err != nil {
		return m // the codec will find and report the same error
	}
	packed := new(pb.WatchResponse)
	packed.ProtoReflect().SetUnknown(encoded)
	return packed
}

func snapshotMessage(m *shard.Map) *message {
	return newMessage(m.Version, func() *pb.WatchResponse {
		return &pb.WatchResponse{Message: &pb.WatchResponse_Snapshot{Snapshot: wire.SnapshotToProto(m)}}
	})
}

func newFrame(d shard.Delta) *frame {
	return &frame{delta: d, message: newMessage(d.Version, func() *pb.WatchResponse {
		return &pb.WatchResponse{Message: &pb.WatchResponse_Delta{Delta: wire.DeltaToProto(d)}}
	})}
}

// replace makes m the map; what came before cannot be caught up with.
func (f *feed) replace(m *shard.Map) {
	f.current, f.frames, f.entries, f.whole = m, nil, 0, nil
	f.wake()
}

// extend makes m the map, which follows the present one by d.
func (f *feed) extend(m *shard.Map, d shard.Delta) {
	f.current = m
	f.frames = append(f.frames, newFrame(d))
	f.entries += len(d.Shards)
	for len(f.frames) > maxFrames || (f.entries > maxFrameEntries && len(f.frames) > 1) {
		f.entries -= len(f.frames[0].delta.Shards)
		f.frames = f.frames[1:] // readers may hold the old slice: its elements stay as they are
	}
	f.wake()
}

func (f *feed) end() {
	f.current = nil
	f.wake()
}

func (f *feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// after lists the frames that lead from version v to the present one; false if v is none or not in the history.
func (f *feed) after(v shard.Version) ([]*frame, bool) {
	if v == (shard.Version{}) {
		return nil, false
	}
	if v.Compare(f.current.Version) == 0 {
		return nil, true
	}
	at := sort.Search(len(f.frames), func(i int) bool { return f.frames[i].delta.Base.Compare(v) >= 0 })
	if at == len(f.frames) || f.frames[at].delta.Base.Compare(v) != 0 {
		return nil, false
	}
	return f.frames[at:], true
}

// snapshot is a recent whole map, encoded once for many; the frames after its version lead to the present.
func (f *feed) snapshot() *message {
	if f.whole != nil {
		if rest, ok := f.after(f.whole.version); ok && len(rest) <= snapshotReuse {
			return f.whole
		}
	}
	f.whole = snapshotMessage(f.current)
	return f.whole
}
