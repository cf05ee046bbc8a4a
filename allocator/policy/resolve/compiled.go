package resolve

import (
	"maps"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/eligibility"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// compiled is what the policies of one app come to, and what was made of that last.
type compiled struct {
	written    []byte
	unreadable error
	env        *eligibility.Env
	cluster    *policy.Source
	app        *policy.Source
	conflicts  []string
	classes    []*class // the first: what holds for shards of which nothing is said
	related    bool     // a class depends on where other apps are

	// Of the shards there were last.
	ids       []shard.ID
	of        []int32
	byLayer   map[*policy.Source]int32 // class by the last layer, which those before it follow from
	positions map[shard.ID]int32       // of shards that policies name

	// What was made last, and what of.
	made    *terms.Terms
	notes   []string
	servers []placement.Server
	policy  placement.Policy
}

// class is what holds for some shards.
type class struct {
	effective  policy.Effective
	predicates []*eligibility.Predicate // of the constraints that are eligibilities, in order
}

func compile(env *eligibility.Env, cluster *policy.Source, app shard.App, written []byte) *compiled {
	c := &compiled{written: written, env: env, cluster: cluster, byLayer: map[*policy.Source]int32{}}
	if c.app, c.unreadable = Read(cluster, app, written); c.unreadable == nil {
		c.class(nil)
	}
	return c
}

// class is the class of shards with these layers beyond the app's.
func (c *compiled) class(layers []*policy.Source) int32 {
	var last *policy.Source
	if len(layers) > 0 {
		last = layers[len(layers)-1]
	}
	if at, ok := c.byLayer[last]; ok {
		return at
	}
	effective, conflicts := policy.Compose(append([]*policy.Source{c.cluster, c.app}, layers...)...)
	for _, conflict := range conflicts {
		if text := conflict.String(); len(c.conflicts) < maxNotes && !slices.Contains(c.conflicts, text) {
			c.conflicts = append(c.conflicts, text)
		}
	}
	predicates, err := effective.Predicates(c.env)
	if err != nil {
		c.unreadable = err // it was compiled when the policy was read
	}
	for _, item := range effective.Constraints {
		other, _, _, ok := relationOf(item.Value)
		c.related = c.related || ok && other.App != effective.App
	}
	at := int32(len(c.classes))
	c.classes, c.byLayer[last] = append(c.classes, &class{effective, predicates}), at
	return at
}

// assign gives each shard its class. Shards rarely change.
func (c *compiled) assign(in *placement.Input) {
	same := len(c.ids) == len(in.Shards)
	for i := 0; same && i < len(in.Shards); i++ {
		same = c.ids[i] == in.Shards[i].ID
	}
	if same && c.of != nil {
		return
	}
	c.made = nil
	c.ids, c.of = make([]shard.ID, len(in.Shards)), make([]int32, len(in.Shards)) // new ones: terms that were given out have the old
	for i := range in.Shards {
		c.ids[i] = in.Shards[i].ID
		c.of[i] = c.class(c.app.Shards(string(c.ids[i])))
	}
	c.positions = map[shard.ID]int32{}
	named := c.named()
	for i, id := range c.ids {
		if named[id] {
			c.positions[id] = int32(i)
		}
	}
}

// named are the ids of shards of the app that its policies name.
func (c *compiled) named() map[shard.ID]bool {
	ids := map[shard.ID]bool{}
	for _, class := range c.classes {
		for _, item := range class.effective.Constraints {
			if other, _, _, ok := relationOf(item.Value); ok && other.App == class.effective.App && other.Shard != "" {
				ids[shard.ID(other.Shard)] = true
			}
		}
	}
	return ids
}

// like reports whether an input differs from the last in nothing that terms are made of.
func (c *compiled) like(in *placement.Input) bool {
	a, b := &c.policy, &in.Policy
	return a.Primary == b.Primary && a.Moves == b.Moves && a.MovesPerServer == b.MovesPerServer && slices.Equal(a.PreferRegions, b.PreferRegions) &&
		slices.EqualFunc(c.servers, in.Servers, func(a, b placement.Server) bool {
			return a.ID == b.ID && a.Locality == b.Locality && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Capacity, b.Capacity)
		})
}
