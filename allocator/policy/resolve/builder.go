package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/eligibility"
	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// builder makes terms once. What classes have in common is made once, by where it was said.
type builder struct {
	ctx        context.Context
	in         *placement.Input
	neighbours Neighbours // nil: nothing is known of other apps
	c          *compiled
	notes      []string

	servers   []eligibility.Server // nil until there is a fence
	at        map[shard.ServerID]int32
	labels    []terms.Label
	fences    map[policy.Origin]terms.Fence
	relations map[policy.Origin]*terms.Relation // nil: it says nothing
	goals     map[policy.Origin]terms.Goal
}

func newBuilder(ctx context.Context, in *placement.Input, n Neighbours, c *compiled) *builder {
	return &builder{
		ctx: ctx, in: in, neighbours: n, c: c, notes: slices.Clone(c.conflicts),
		fences: map[policy.Origin]terms.Fence{}, relations: map[policy.Origin]*terms.Relation{}, goals: map[policy.Origin]terms.Goal{},
	}
}

func (b *builder) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(b.notes) < maxNotes && !slices.Contains(b.notes, text) {
		b.notes = append(b.notes, text)
	}
}

func (b *builder) terms() *terms.Terms {
	base := b.c.classes[0].effective
	t := &terms.Terms{Of: b.c.of, AppMoves: atMost(base.AppMoves, b.in.Policy.Moves), ServerMoves: atMost(base.ServerMoves, b.in.Policy.MovesPerServer)}
	for _, m := range base.Metrics {
		t.Metrics = append(t.Metrics, terms.Metric{Name: m.Value.GetName(), During: m.Value.GetDuring()})
	}
	t.Classes = make([]terms.Class, len(b.c.classes))
	for i, class := range b.c.classes {
		to := &t.Classes[i]
		to.Moves, to.Group = class.effective.ShardMoves.Value, class.effective.Group
		if i > 0 && alike(class.effective.Constraints, base.Constraints) {
			first := &t.Classes[0]
			to.Fences, to.Spreads, to.Relations, to.Pins = first.Fences, first.Spreads, first.Relations, first.Pins
		} else {
			b.constraints(to, class)
		}
		if i > 0 && alike(class.effective.Goals, base.Goals) {
			to.Goals = t.Classes[0].Goals
		} else {
			to.Goals = b.allGoals(class)
		}
	}
	t.Labels = b.labels
	return t
}

// atMost is a cap on moves. The app's policy says it, or the spec's placement; where that is beside the cluster's defaults, the lower one holds.
func atMost(said policy.Placed[int], inPlacement int) int {
	if app, _ := said.From.Of(); app != "" {
		return said.Value
	}
	if said.From == (policy.Origin{}) {
		return inPlacement
	}
	return min(said.Value, inPlacement)
}

// alike reports whether two classes have the same statements. Many differ in nothing but a cap.
func alike[T any](a, b []policy.Placed[T]) bool {
	return slices.EqualFunc(a, b, func(a, b policy.Placed[T]) bool { return a.From == b.From })
}

func (b *builder) constraints(to *terms.Class, from *class) {
	predicates := from.predicates
	for _, item := range from.effective.Constraints {
		switch k := item.Value.GetKind().(type) {
		case *pb.Constraint_Spread:
			to.Spreads = append(to.Spreads, b.spread(name(item), k.Spread))
		case *pb.Constraint_Exclusion, *pb.Constraint_Dependency:
			if r := b.relation(item); r != nil {
				to.Relations = append(to.Relations, *r)
			}
		case *pb.Constraint_Eligibility:
			to.Fences = append(to.Fences, b.fence(item, predicates[0]))
			predicates = predicates[1:]
		case *pb.Constraint_Pin:
			if p, ok := b.pin(name(item), k.Pin); ok {
				to.Pins = append(to.Pins, p)
			}
		}
	}
}

func (b *builder) allGoals(from *class) (list []terms.Goal) {
	for _, item := range from.effective.Goals {
		if app, _ := item.From.Of(); app == "" && item.Value.GetRegionPreference() != nil && len(b.in.Policy.PreferRegions) > 0 {
			continue // the spec's placement, a later layer, says it
		}
		list = append(list, b.goal(item))
	}
	return list
}

// name is what a constraint is called.
func name(item policy.Placed[*pb.Constraint]) string {
	if n := item.Value.GetName(); n != "" {
		return n
	}
	return item.From.String()
}

// over is what is counted over; labels become positions.
func (b *builder) over(o statement.Over) terms.Over {
	if o.Label == "" {
		return terms.Over{Width: locality.Domain(o.Domain)}
	}
	for i := range b.labels {
		if b.labels[i].Key == o.Label {
			return terms.Over{Label: i}
		}
	}
	label, seen := terms.Label{Key: o.Label, Domain: make([]int32, len(b.in.Servers))}, map[string]int32{}
	for i := range b.in.Servers {
		value := b.in.Servers[i].Labels[o.Label]
		domain, ok := seen[value]
		if !ok {
			domain = int32(len(label.Values))
			seen[value], label.Values = domain, append(label.Values, value)
		}
		label.Domain[i] = domain
	}
	b.labels = append(b.labels, label)
	return terms.Over{Label: len(b.labels) - 1}
}

func (b *builder) spread(name string, s *pb.Spread) terms.Spread {
	return terms.Spread{Name: name, Over: b.over(statement.OverOf(s)), AtMost: int(s.GetAtMost()), AtLeast: int(s.GetAtLeastDomains())}
}

// fence evaluates an expression. Where it has no value, a server is not allowed; where that takes too long, none is.
func (b *builder) fence(item policy.Placed[*pb.Constraint], p *eligibility.Predicate) terms.Fence {
	if f, ok := b.fences[item.From]; ok {
		return f
	}
	if b.servers == nil {
		b.servers = make([]eligibility.Server, len(b.in.Servers))
		for i := range b.in.Servers {
			s := &b.in.Servers[i]
			b.servers[i] = eligibility.Server{
				ID: string(s.ID), Host: s.Locality.Host, Rack: s.Locality.Rack, Zone: s.Locality.Zone, Region: s.Locality.Region,
				Labels: s.Labels, Capacity: s.Capacity,
			}
		}
	}
	f := terms.Fence{Name: name(item), Allows: make([]uint64, words(b.in))}
	set, err := p.Eligible(b.ctx, b.servers)
	copy(f.Allows, set.Words())
	var failed *eligibility.EvaluationError
	switch {
	case errors.As(err, &failed):
		f.Invalid = failed.Servers
		b.note("%v", err)
	case err != nil:
		b.note("no server is allowed: %v", err)
	}
	b.fences[item.From] = f
	return f
}

// pin names servers by position. One that is not there keeps nothing.
func (b *builder) pin(name string, p *pb.Pin) (terms.Pin, bool) {
	pin := terms.Pin{Name: name}
	for _, id := range p.GetServers() {
		at, ok := b.position(shard.ServerID(id))
		if !ok {
			b.note("constraint %s: pinned to server %s, which is not there: nothing is kept there", name, id)
			continue
		}
		pin.Servers = append(pin.Servers, at)
	}
	return pin, len(pin.Servers) > 0 || len(p.GetServers()) == 0
}

func (b *builder) position(id shard.ServerID) (int32, bool) {
	if b.at == nil {
		b.at = make(map[shard.ServerID]int32, len(b.in.Servers))
		for i := range b.in.Servers {
			b.at[b.in.Servers[i].ID] = int32(i)
		}
	}
	at, ok := b.at[id]
	return at, ok
}
