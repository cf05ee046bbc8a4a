package goals

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/locality"
)

// spreadOf is a group at a level.
type spreadOf struct{ group, level int }

// spread states a spread; what is said of one group at one level is one.
func (s *stated) spread(spread problem.Spread, name string) {
	key := spreadOf{spread.Group, spread.Level}
	if name != "" {
		s.named[key] = name
	}
	at, known := s.groups[key]
	if !known {
		s.groups[key] = len(s.Problem.Spreads)
		s.Problem.Spreads = append(s.Problem.Spreads, spread)
		return
	}
	old := &s.Problem.Spreads[at]
	old.Min = max(old.Min, spread.Min)
	if spread.Max > 0 && (old.Max == 0 || spread.Max < old.Max) {
		old.Max = spread.Max
	}
	if old.Want == 0 {
		old.Want, old.Goal = spread.Want, spread.Goal
	}
}

// level is where a statement is counted over.
func (s *stated) level(o terms.Over) int {
	if o.Width > 0 {
		return int(o.Width - locality.Host)
	}
	return len(s.Task.Domains) + o.Label
}

// eachGroup yields the groups of some replicas, with the position of their shard and how many replicas they have.
func (s *stated) eachGroup(replicas []int32, yield func(group, shard, replicas int)) {
	for from := 0; from < len(replicas); {
		first, to := &s.Task.Replicas[replicas[from]], from+1
		for to < len(replicas) && s.Task.Replicas[replicas[to]].Group == first.Group {
			to++
		}
		yield(int(first.Group), first.Shard, to-from)
		from = to
	}
}

// stateConstraints states what policies say that must hold. Fences and pins are in the classes of the replicas already.
func (s *stated) stateConstraints() {
	t := s.Terms
	for _, label := range t.Labels {
		labels := make([]int32, len(s.Task.Servers))
		for i := range labels {
			labels[i] = label.Domain[s.Task.Servers[i].Position]
		}
		s.Problem.Domains = append(s.Problem.Domains, dense(labels))
	}
	for _, m := range t.Metrics {
		for at, name := range s.Task.Metrics {
			if name == m.Name {
				s.Problem.During[at] = m.During
			}
		}
	}
	r := relater{stated: s, groupOf: map[int]int{}, others: map[string]int{}, starts: map[int]int{}, empty: -1}
	for c := range t.Classes {
		s.eachGroup(s.ofClass[c], func(group, shard, _ int) { r.groupOf[shard] = group })
	}
	for c := range t.Classes {
		class := &t.Classes[c]
		s.eachGroup(s.ofClass[c], func(group, shard, _ int) {
			for _, spread := range class.Spreads {
				s.spread(problem.Spread{Group: group, Level: s.level(spread.Over), Min: spread.AtLeast, Max: spread.AtMost}, spread.Name)
			}
			for i := range class.Relations {
				r.relate(group, &class.Relations[i])
			}
		})
	}
}

// relater states relations, so that they hold while moves are under way too. What is not among the replicas, of other apps, is in groups of its own
// that weigh nothing and stay.
type relater struct {
	*stated
	groupOf map[int]int    // by shard
	others  map[string]int // groups by whom they stand for
	starts  map[int]int    // by group: one that stays where it starts
	empty   int            // a group without replicas; -1: not needed so far
}

func (r *relater) relate(group int, d *terms.Relation) {
	if d.Each {
		for on := range r.Task.Groups {
			if on != group {
				r.state(group, on, d)
				r.state(group, r.shadow(on), d)
			}
		}
		return
	}
	for _, other := range d.Shards {
		if on, ok := r.groupOf[int(other)]; ok {
			r.state(group, on, d)
			r.state(group, r.shadow(on), d)
		} else if !d.Not {
			r.state(group, r.nobody(), d)
		}
	}
	if d.Shards == nil && (len(d.On) > 0 || !d.Not) {
		r.state(group, r.standIns(d), d)
	}
}

func (r *relater) state(group, on int, d *terms.Relation) {
	s := problem.Relation{Group: group, On: on, Level: r.level(d.Over), Not: d.Not}
	if _, twice := r.related[s]; !twice {
		r.related[s] = d.Name
		r.Problem.Relations = append(r.Problem.Relations, s)
	}
}

// shadow is a group that stays where another one is now: until its moves are over, a replica is there too, and not yet where it goes.
func (r *relater) shadow(of int) int {
	if group, known := r.starts[of]; known {
		return group
	}
	group := r.group()
	r.starts[of], r.shadows[group] = group, true
	for i := range r.Task.Replicas {
		if v := &r.Task.Replicas[i]; int(v.Group) == of && v.Now >= 0 {
			r.stay(group, v.Now)
		}
	}
	return group
}

// stay adds a replica that weighs nothing to a server.
func (r *relater) stay(group int, server int32) {
	r.add(int32(group), server, server, r.anywhere(), true)
	r.Problem.Load = append(r.Problem.Load, make([]int64, r.Problem.Metrics)...)
	r.Problem.Replicas++
}

// nobody is a group that is nowhere.
func (r *relater) nobody() int {
	if r.empty < 0 {
		r.empty = r.group()
	}
	return r.empty
}

func (r *relater) group() int {
	r.Problem.Groups++
	r.Problem.Exclusive = append(r.Problem.Exclusive, false)
	return r.Problem.Groups - 1
}

// standIns is a group on the servers that are in a domain with another app.
func (r *relater) standIns(d *terms.Relation) int {
	key := fmt.Sprint(d.With, d.Over)
	if group, known := r.others[key]; known {
		return group
	}
	group := r.group()
	r.others[key] = group
	for i := range r.Task.Servers {
		if slices.Contains(d.On, int32(r.Task.Servers[i].Position)) {
			r.stay(group, int32(i))
		}
	}
	return group
}

// anywhere is the class of replicas that may be everywhere.
func (s *stated) anywhere() int32 {
	if len(s.Problem.Eligible) == len(s.Task.Eligible) {
		s.Problem.Eligible = append(slices.Clone(s.Task.Eligible), nil)
	}
	return int32(len(s.Task.Eligible))
}
