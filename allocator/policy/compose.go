package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/policy/check"
	"github.com/shardmanager/shardmanager/allocator/policy/eligibility"
	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Conflict is two statements of which the later one cannot hold, or may not.
type Conflict struct {
	Earlier, Later Origin
	Reason         string
}

// String names both places and the reason.
func (c Conflict) String() string { return fmt.Sprintf("%s: %s", c.Later, c.text()) }

func (c Conflict) text() string { return fmt.Sprintf("conflict with %s: %s", c.Earlier, c.Reason) }

// Effective is what holds for a shard, with all defaults filled in. Its statements are shared and never modified.
type Effective struct {
	App         string                   // empty: of the cluster's defaults alone
	Metrics     []Placed[*pb.Metric]     // in the order in which they were first declared
	Constraints []Placed[*pb.Constraint] // in order; exclusions and dependencies name their app
	Goals       []Placed[*pb.Goal]       // by tier, then in order
	// Caps on open moves: of the app, from or to one server, of the shard. 1 or more.
	AppMoves, ServerMoves, ShardMoves Placed[int]
	// Group that movement counts the shard in; empty without an app.
	Group string
}

// goal is a goal with what it is about.
type goal struct {
	Placed[*pb.Goal]
	about statement.Subject
}

// composition is an Effective in the making.
type composition struct {
	effective  Effective // without its goals
	goals      []goal
	layer      int
	layers     []int // which layer each constraint is of
	goalLayers []int
	conflicts  []Conflict
}

func newComposition(app string) *composition {
	return &composition{effective: Effective{
		App: app, Group: app,
		AppMoves: Placed[int]{Value: statement.DefaultAppMoves}, ServerMoves: Placed[int]{Value: statement.DefaultServerMoves}, ShardMoves: Placed[int]{Value: statement.DefaultShardMoves},
	}}
}

// with is the composition with one more layer; its conflicts are those of that layer only.
func (c *composition) with(s *Source) *composition {
	next := *c
	next.conflicts = nil
	next.effective.Metrics = slices.Clone(c.effective.Metrics)
	next.effective.Constraints = slices.Clone(c.effective.Constraints)
	next.goals, next.layers, next.goalLayers = slices.Clone(c.goals), slices.Clone(c.layers), slices.Clone(c.goalLayers)
	next.layer++
	next.add(s)
	return &next
}

// Compose puts layers together: the cluster's defaults, the app's policy, what that says of the shard (Source.Shards). Later ones win, as the
// package's documentation says. A nil layer says nothing.
//
// An exclusion or dependency in the cluster's defaults does not hold for the app that it names.
func Compose(layers ...*Source) (Effective, []Conflict) {
	app := ""
	for _, s := range layers {
		if s != nil && s.app != "" {
			app = s.app
		}
	}
	c := newComposition(app)
	for _, s := range layers {
		if s != nil {
			c.layer++
			c.add(s)
		}
	}
	return c.finish(), c.conflicts
}

func (c *composition) finish() Effective {
	e := c.effective
	for _, g := range c.goals {
		e.Goals = append(e.Goals, g.Placed)
	}
	slices.SortStableFunc(e.Goals, func(a, b Placed[*pb.Goal]) int { return cmp.Compare(a.Value.GetTier(), b.Value.GetTier()) })
	for i, m := range e.Metrics {
		e.Metrics[i].Value = statement.FilledMetric(m.Value)
	}
	return e
}

func (c *composition) add(s *Source) {
	for _, m := range s.metrics {
		i := slices.IndexFunc(c.effective.Metrics, func(earlier Placed[*pb.Metric]) bool { return earlier.Value.GetName() == m.Value.GetName() })
		if i < 0 {
			c.effective.Metrics = append(c.effective.Metrics, m)
		} else if m.Value.During != nil {
			c.effective.Metrics[i] = m
		}
	}
	if m := s.moves; m != nil {
		c.cap(&c.effective.AppMoves, s, "app", m.App)
		c.cap(&c.effective.ServerMoves, s, "server", m.Server)
		c.cap(&c.effective.ShardMoves, s, "shard", m.Shard)
	}
	if s.group != "" {
		c.effective.Group = s.group
	}
	for _, item := range s.constraints {
		if s.app == "" {
			item.Value = c.ofCluster(item.Value)
		}
		if item.Value != nil {
			c.constraint(item)
		}
	}
	for _, item := range s.goals {
		c.goal(item)
	}
}

