package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
)

// Service is what clients ask. The outcome says what an error means; the value counts if it is Done.
type Service interface {
	// Read reads a counter.
	Read(ctx context.Context, key string) (int64, Outcome)
	// Increment adds one and answers the new value. A client numbers its increments of a key upwards, from 1, and sends one at a time; the
	// same client and number may reach the service again, which must then not count twice.
	Increment(ctx context.Context, key string, client, number uint64) (int64, Outcome)
}

// Config of clients.
type Config struct {
	Seed     uint64 // of what is asked; two runs of one seed ask differently all the same, as answers take their time
	Clients  int
	Keys     int // at any time; they are replaced when they are used up
	Name     string
	Pause    time.Duration // of a client between two operations, at most
	Deadline time.Duration // of an operation
}

// Bounds of clients and keys.
const (
	// maxClients is how many clients of a key a service has to tell apart: more could repeat an increment that it has forgotten.
	maxClients = 8
	// maxOpen is how many open increments a key may have: each doubles the search at worst.
	maxOpen = 4
	// maxOperations of a key, for the same reason.
	maxOperations = 2000
	// lastPatience bounds the reads of all keys at the end.
	lastPatience = time.Minute
)

// Validate checks what can be checked without doing anything.
func (c Config) Validate() error {
	switch {
	case c.Clients < 1 || c.Clients > maxClients:
		return fmt.Errorf("clients %d: expected 1 to %d", c.Clients, maxClients)
	case c.Keys < 1:
		return fmt.Errorf("keys %d: expected 1 or more", c.Keys)
	case c.Deadline <= 0 || c.Pause < 0:
		return fmt.Errorf("deadline %v, pause %v: expected more than 0, and 0 or more", c.Deadline, c.Pause)
	}
	return nil
}

// Clients ask a service until their context ends.
type Clients struct {
	cfg     Config
	service Service
	history *History
	began   time.Time

	mu    sync.Mutex
	slots []*key // in use
	all   []*key
	names int // of clients, in the history
}

// key is a counter, and how far it is used up.
type key struct {
	name       string
	operations int
	open       int
	numbers    [maxClients]uint64 // of each client's last increment
}

// NewClients makes clients that have not asked yet.
func NewClients(cfg Config, service Service) (*Clients, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	c := &Clients{cfg: cfg, service: service, history: new(History), began: time.Now(), slots: make([]*key, cfg.Keys)}
	for i := range c.slots {
		c.slots[i] = c.newKey()
	}
	return c, nil
}

// newKey names a key that nobody used. The caller holds mu, or is alone.
func (c *Clients) newKey() *key {
	k := &key{name: fmt.Sprintf("%s-%d", c.cfg.Name, len(c.all))}
	c.all = append(c.all, k)
	return k
}

// Run asks until ctx ends, then reads every key once. It returns the history; the error says that a key could not be read.
func (c *Clients) Run(ctx context.Context) (*History, error) {
	var group sync.WaitGroup
	for i := range c.cfg.Clients {
		group.Go(func() { c.ask(ctx, i) })
	}
	group.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPatience)
	defer cancel()
	var failed []error
	for _, k := range c.all {
		if err := clock.Await(last, lastPatience, "an answer", func(ctx context.Context) error { return c.readLast(ctx, k) }); err != nil {
			failed = append(failed, fmt.Errorf("clients: key %s: %w", k.name, err))
		}
	}
	return c.history, errors.Join(failed...)
}

// ask is the life of one client.
func (c *Clients) ask(ctx context.Context, client int) {
	random := rand.New(rand.NewPCG(c.cfg.Seed, uint64(client)))
	name := c.name()
	for ctx.Err() == nil {
		o := Operation{Client: name, Kind: Kind(1 + random.IntN(2))}
		k, number := c.take(random.IntN(c.cfg.Keys), client, o.Kind)
		o.Key = k.name
		o = c.do(context.WithoutCancel(ctx), o, uint64(client+1), number)
		if o.Outcome == Open {
			c.opened(k, o.Kind)
			name = c.name() // the operation goes on: who asks next is another to whoever looks at the history
		}
		if !clock.Pause(ctx, time.Duration(random.Int64N(int64(c.cfg.Pause)+1))) {
			return
		}
	}
}

// name is a client's in the history.
func (c *Clients) name() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names++
	return c.names - 1
}

// take chooses the key of a slot, a new one if the old one is used up, and numbers an increment.
func (c *Clients) take(slot, client int, kind Kind) (k *key, number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k = c.slots[slot]
	if k.open >= maxOpen || k.operations >= maxOperations {
		k = c.newKey()
		c.slots[slot] = k
	}
	k.operations++
	if kind == Increment {
		k.numbers[client]++
	}
	return k, k.numbers[client]
}

func (c *Clients) opened(k *key, kind Kind) {
	if kind == Read {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k.open++
}

// do asks once and notes it.
func (c *Clients) do(ctx context.Context, o Operation, client, number uint64) Operation {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Deadline)
	defer cancel()
	o.Call = int64(time.Since(c.began))
	if o.Kind == Increment {
		o.Value, o.Outcome = c.service.Increment(ctx, o.Key, client, number)
	} else {
		o.Value, o.Outcome = c.service.Read(ctx, o.Key)
	}
	o.Return = int64(time.Since(c.began))
	c.history.Add(o)
	return o
}

// errUnanswered is about a read that nobody answered.
var errUnanswered = errors.New("nobody answers")

func (c *Clients) readLast(ctx context.Context, k *key) error {
	if o := c.do(ctx, Operation{Client: c.name(), Key: k.name, Kind: Read}, 0, 0); o.Outcome != Done {
		return errUnanswered
	}
	return nil
}
