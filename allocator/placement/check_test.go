package placement_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// world is a second, plain reading of an Input: it plays a plan move by move and checks the constraints after each.
type world struct {
	in       placement.Input
	moves    []int
	open     int
	touched  map[shard.Index]placement.Kind // by what the plan did to the shard first
	promoted map[shard.Index][2]int         // who gives the primary role to whom, by position; the first is −1 if nobody does
	dropped  map[shard.Index][]shard.ServerID
}

func newWorld(in placement.Input) *world {
	w := &world{in: in, moves: make([]int, len(in.Servers)), touched: map[shard.Index]placement.Kind{}, promoted: map[shard.Index][2]int{},
		dropped: map[shard.Index][]shard.ServerID{}}
	w.in.Shards = clone(in.Shards)
	for i, s := range in.Servers {
		w.moves[i] = s.Moves
	}
	for _, s := range in.Shards {
		for _, r := range s.Replicas {
			if r.To >= 0 && r.On >= 0 {
				w.open++
			}
		}
	}
	return w
}

// charged is what a server has to carry now, in one metric.
func (w *world) charged(server int, metric string) (sum int64) {
	for _, s := range w.in.Shards {
		for k, r := range s.Replicas {
			if r.On != server && r.To != server || r.To >= 0 && r.To != server && w.onTargetOnly(metric) {
				continue
			}
			change, changes := w.promoted[s.Index]
			switch {
			case metric != placement.MetricPrimaries:
				sum += s.Load[metric]
			case r.Role == shard.Primary || (changes && change[1] == k):
				sum++
			}
		}
	}
	return sum
}

// onTargetOnly reports whether policies say that a replica that moves takes none of a metric where it comes from.
func (w *world) onTargetOnly(metric string) bool {
	return w.in.Terms != nil && slices.ContainsFunc(w.in.Terms.Metrics, func(m terms.Metric) bool { return m.Name == metric && !m.During })
}

// clone copies shards down to their replicas.
func clone(shards []placement.Shard) []placement.Shard {
	list := slices.Clone(shards)
	for i := range list {
		list[i].Replicas = slices.Clone(list[i].Replicas)
	}
	return list
}

// place is where the primary of a shard is; −1: it has none.
func place(s placement.Shard) int {
	if r := s.Primary(); r != nil {
		return r.On
	}
	return -1
}

// wanted is how many replicas a shard should have.
func (w *world) wanted(s *placement.Shard) int {
	if s.Wanted > 0 {
		return s.Wanted
	}
	return w.in.Policy.Replicas
}

func (w *world) position(id shard.ServerID) int {
	return slices.IndexFunc(w.in.Servers, func(s placement.Server) bool { return s.ID == id })
}

// width is the spread that the policy wants.
func width(in placement.Input) locality.Domain { return max(in.Policy.Spread, locality.Host) }

// play performs one move, or says which constraint forbids it.
func (w *world) play(m placement.Move) error {
	s := &w.in.Shards[m.Shard]
	from, to := w.position(m.From), w.position(m.To)
	at := slices.IndexFunc(s.Replicas, func(r placement.Replica) bool { return r.On == from && from >= 0 })
	first, again := w.touched[m.Shard]
	fills := first == placement.Add || first == placement.Grant || first == placement.Promote
	switch {
	case s.Pinned || s.Backoff && m.Kind != placement.Drop:
		return fmt.Errorf("shard %d may not move now", m.Shard)
	case again && !(fills && m.Kind == placement.Add) && !(first == placement.Drop && m.Kind == placement.Drop):
		return fmt.Errorf("shard %d is moved twice", m.Shard)
	case m.From != "" && at < 0:
		return fmt.Errorf("shard %d is not on %q", m.Shard, m.From)
	case m.From != "" && (s.Replicas[at].Leaving || s.Replicas[at].To >= 0 || (!s.Replicas[at].Settled && m.Kind != placement.Drop)):
		return fmt.Errorf("the replica of shard %d on %q may not move now", m.Shard, m.From)
	case m.To != "" && slices.Contains(s.Avoid, m.To):
		return fmt.Errorf("shard %d avoids %s", m.Shard, m.To)
	}
	w.touched[m.Shard] = m.Kind
	if m.From != "" && m.Kind != placement.Drop {
		w.open++
		w.moves[from]++
		w.moves[to]++
		if limit := w.in.Policy; w.open > limit.Moves || w.moves[from] > limit.MovesPerServer || w.moves[to] > limit.MovesPerServer {
			return fmt.Errorf("shard %d: too many moves: %d, %d, %d", m.Shard, w.open, w.moves[from], w.moves[to])
		}
	}
	var err error
	switch m.Kind {
	case placement.Grant, placement.Add:
		err = w.add(s, m.Kind, to)
	case placement.Migrate:
		err = w.migrate(s, at, to)
	case placement.Drop:
		err = w.drop(s, at)
	case placement.Promote:
		err = w.promote(s, at, to)
	}
	if err == nil && to >= 0 {
		err = w.fits(s, to)
	}
	if err != nil {
		return fmt.Errorf("%v of shard %d from %q to %q: %w", m.Kind, m.Shard, m.From, m.To, err)
	}
	return nil
}