// cap takes a cap of a layer, if that has one.
func (c *composition) cap(to *Placed[int], s *Source, name string, value *uint32) {
	if value == nil {
		return
	}
	path := "moves." + name
	if s.at != "" {
		path = s.at + ".moves"
	}
	*to = Placed[int]{int(*value), s.where.Origin(path)}
}

// ofCluster is a constraint of the cluster's defaults as it is for the app; nil: it does not hold for the app, which it names.
func (c *composition) ofCluster(item *pb.Constraint) *pb.Constraint {
	switch k := item.GetKind().(type) {
	case *pb.Constraint_Exclusion:
		e := k.Exclusion
		switch {
		case e.GetApp() == "": // each app of itself
			return &pb.Constraint{Name: item.GetName(), Kind: &pb.Constraint_Exclusion{Exclusion: &pb.Exclusion{App: c.effective.App, Over: e.GetOver()}}}
		case e.GetApp() == c.effective.App:
			return nil
		}
	case *pb.Constraint_Dependency:
		if k.Dependency.GetApp() == c.effective.App {
			return nil
		}
	}
	return item
}

func (c *composition) constraint(item Placed[*pb.Constraint]) {
	place := -1
	for i, earlier := range c.effective.Constraints {
		v, reason := statement.Compare(earlier.Value, item.Value)
		switch {
		case v == statement.Both:
			continue
		case v == statement.Clash:
		case c.layers[i] == c.layer:
			reason = "said twice: " + reason
		case v == statement.Drop:
			return
		case v == statement.Replace:
			place = i
			continue
		default:
			reason += ": a later layer cannot loosen what must hold"
		}
		c.report(earlier.From, item.From, reason)
		return
	}
	if place >= 0 {
		c.effective.Constraints[place], c.layers[place] = item, c.layer
		return
	}
	c.effective.Constraints, c.layers = append(c.effective.Constraints, item), append(c.layers, c.layer)
}

func (c *composition) goal(item goal) {
	for i, earlier := range c.goals {
		if earlier.about != item.about || item.about.Tiers && earlier.Value.GetTier() != item.Value.GetTier() {
			continue
		}
		clashes, reason := statement.CompareGoals(earlier.Value, item.Value, item.about)
		switch {
		case c.goalLayers[i] == c.layer:
			c.report(earlier.From, item.From, "said twice: "+reason)
		case clashes:
			c.report(earlier.From, item.From, reason+": with replace: true the later one takes the place of the earlier")
		default:
			c.goals[i], c.goalLayers[i] = item, c.layer
		}
		return
	}
	c.goals, c.goalLayers = append(c.goals, item), append(c.goalLayers, c.layer)
}

func (c *composition) report(earlier, later Origin, reason string) {
	c.conflicts = append(c.conflicts, Conflict{Earlier: earlier, Later: later, Reason: reason})
}

// Check refuses what holds if it cannot be satisfied by what is known, such as a spread of the cluster's defaults over more domains than a shard
// of this app has replicas, a metric that no layer declares, or a region that is there no more. Known.Metrics is not looked at.
func (e Effective) Check(known Known) error {
	p := &check.Problems{}
	e.check(known, p)
	return p.Err()
}

func (e Effective) check(known Known, p *check.Problems) {
	known.Metrics = nil
	for _, m := range e.Metrics {
		known.Metrics = append(known.Metrics, m.Value.GetName())
	}
	for _, item := range e.Constraints {
		check.Constraint(item.Value, item.From, known, p)
	}
	for _, item := range e.Goals {
		check.Goal(item.Value, item.From, known, p)
	}
	pins(p, e.Constraints, known)
}

// Predicates compiles the expressions of a policy, with the place of each as its subject. They all must be true of a server. Env keeps what is
// compiled: the same expression in many policies is compiled once.
func (e Effective) Predicates(env *eligibility.Env) ([]*eligibility.Predicate, error) {
	var list []*eligibility.Predicate
	for _, c := range e.Constraints {
		k := c.Value.GetEligibility()
		if k == nil {
			continue
		}
		p, err := env.Compile(fmt.Sprintf("%s (%s)", statement.Owner(e.App), c.From), k.GetExpression())
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}
