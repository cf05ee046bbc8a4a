package ledger

import (
	"maps"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// app is one app: its durable rows, and what this leader knows beyond them.
type app struct {
	spec    Spec
	removed bool // to be deleted, for good

	rows     []Row // durable, by shard index
	staged   map[shard.Index]Row
	stagedIn map[int][]shard.Index    // by chunk: staged and not in the write under way
	work     map[shard.Index]*work    // shards that are not at rest
	moves    int                      // open moves, durable or staged
	askers   map[shard.Index][]Reply  // to operators who wait until the staged row is durable
	batches  map[shard.Index][]*batch // likewise, with other rows

	unplaced map[shard.Index]bool // may be granted now, to anybody; true: its owner is gone
	thin     int                  // what Ledger.thin counted last
	thinAt   shard.Instant        // and when
	lost     int                  // of unplaced, those whose owner is gone
	avoid    map[shard.Index]map[shard.ServerID]shard.Instant
	loads    map[shard.Index]map[string]int64
	base     map[string]int64 // load of a shard that nobody measured
	ids      []shard.ID
	named    map[shard.ID]shard.Index // of a named key space: the shards that there are
	free     []shard.Index            // of a named key space: indexes without a shard

	plan      planning
	published published
}

// planning is when to ask placement again.
type planning struct {
	asked    bool          // a plan is being made
	last     shard.Instant // when one was asked for
	at       shard.Instant // when to rebalance next; zero: nothing to do
	settled  shard.Instant // when membership will have settled, likewise
	since    shard.Instant // first change that settled waits for
	joined   shard.Instant // last server that joined
	retry    shard.Instant // the unplaced could not be placed: not before
	failures int
	notes    string // what the last plan said of regions without servers
	capped   bool   // the last plan was cut by the caps on moves
	missing  int    // shards that had fewer replicas than wanted when it was asked for
}

func newApp(spec Spec) *app {
	n := spec.Space.Hash.Shards
	a := &app{
		spec: spec, rows: make([]Row, n), staged: map[shard.Index]Row{}, stagedIn: map[int][]shard.Index{},
		work: map[shard.Index]*work{}, unplaced: map[shard.Index]bool{}, avoid: map[shard.Index]map[shard.ServerID]shard.Instant{},
		loads: map[shard.Index]map[string]int64{}, ids: make([]shard.ID, n),
		askers: map[shard.Index][]Reply{}, named: map[shard.ID]shard.Index{}, batches: map[shard.Index][]*batch{},
	}
	for i := range a.ids {
		a.ids[i] = spec.Space.Hash.ID(shard.Index(i))
	}
	a.setSpec(spec)
	return a
}

func (a *app) setSpec(spec Spec) {
	a.spec = spec
	a.base = make(map[string]int64, len(spec.DefaultLoad)+1)
	maps.Copy(a.base, spec.DefaultLoad)
	a.base[placement.MetricShards] = 1
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

func (a *app) setLoad(at shard.Index, measured map[string]int64) {
	load := maps.Clone(measured)
	if load == nil {
		load = map[string]int64{}
	}
	load[placement.MetricShards] = 1
	a.loads[at] = load
}

func (a *app) load(at shard.Index) map[string]int64 {
	if measured, ok := a.loads[at]; ok {
		return measured
	}
	return a.base
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

// pause asks that a shard not go to a server for a while.
func (a *app) avoidServer(at shard.Index, id shard.ServerID, until shard.Instant) {
	if a.avoid[at] == nil {
		a.avoid[at] = map[shard.ServerID]shard.Instant{}
	}
	a.avoid[at][id] = until
}

// want asks for a rebalancing, not before the last one is `pause` old.
func (a *app) want(now shard.Instant, pause time.Duration) {
	at := shard.LaterOf(now, a.plan.last.Add(pause))
	if a.plan.at.IsZero() || !a.plan.at.Passed(at) {
		a.plan.at = at
	}
}

// settle asks for a rebalancing once membership has not changed for a moment.
func (a *app) settle(now shard.Instant) {
	p := &a.plan
	if p.since.IsZero() {
		p.since = now
	}
	p.retry, p.failures = shard.Instant{}, 0
	if p.since.WaitAge(now) < solvePause {
		p.settled = now.Add(solveSettle)
	}
}

func (l *Ledger) membershipChanged(name shard.App) {
	if a := l.apps[name]; a != nil {
		a.settle(l.now)
	}
}

func (l *Ledger) joined(name shard.App) {
	if a := l.apps[name]; a != nil {
		a.settle(l.now)
		a.plan.joined = l.now
	}
}