// fits checks the capacity of a target for what a shard needs of it.
func (w *world) fits(s *placement.Shard, to int) error {
	for metric, capacity := range w.in.Servers[to].Capacity {
		arrives := slices.ContainsFunc(s.Replicas, func(r placement.Replica) bool { return r.To == to })
		needs := arrives && s.Load[metric] > 0
		if change, ok := w.promoted[s.Index]; metric == placement.MetricPrimaries {
			needs = ok && s.Replicas[change[1]].On == to || s.Primary() != nil && s.Primary().To == to
		}
		if needs && w.charged(to, metric) > capacity {
			return fmt.Errorf("%s %d of %d", metric, w.charged(to, metric), capacity)
		}
	}
	return nil
}

// arrive checks whether a replica may come to a server: number k, or a new one for −1.
func (w *world) arrive(s *placement.Shard, k, to int) error {
	target := w.in.Servers[to]
	if !target.Accepts {
		return errors.New("the target does not accept")
	}
	for j, r := range s.Replicas {
		for _, other := range []int{r.On, r.To} {
			switch {
			case other < 0:
			case other == to:
				return errors.New("the target has a replica")
			case j != k && !r.Leaving && locality.Shared(w.in.Servers[other].Locality, target.Locality, width(w.in)):
				return fmt.Errorf("the target shares a %v with %s", width(w.in), w.in.Servers[other].ID)
			}
		}
	}
	return nil
}

func (w *world) add(s *placement.Shard, kind placement.Kind, to int) error {
	role := shard.Secondary
	if kind == placement.Grant {
		if s.Primary() != nil || slices.ContainsFunc(s.Replicas, func(r placement.Replica) bool { return r.Settled && !r.Leaving }) {
			return fmt.Errorf("there is a primary, or a replica in sync to promote: %+v", s.Replicas)
		}
		role = shard.Primary
		if k := slices.IndexFunc(s.Replicas, func(r placement.Replica) bool { return r.On == to && !r.Leaving }); k >= 0 && w.in.Servers[to].Accepts {
			w.promoted[s.Index] = [2]int{-1, k}
			return nil
		}
	}
	if kind == placement.Add && held(*s) >= w.wanted(s) {
		return errors.New("it has all its replicas")
	}
	if err := w.arrive(s, -1, to); err != nil {
		return err
	}
	s.Replicas = append(s.Replicas, placement.Replica{On: -1, To: to, Role: role})
	return nil
}

// held is how many replicas a shard has and will keep.
func held(s placement.Shard) (n int) {
	for _, r := range s.Replicas {
		if !r.Leaving {
			n++
		}
	}
	return n
}

func (w *world) inRegion(s *placement.Shard, region string) (n int) {
	for _, r := range s.Replicas {
		at := r.To
		if at < 0 {
			at = r.On
		}
		if !r.Leaving && at >= 0 && w.in.Servers[at].Locality.Region == region {
			n++
		}
	}
	return n
}

func (w *world) migrate(s *placement.Shard, k, to int) error {
	if err := w.arrive(s, k, to); err != nil {
		return err
	}
	region := w.in.Servers[s.Replicas[k].On].Locality.Region
	s.Replicas[k].To = to
	if n := w.inRegion(s, region); n < w.in.Policy.Regions[region] && w.in.Servers[to].Locality.Region != region {
		return fmt.Errorf("region %s keeps %d of %d", region, n, w.in.Policy.Regions[region])
	}
	return nil
}

