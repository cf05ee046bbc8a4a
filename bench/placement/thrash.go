package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// wave is how loads oscillate: by how much of itself a shard's load is more or less in a round, from −1 to 1 times the amplitude. Shards that were
// on one server before it all began swing together, which is the worst that can be done to a balance.
type wave struct {
	name      string
	amplitude float64
	at        func(random *rand.Rand, server, round int) float64
}

func alternating(_ *rand.Rand, server, round int) float64 { return float64(1 - 2*((server+round)%2)) }

// waves are shapes and amplitudes. The tolerance of 10 % lets a server be 5 % off its share, with half a shard's load to spare, and one beyond is brought
// half way in: the first two amplitudes are within that room, the third is all of the tolerance, and the others are beyond it.
func waves() (list []wave) {
	for _, w := range []wave{
		{name: "swap", at: alternating},
		{name: "slow swap", at: func(r *rand.Rand, server, round int) float64 { return alternating(r, server, round/8) }},
		{name: "sine", at: func(_ *rand.Rand, server, round int) float64 { return math.Sin(math.Pi / 6 * float64(round+server%12)) }},
		{name: "noise", at: func(r *rand.Rand, _, _ int) float64 { return 2*r.Float64() - 1 }},
	} {
		for _, w.amplitude = range []float64{0.01, 0.025, 0.05, 0.1, 0.2, 0.5} {
			list = append(list, w)
		}
	}
	return list
}

// swing is what one wave brought about.
type swing struct {
	Wave      string  `json:"wave"`
	Amplitude float64 `json:"amplitude"`
	Moves     int     `json:"moves"`
	Undone    int     `json:"undone"`   // moves back to where the shard left within timing.NoReturn
	Returned  int     `json:"returned"` // likewise, ever
	Last      int     `json:"last_move_round"`
}

// thrash lets the loads of an app at rest oscillate, and plans, moves and remembers as the ledger does, once every timing.SolvePause. A violation is a
// move that undoes another.
func thrash(o options) (*result, error) {
	shards, servers := 1024, 64
	if o.shards > 0 {
		shards = o.shards
	}
	if o.servers > 0 {
		servers = o.servers
	}
	sum := &result{Servers: servers, Replicas: shards, Rounds: o.rounds}
	for _, w := range waves() {
		a, err := newApp(shards, servers, o.seed)
		if err != nil {
			return nil, err
		}
		s, err := a.swing(w, o.rounds, timing.NoReturn)
		if err != nil {
			return nil, err
		}
		sum.Seconds += a.solving.Seconds()
		sum.Moves, sum.Violations = sum.Moves+s.Moves, sum.Violations+s.Undone
		sum.Swings = append(sum.Swings, s)
	}
	rounds := float64(len(sum.Swings) * o.rounds)
	sum.RoundMS, sum.RoundMoves = sum.Seconds*1000/rounds, float64(sum.Moves)/rounds
	return sum, nil
}

// app is one as the ledger keeps it, whose moves are done at once.
type app struct {
	in      placement.Input
	random  *rand.Rand
	base    []int64 // loads that others swing about
	at      map[shard.ServerID]int
	solving time.Duration
}

// newApp is at rest: shards with loads within a factor of four.
func newApp(shards, servers int, seed uint64) (*app, error) {
	a := &app{random: rand.New(rand.NewPCG(seed, 0)), at: map[shard.ServerID]int{}}
	a.in = placement.Input{App: "bench", Policy: placement.Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
	for t := range servers {
		id := shard.ServerID(fmt.Sprintf("s%04d", t))
		a.at[id] = t
		a.in.Servers = append(a.in.Servers, placement.Server{ID: id, Accepts: true})
	}
	for i := range shards {
		a.base = append(a.base, int64(1000*math.Pow(4, a.random.Float64())))
		a.in.Shards = append(a.in.Shards, placement.Shard{Index: shard.Index(i)})
		a.load(i, a.base[i])
	}
	for range 100 {
		if moves, err := a.plan(); err != nil || len(moves) == 0 {
			a.solving = 0
			return a, err
		}
	}
	return nil, fmt.Errorf("loads that stay as they are do not come to rest")
}

func (a *app) load(i int, cpu int64) {
	a.in.Shards[i].Load = map[string]int64{placement.MetricShards: 1, "cpu": cpu}
}

// plan plans once, and moves.
func (a *app) plan() ([]placement.Move, error) {
	begin := time.Now()
	moves := placement.Solve(a.in).Moves
	a.solving += time.Since(begin)
	for _, m := range moves {
		to, ok := a.at[m.To]
		if s := &a.in.Shards[m.Shard]; ok && m.Kind == placement.Grant {
			s.Replicas = []placement.Replica{{On: to, To: -1, Role: shard.Primary, Settled: true}}
		} else if ok && m.Kind == placement.Migrate && s.Replicas[0].On == a.at[m.From] {
			s.Replicas[0].On = to
		} else {
			return nil, fmt.Errorf("a move that nothing asks for: %+v", m)
		}
	}
	return moves, nil
}

// swing plays a wave. Where shards left is remembered for a while, and is nowhere to return to.
func (a *app) swing(w wave, rounds int, noReturn time.Duration) (swing, error) {
	s := swing{Wave: w.name, Amplitude: w.amplitude}
	first := make([]int, len(a.base))
	for i := range first {
		first[i] = a.in.Shards[i].Replicas[0].On
	}
	var left timing.Memory
	last := map[placement.Move]int{} // round of the latest move of a shard from a server
	for round := range rounds {
		now := shard.Instant{Boot: 1, Raw: 1}.Add(time.Duration(round) * timing.SolvePause)
		for i, load := range a.base {
			a.load(i, load+int64(float64(load)*w.amplitude*w.at(a.random, first[i], round)))
			a.in.Shards[i].Left = left.Of(shard.Index(i), now)
		}
		moves, err := a.plan()
		if err != nil {
			return s, err
		}
		for _, m := range moves {
			s.Moves, s.Last = s.Moves+1, round
			if before, ok := last[placement.Move{Shard: m.Shard, From: m.To}]; ok {
				s.Returned++
				if time.Duration(round-before)*timing.SolvePause < timing.NoReturn {
					s.Undone++
				}
			}
			last[placement.Move{Shard: m.Shard, From: m.From}] = round
			left.Keep(m.Shard, m.From, now.Add(noReturn))
		}
	}
	return s, nil
}
