package resolve

import (
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// relationOf takes an exclusion (not) or a dependency apart; false: it is neither.
func relationOf(c *pb.Constraint) (other statement.Target, over statement.Over, not, ok bool) {
	switch k := c.GetKind().(type) {
	case *pb.Constraint_Exclusion:
		return statement.TargetOf(k.Exclusion), statement.OverOf(k.Exclusion), true, true
	case *pb.Constraint_Dependency:
		return statement.TargetOf(k.Dependency), statement.OverOf(k.Dependency), false, true
	}
	return statement.Target{}, statement.Over{}, false, false
}

// relation is an exclusion or dependency; nil: there is nothing that it could be about.
func (b *builder) relation(item policy.Placed[*pb.Constraint]) *terms.Relation {
	if r, ok := b.relations[item.From]; ok {
		return r
	}
	other, over, not, _ := relationOf(item.Value)
	r := &terms.Relation{Name: name(item), Over: b.over(over), Not: not, With: other.App}
	if other.Shard != "" {
		r.With += "/" + other.Shard
	}
	if other.App != string(b.in.App) {
		b.beside(r, other, over)
	} else if other.Shard == "" {
		r.Each = true
	} else if at, ok := b.c.positions[shard.ID(other.Shard)]; ok {
		r.Shards = []int32{at}
	} else {
		b.note("constraint %s: there is no shard %s", r.Name, r.With)
	}
	if not && !r.Each && len(r.Shards) == 0 && len(r.On) == 0 {
		r = nil
	}
	b.relations[item.From] = r
	return r
}

// beside finds the servers that share a domain with a replica of another app.
func (b *builder) beside(r *terms.Relation, other statement.Target, over statement.Over) {
	var places []Place
	known := false
	if b.neighbours != nil {
		places, known = b.neighbours.Places(shard.App(other.App), shard.ID(other.Shard))
	}
	if !known {
		b.note("constraint %s: there is no %s", r.Name, other)
		return
	}
	taken := map[any]bool{}
	for i := range places {
		if domain, ok := domainOf(places[i].Locality, places[i].Labels, over); ok {
			taken[domain] = true
		}
	}
	for i := range b.in.Servers {
		s := &b.in.Servers[i]
		if domain, ok := domainOf(s.Locality, s.Labels, over); ok && taken[domain] {
			r.On = append(r.On, int32(i))
		}
	}
}

// domainOf is the domain that a server is in; false: it is alone in one, because nobody knows its host.
func domainOf(l shard.Locality, labels map[string]string, over statement.Over) (any, bool) {
	if over.Label != "" {
		return labels[over.Label], true
	}
	width := locality.Domain(over.Domain)
	return locality.Of(l, width), width != locality.Host || l.Host != ""
}
