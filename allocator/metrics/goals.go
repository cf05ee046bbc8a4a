package metrics

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/simulation"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/telemetry"
)

const (
	// maxGoals is the most goals of an app that are told; the most important come first.
	maxGoals = 32
	// goalsShare times what it took to count the goals of an app is how long they are not counted again.
	goalsShare = 20
	// lastTier is the last one of a policy; what is before or after them has none.
	lastTier = 16
)

// goals is a collector of what the goals of apps cost before and after their last plans.
type goals struct {
	before, after *prometheus.Desc

	work sync.WaitGroup

	mu       sync.Mutex
	known    map[shard.App]*costs
	counting bool
	drops    int // how often something was dropped: what is counted then is not of now
}

// costs is what the goals of one app cost.
type costs struct {
	due           time.Time // not counted again before
	before, after map[goal]int64
}

type goal struct{ tier, name, unit string }

func newGoals() *goals {
	return &goals{
		known:  map[shard.App]*costs{},
		before: telemetry.Desc(subsystem, "goal_cost_before", "What a goal of an app cost when its last plan was made, in its unit, by app, tier, goal and unit.", "app", "tier", "goal", "unit"),
		after:  telemetry.Desc(subsystem, "goal_cost_after", "What a goal of an app will cost once the moves of its last plan are done, in its unit, by app, tier, goal and unit.", "app", "tier", "goal", "unit"),
	}
}

// Reached counts what an app's goals cost before and after a plan, beside the caller: of 100 000 shards that takes most of a second. in is what the
// plan was made of, and is only read. While another app's are counted, it does nothing.
func (m *Metrics) Reached(in placement.Input, plan placement.Plan) {
	if m == nil {
		return
	}
	g := m.goals
	g.mu.Lock()
	defer g.mu.Unlock()
	if known := g.known[in.App]; g.counting || known != nil && time.Now().Before(known.due) {
		return
	}
	g.counting = true
	drops := g.drops
	g.work.Go(func() {
		next := count(in, plan)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.counting = false; g.drops == drops {
			g.known[in.App] = next
		}
	})
}

// Wait returns once nothing is being counted any more.
func (m *Metrics) Wait() {
	if m != nil {
		m.goals.work.Wait()
	}
}

func count(in placement.Input, plan placement.Plan) *costs {
	began := time.Now()
	c := &costs{before: map[goal]int64{}, after: map[goal]int64{}}
	for _, change := range simulation.Reached(in, plan) {
		g := goal{name: change.Goal, unit: string(change.Unit), tier: "-"}
		if change.Tier > 0 && change.Tier <= lastTier {
			g.tier = strconv.Itoa(change.Tier)
		}
		if _, again := c.before[g]; len(c.before) < maxGoals || again {
			c.before[g] += change.Before
			c.after[g] += change.After
		}
	}
	now := time.Now()
	c.due = now.Add(goalsShare * now.Sub(began))
	return c
}

// forget drops what is known of an app.
func (g *goals) forget(app shard.App) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drops++
	delete(g.known, app)
}

// end drops everything, and what is being counted too.
func (g *goals) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drops++
	clear(g.known)
}

// Describe implements prometheus.Collector.
func (g *goals) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.before
	ch <- g.after
}

// Collect implements prometheus.Collector.
func (g *goals) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for app, c := range g.known {
		for of, amount := range c.before {
			telemetry.Gauge(ch, g.before, float64(amount), string(app), of.tier, of.name, of.unit)
			telemetry.Gauge(ch, g.after, float64(c.after[of]), string(app), of.tier, of.name, of.unit)
		}
	}
}
