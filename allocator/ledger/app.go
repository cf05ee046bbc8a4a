package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/scaling"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// app is one app: its durable rows, and what this leader knows beyond them.
type app struct {
	spec    Spec
	removed bool // to be deleted, for good

	strict shard.Instant // set: a spec that promises one primary is asked for, or being written; the servers have until then to confirm it
	calm   shard.Instant // no lease is out after this that a hand-over did not wait for (PROTOCOL R28)

	rows     []Row // durable, by shard index
	staged   map[shard.Index]Row
	stagedIn map[int][]shard.Index    // by chunk: staged and not in the write under way
	work     map[shard.Index]*work    // shards that are not at rest
	turns    []shard.Index            // of these, those that a tick looks at before it begins anew
	moves    int                      // open moves, durable or staged
	askers   map[shard.Index][]Reply  // to operators who wait until the staged row is durable
	batches  map[shard.Index][]*batch // likewise, with other rows

	unplaced map[shard.Index]bool // may be granted now, to anybody; true: its owner is gone
	thin     int                  // what Ledger.thin counted last
	thinAt   shard.Instant        // and when
	lost     int                  // of unplaced, those whose owner is gone
	avoid    timing.Memory        // servers whose callbacks failed
	left     timing.Memory        // servers that shards were moved away from to even out loads
	loads    load.Book
	scaler   scaling.Scaler
	ids      []shard.ID
	named    map[shard.ID]shard.Index // of a named key space: the shards that there are
	free     []shard.Index            // of a named key space: indexes without a shard

	plan      timing.Planning
	published published
}

func newApp(spec Spec) *app {
	n := spec.Space.Hash.Shards
	a := &app{
		spec: spec, rows: make([]Row, n), staged: map[shard.Index]Row{}, stagedIn: map[int][]shard.Index{},
		work: map[shard.Index]*work{}, unplaced: map[shard.Index]bool{},
		loads: load.NewBook(placement.MetricShards), ids: make([]shard.ID, n),
		askers: map[shard.Index][]Reply{}, named: map[shard.ID]shard.Index{}, batches: map[shard.Index][]*batch{},
	}
	for i := range a.ids {
		a.ids[i] = spec.Space.Hash.ID(shard.Index(i))
	}
	a.setSpec(spec)
	return a
}

func (a *app) setSpec(spec Spec) {
	a.spec, a.strict = spec, shard.Instant{}
	a.loads.Assume(spec.DefaultLoad)
	if spec.Scaling == nil {
		a.scaler.Stop()
	}
}

func (a *app) id(at shard.Index) shard.ID { return a.ids[at] }

func (a *app) chunks() int { return (len(a.rows) + ChunkShards - 1) / ChunkShards }

// chunkRows copies a chunk as it is to be stored, what is staged included.
func (a *app) chunkRows(chunk int) []Row {
	first := chunk * ChunkShards
	rows := append([]Row(nil), a.rows[first:min(first+ChunkShards, len(a.rows))]...)
	for _, at := range a.stagedIn[chunk] {
		rows[int(at)-first] = a.staged[at]
	}
	return rows
}

// setUnplaced notes that a shard may be granted now. lost: it had an owner, which is gone.
func (a *app) setUnplaced(at shard.Index, lost bool) {
	was, known := a.unplaced[at]
	if known && was == lost {
		return
	}
	a.clearUnplaced(at)
	a.unplaced[at] = lost
	if lost {
		a.lost++
	}
}

func (a *app) clearUnplaced(at shard.Index) {
	if a.unplaced[at] {
		a.lost--
	}
	delete(a.unplaced, at)
}

func (l *Ledger) membershipChanged(name shard.App) {
	if a := l.apps[name]; a != nil {
		a.plan.Settle(l.now)
	}
}

func (l *Ledger) joined(name shard.App) {
	if a := l.apps[name]; a != nil {
		a.plan.Settle(l.now)
		a.plan.Joined = l.now
	}
}