func (w *world) drop(s *placement.Shard, k int) error {
	region := w.in.Servers[s.Replicas[k].On].Locality.Region
	if s.Replicas[k].Role == shard.Primary || held(*s) <= w.wanted(s) || w.inRegion(s, region) <= w.in.Policy.Regions[region] {
		return errors.New("it is needed")
	}
	s.Replicas[k].Leaving = true
	return nil
}

func (w *world) promote(s *placement.Shard, from, to int) error {
	k := slices.IndexFunc(s.Replicas, func(r placement.Replica) bool { return r.On == to })
	switch p := s.Primary(); {
	case k < 0 || s.Replicas[k].Role != shard.Secondary || !s.Replicas[k].Settled || s.Replicas[k].Leaving || s.Replicas[k].To >= 0:
		return errors.New("the target is no secondary in sync")
	case from < 0 && p != nil, from >= 0 && s.Replicas[from].Role != shard.Primary:
		return errors.New("not from the primary")
	}
	w.promoted[s.Index] = [2]int{from, k}
	return nil
}

// settle finishes every move and returns the input of the next solve.
func (w *world) settle() placement.Input {
	next := w.in
	next.Shards = clone(w.in.Shards)
	next.Servers = slices.Clone(w.in.Servers)
	for i := range next.Servers {
		next.Servers[i].Moves = 0
	}
	for i := range next.Shards {
		s := &next.Shards[i]
		if change, ok := w.promoted[s.Index]; ok {
			if change[0] >= 0 {
				s.Replicas[change[0]].Role = shard.Secondary
			}
			s.Replicas[change[1]].Role = shard.Primary
		}
		for k := range s.Replicas {
			if r := &s.Replicas[k]; r.To >= 0 {
				r.On, r.To = r.To, -1
			}
			s.Replicas[k].Settled = true
		}
		s.Replicas = slices.DeleteFunc(s.Replicas, func(r placement.Replica) bool { return r.Leaving || r.On < 0 })
		s.Pinned, s.Urgent = false, false
	}
	return next
}

func apply(in placement.Input, plan placement.Plan) (placement.Input, error) {
	w := newWorld(in)
	for i, m := range plan.Moves {
		if err := w.play(m); err != nil {
			return placement.Input{}, fmt.Errorf("move %d of %d: %w", i, len(plan.Moves), err)
		}
	}
	return w.settle(), nil
}

// counts is how many shards each accepting server has.
func counts(in placement.Input) []int {
	n := make([]int, len(in.Servers))
	for _, s := range in.Shards {
		for _, r := range s.Replicas {
			if r.On >= 0 {
				n[r.On]++
			}
		}
	}
	var list []int
	for i, s := range in.Servers {
		if s.Accepts {
			list = append(list, n[i])
		}
	}
	return list
}

func spread(list []int) int { return slices.Max(list) - slices.Min(list) }

// build makes servers named a, b, … and shards on them: on[i] is the server of shard i, −1 for none; every load is 1 shard.
func build(servers int, on ...int) placement.Input {
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
	for i := range servers {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID(fmt.Sprintf("s%04d.kv", i)), Accepts: true})
	}
	for i, at := range on {
		s := placement.Shard{Index: shard.Index(i), Load: map[string]int64{placement.MetricShards: 1}}
		if at >= 0 {
			s.Replicas = []placement.Replica{{On: at, To: -1, Role: shard.Primary, Settled: true}}
		}
		in.Shards = append(in.Shards, s)
	}
	return in
}

// solved solves an input, checks the plan against what is expected of it, with the numbers of what binds, and plays it.
func solved(t *testing.T, in placement.Input, moves string, wantBinds []string) (placement.Plan, placement.Input) {
	t.Helper()
	plan := placement.Solve(in)
	if got := short(plan); got != moves {
		t.Errorf("moves %q, expected %q", got, moves)
	}
	var binds []string
	for _, d := range plan.Decisions {
		if d.Binds != "" {
			binds = append(binds, d.Binds+": "+d.Why)
		}
	}
	if !slices.Equal(binds, wantBinds) {
		t.Errorf("binds %q, expected %q", binds, wantBinds)
	}
	after, err := apply(in, plan)
	if err != nil {
		t.Fatal(err)
	}
	return plan, after
}
