// Package kvload is the example's load generator and checker. It sends keyed reads and writes through sdk.Router at a fixed rate, whatever
// the answers take (open loop), and checks every answer: each key is a counter that every write increments, so an acknowledged write that
// is lost, one that is applied twice, and a read that is older than what was known before it are all seen.
//
// A request's latency counts from the instant at which it was due. Keys belong to one run (they carry its random client number), so a
// run starts from zero on any store.
package kvload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	"github.com/shardmanager/shardmanager/sdk"
)

// service is what the generator calls. An error that says `not executed` (sdk.OutcomeOf) is believed, and checked too.
type service interface {
	get(ctx context.Context, key string) (int64, error)
	getNearest(ctx context.Context, key string) (value int64, secondary bool, staleness time.Duration, err error)
	increment(ctx context.Context, key string, number uint64) (int64, error)
}

// settings of a generator.
type settings struct {
	rate       int
	writeRatio float64
	nearest    float64 // share of the reads
	deadline   time.Duration
}

// keyState is a key with all that its requests need.
type keyState struct {
	counter
	name  string
	shard uint32
}

// job is one request that is due.
type job struct {
	due   time.Time
	key   *keyState
	write *writeAttempt // nil: a read
	near  bool          // a read that any replica may answer
}

// generator sends the requests. Workers are started as needed and reused, so that an idle one costs a stack and nothing else.
type generator struct {
	settings
	service service
	keys    []keyState
	choice  keyChoice
	log     func(requests.Request) // called from many goroutines
	stats   stats

	jobs     chan job // unbuffered: a job is taken by an idle worker or a new one
	workers  sync.WaitGroup
	inFlight atomic.Int64
}

func newGenerator(s settings, service service, keys []keyState, log func(requests.Request)) *generator {
	return &generator{settings: s, service: service, keys: keys, choice: keyChoice{all: len(keys)}, log: log, jobs: make(chan job)}
}

// maxInFlight bounds the requests under way: twice what a service that never answers would collect. A request beyond it fails unsent.
func (s settings) maxInFlight() int64 { return max(int64(2*s.deadline.Seconds()*float64(s.rate)), 64) }

// run sends requests until ctx ends, and returns when all are answered or given up.
func (g *generator) run(ctx context.Context) {
	pace(ctx, g.rate, g.due)
	close(g.jobs)
	g.workers.Wait()
}

// due starts one request.
func (g *generator) due(at time.Time) {
	j := g.choose(at)
	if g.inFlight.Add(1) > g.maxInFlight() {
		g.end(j, 0, errTooMany)
		return
	}
	select {
	case g.jobs <- j:
	default:
		g.workers.Go(func() {
			g.do(j)
			for j := range g.jobs {
				g.do(j)
			}
		})
	}
}

var errTooMany = fmt.Errorf("too many requests under way: %w", &sdk.Error{Outcome: sdk.NotExecuted})

// choose picks kind and key. A key that is being written is left to that write; if all are, the request becomes a read.
func (g *generator) choose(at time.Time) job {
	first := g.choice.draw()
	if rand.Float64() < g.writeRatio {
		for i := range g.keys {
			key := &g.keys[(first+i)%len(g.keys)]
			if w, ok := key.beginWrite(); ok {
				return job{due: at, key: key, write: &w}
			}
		}
	}
	return job{due: at, key: &g.keys[first], near: rand.Float64() < g.nearest}
}

func (g *generator) do(j job) {
	ctx, cancel := context.WithDeadline(context.Background(), j.due.Add(g.deadline))
	defer cancel()
	if j.write != nil {
		value, err := g.service.increment(ctx, j.key.name, j.write.number)
		g.end(j, value, err)
		return
	}
	if j.near {
		g.readNearest(ctx, j)
		return
	}
	low := j.key.beginRead()
	value, err := g.service.get(ctx, j.key.name)
	g.endRead(j, low, value, err)
}

// end checks and counts a request that is over; a read only if it was not sent.
func (g *generator) end(j job, value int64, err error) {
	if j.write == nil {
		g.count(j, violations{}, err)
		return
	}
	var v violations
	switch outcome, _ := sdk.OutcomeOf(err); {
	case err == nil:
		v = j.key.acknowledged(*j.write, value)
	case outcome == sdk.NotExecuted:
		v = j.key.refused()
	default:
		j.key.unknown()
	}
	g.count(j, v, err)
}

func (g *generator) endRead(j job, low, value int64, err error) {
	var v violations
	if err == nil {
		v = j.key.read(low, value)
	}
	g.count(j, v, err)
}

// readNearest does a read that any replica may answer; what a primary answers is checked as any read is.
func (g *generator) readNearest(ctx context.Context, j job) {
	low, began := j.key.beginRead(), time.Now()
	value, secondary, staleness, err := g.service.getNearest(ctx, j.key.name)
	if err == nil {
		g.stats.answeredNearest(secondary, max(staleness, 0))
	}
	if err != nil || !secondary {
		g.endRead(j, low, value, err)
		return
	}
	if staleness < 0 {
		staleness = pastAge // it does not say
	}
	g.count(j, j.key.readNearest(began, staleness, value), nil)
}

func (g *generator) count(j job, v violations, err error) {
	latency := time.Since(j.due)
	g.inFlight.Add(-1)
	g.stats.ended(j.write != nil, err != nil, latency, v)
	end := clock.Now().Raw
	r := requests.Request{Start: end - int64(latency), End: end, Shard: j.key.shard, Kind: requests.Read, Outcome: requests.OK}
	if j.write != nil {
		r.Kind = requests.Write
	}
	switch {
	case err != nil:
		r.Outcome = requests.Failed
	case v.any():
		r.Outcome = requests.Wrong
	}
	g.log(r)
}

const (
	// readBackWorkers read back at once.
	readBackWorkers = 16
	// readBackTries bounds how often a key is read again after a failure, each within the requests' deadline.
	readBackTries = 5
)

// readBack reads every key that was written, once nothing is under way, and checks that no acknowledged write is missing. It returns how
// many keys were checked, and how many could not be read.
func (g *generator) readBack(ctx context.Context) (verified, unverified int64) {
	var next, good, bad atomic.Int64
	var group sync.WaitGroup
	for range readBackWorkers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(g.keys)); i = next.Add(1) - 1 {
				switch key := &g.keys[i]; {
				case !key.written:
				case g.readBackKey(ctx, key):
					good.Add(1)
				default:
					bad.Add(1)
				}
			}
		})
	}
	group.Wait()
	return good.Load(), bad.Load()
}

func (g *generator) readBackKey(ctx context.Context, key *keyState) bool {
	for range readBackTries {
		attempt, cancel := context.WithTimeout(ctx, g.deadline)
		value, err := g.service.get(attempt, key.name)
		cancel()
		if err == nil {
			g.stats.violated(key.last(value))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return false
}
