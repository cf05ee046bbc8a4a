package goals

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/internal/locality"
)

// Kind of what decides.
type Kind uint8

// Kinds.
const (
	Balance Kind = iota + 1
	Broken       // a constraint does not hold
	Drain
	Apart
	Wanted // another goal of a policy
)

// Capped is what binds where nothing but the caps on moves does.
const Capped = "moves"

const accepts = "accepts" // that a server is no target says least

func last(name string) int {
	if name == accepts {
		return 1
	}
	return 0
}

// Cost is what a goal, or goals of one tier, would cost more.
type Cost struct {
	Goal string
	Kind Kind
	More int64 // in the goal's own unit; negative: less
}

// Elsewhere says of a replica of the task what it would mean that it were on another server: which constraint forbids it, by name, or what it would
// cost, the most important tier first.
func (o *Outcome) Elsewhere(replica int, server int) (binds string, costs []Cost) {
	v := o.search.Judge(int32(replica), int32(server))
	if v.Refused != assignment.Allowed {
		return o.stated.refusal(replica, server, v), nil
	}
	return "", o.costs(v.Cost)
}

func (o *Outcome) costs(each [problem.MaxTiers]int64) (costs []Cost) {
	for tier, more := range each[:o.stated.tiers.count] {
		if more != 0 {
			costs = append(costs, Cost{o.stated.tiers.names[tier], o.stated.tiers.kinds[tier], more})
		}
	}
	return costs
}

// Decisive is the goal for which a replica is where it is and not where it started; false: it is as good there.
func (o *Outcome) Decisive(replica int) (Cost, bool) {
	start := o.stated.Start[replica]
	if start == problem.Unplaced || start == o.target[replica] {
		return Cost{}, false
	}
	binds, costs := o.Elsewhere(replica, int(start))
	if o.search.Judge(int32(replica), start).Refused == assignment.Full { // another one has come there
		binds, costs = "", o.costs(o.search.More(int32(replica), start))
	}
	switch {
	case binds != "":
		return Cost{Goal: binds, Kind: Broken}, true
	case len(costs) == 0:
		return Cost{}, false
	}
	return costs[0], true
}

// Nowhere says why a replica has no place, or no other: the constraint that excludes most servers, and how many each excludes.
func (o *Outcome) Nowhere(replica int) (binds, why string) {
	if o.failed != nil {
		return "problem", o.failed.Error()
	}
	if o.Places[replica] == problem.Unplaced && slices.ContainsFunc(o.Waiting, func(w Waiting) bool { return int(w.Replica) == replica }) {
		return Capped, "it waits until moves that make room for it are over"
	}
	counts := map[string]int{}
	for server := range o.stated.Task.Servers {
		if int32(server) != o.target[replica] {
			name, _ := o.Elsewhere(replica, server)
			counts[name]++
		}
	}
	return Binding(counts)
}

// Binding is the constraint that excludes most servers, and for people how many each excludes.
func Binding(counts map[string]int) (binds, why string) {
	delete(counts, "")
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(last(a)-last(b), cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	total := 0
	var parts []string
	for _, name := range names {
		total += counts[name]
		parts = append(parts, fmt.Sprintf("%s excludes %d", name, counts[name]))
	}
	if total == 0 {
		return "", ""
	}
	return names[0], fmt.Sprintf("of %d servers, %s", total, strings.Join(parts, ", "))
}

// Broken says of a replica which constraint it breaks where it is, and why it does not go elsewhere; empty: none.
func (o *Outcome) Broken(replica int) (binds, why string) {
	if o.failed != nil {
		return "", ""
	}
	refused, level := o.search.Breaks(int32(replica))
	if refused == assignment.Allowed {
		return "", ""
	}
	binds = o.stated.refusal(replica, int(o.target[replica]), assignment.Verdict{Refused: refused, Level: level})
	_, why = o.Nowhere(replica)
	return binds, why
}

// refusal names the constraint.
func (s *stated) refusal(replica, server int, v assignment.Verdict) string {
	switch v.Refused {
	case assignment.Pinned:
		return "moving"
	case assignment.Ineligible:
		return s.ineligible(replica, server)
	case assignment.Full:
		return "capacity." + s.Task.Metrics[v.Metric]
	case assignment.Together:
		return "held"
	case assignment.Crowded:
		return s.constraint(s.named[spreadOf{int(s.Group[replica]), v.Level}], "spread", v.Level)
	case assignment.Unrelated:
		return s.constraint(s.relation(replica, v.Level), "relation", v.Level)
	case assignment.Allowed, assignment.Capped:
	}
	return Capped
}

func (s *stated) ineligible(replica, server int) string {
	t, at := s.Terms, &s.Task.Servers[server]
	switch {
	case !at.Accepts:
		return accepts
	case t == nil:
		return "region"
	}
	if f := t.Classes[t.Of[s.Task.Replicas[replica].Shard]].Barred(at.Position); f != nil {
		return f.Name
	}
	return "region"
}

// constraint is the name of a constraint of a policy, or what is built in.
func (s *stated) constraint(name, kind string, level int) string {
	switch {
	case name != "":
		return name
	case level < len(s.Task.Domains):
		return fmt.Sprintf("%s %s", kind, locality.Host+locality.Domain(level))
	case level-len(s.Task.Domains) < len(s.Terms.Labels):
		return fmt.Sprintf("%s %s", kind, s.Terms.Labels[level-len(s.Task.Domains)].Key)
	}
	return kind
}

// relation is the first relation of a replica's group at a level, or one of others to it.
func (s *stated) relation(replica, level int) string {
	group := int(s.Group[replica])
	for _, r := range s.Problem.Relations {
		if r.Level == level && (r.Group == group || r.On == group) {
			return s.related[r]
		}
	}
	return ""
}
