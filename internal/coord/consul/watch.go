package consul

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
)

// Times of Watch.
const (
	// maxWait is how long Consul keeps a query that nothing answers, ± 20 % so that watches that began together drift apart. Each agent has
	// one, and 1 000 of them ask 33 times a second. It is no longer because Consul does not wake who waits when a snapshot is restored, and
	// its index lies below the one that is waited for: such a change is noticed after this. Other trouble is noticed sooner: a connection
	// that fell silent ends by keep-alives, and whoever waits for a server that serves no more asks again after the next request that
	// fails (doubt).
	maxWait = 30 * time.Second
	// answerPatience is how much longer an answer may take than Consul's part, which is up to a sixteenth of the wait.
	answerPatience = 2 * time.Second
	firstPause     = 50 * time.Millisecond
	maxPause       = 2 * time.Second
)

// Watch calls fn with the whole prefix, first at once and then after every change, until ctx ends. It goes on after what passes by itself, and
// returns what stays until somebody acts, such as a token that may not read.
func (s *Store) Watch(ctx context.Context, prefix string, fn func([]coord.Entry)) error {
	pauses := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(maxPause), backoff.WithMaxElapsedTime(0))
	f := follower{seed: maphash.MakeSeed()}
	for ctx.Err() == nil {
		asked := time.Now()
		entries, index, err := s.block(ctx, prefix, f.index)
		switch {
		case ctx.Err() != nil:
		case lasting(err):
			return fmt.Errorf("watch %s: %w", prefix, err)
		case err != nil:
			f.index = 0 // whatever is read next is compared with what was delivered
			clock.Pause(ctx, pauses.NextBackOff())
		case f.take(entries, index):
			pauses.Reset()
			fn(entries)
		case time.Since(asked) > maxPause:
			pauses.Reset()
		default: // answered for nothing, as Consul does when keys beside an empty prefix change
			clock.Pause(ctx, firstPause)
		}
	}
	return ctx.Err()
}

// block waits until the prefix may have changed since an index, for about maxWait, or until there is reason to doubt whoever was asked.
func (s *Store) block(ctx context.Context, prefix string, since uint64) (entries []coord.Entry, index uint64, err error) {
	wait := maxWait*4/5 + rand.N(maxWait*2/5)
	ctx, cancel := context.WithTimeout(ctx, wait+wait/16+answerPatience)
	defer cancel()
	defer context.AfterFunc(s.trips[0].doubt(), cancel)()
	err = call(ctx, reads, func(ctx context.Context) error {
		options := (&api.QueryOptions{WaitIndex: since, WaitTime: wait}).WithContext(ctx)
		entries, index, err = s.list(prefix, options)
		return err
	})
	return entries, index, err
}

// follower decides, answer by answer, what to ask next and whether there is news.
type follower struct {
	index     uint64 // to wait beyond; 0: answer at once
	seed      maphash.Seed
	delivered uint64 // hash of the last state; meaningless before the first
	any       bool
}

// take looks at an answer and reports whether it has news. An index that goes backwards means that Consul's data did, and the next query
// starts over.
func (f *follower) take(entries []coord.Entry, index uint64) bool {
	if index < f.index {
		index = 0
	}
	f.index = index
	hash := f.hash(entries)
	news := !f.any || hash != f.delivered
	f.any, f.delivered = true, hash
	return news
}

// hash covers everything of a state, so that equal hashes mean that nothing changed.
func (f *follower) hash(entries []coord.Entry) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	field := func(n uint64, text string) {
		var number [8]byte
		binary.LittleEndian.PutUint64(number[:], n)
		_, _ = h.Write(number[:])
		_, _ = h.WriteString(text)
	}
	for _, e := range entries {
		field(uint64(len(e.Key)), e.Key)
		field(uint64(len(e.Value)), string(e.Value))
		field(uint64(e.Create), "")
		field(uint64(e.Modify), "")
		field(uint64(len(e.Session)), string(e.Session))
	}
	return h.Sum64()
}
