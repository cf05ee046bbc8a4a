package consul

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// Store is a client of Consul. A call ends with its context; the caller sets the time.
type Store struct {
	api       *api.Client     // of all addresses
	local     *api.Client     // of the first
	trips     []*roundTripper // theirs
	token     *tokenSource
	checkTTL  time.Duration
	anonymous bool   // it has no token
	node      string // that sessions are attached to
	dc        string
}

var _ coord.Store = (*Store)(nil)

// New makes a client for the processes of a cluster. Nothing is dialled before the first call.
func New(cfg Config, cluster string) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	all, trip, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	cfg.Addresses = cfg.Addresses[:1]
	local, localTrip, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Store{
		api: all, local: local, trips: []*roundTripper{trip, localTrip}, token: trip.token, checkTTL: cmp.Or(cfg.CheckTTL, DefaultCheckTTL),
		anonymous: cfg.Token == "" && cfg.TokenFile == "", node: Node(cluster), dc: cfg.Datacenter,
	}, nil
}

func newClient(cfg Config) (*api.Client, *roundTripper, error) {
	trip, err := newRoundTripper(cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := api.NewClient(&api.Config{
		Address: trip.addresses[0].host, Scheme: trip.addresses[0].scheme, HttpClient: &http.Client{Transport: trip},
		Token: cfg.Token, Datacenter: cfg.Datacenter, Namespace: cfg.Namespace, Partition: cfg.Partition,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("consul: %w", err)
	}
	return client, trip, nil
}

// Close lets go of idle connections.
func (s *Store) Close() {
	for _, trip := range s.trips {
		trip.next.CloseIdleConnections()
	}
}

// consistent makes the options of a read that asks a quorum.
func consistent(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

// Get reads one key.
func (s *Store) Get(ctx context.Context, key string) (entry coord.Entry, found bool, err error) {
	err = call(ctx, reads, func(ctx context.Context) error {
		pair, meta, err := s.api.KV().Get(key, consistent(ctx))
		if err == nil {
			err = s.complete(meta)
		}
		if err == nil && pair != nil {
			entry, found = entryOf(pair), true
		}
		return err
	})
	if err != nil {
		return coord.Entry{}, false, fmt.Errorf("get %s: %w", key, err)
	}
	return entry, found, nil
}

// List reads every key with a prefix, in key order.
func (s *Store) List(ctx context.Context, prefix string) (entries []coord.Entry, err error) {
	err = call(ctx, reads, func(ctx context.Context) error {
		entries, _, err = s.list(prefix, consistent(ctx))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	return entries, nil
}

func (s *Store) list(prefix string, options *api.QueryOptions) ([]coord.Entry, uint64, error) {
	pairs, meta, err := s.api.KV().List(prefix, options)
	if err != nil {
		return nil, 0, err
	}
	if err := s.complete(meta); err != nil {
		return nil, 0, err
	}
	entries := make([]coord.Entry, len(pairs))
	for i, pair := range pairs {
		entries[i] = entryOf(pair)
	}
	return entries, meta.LastIndex, nil
}

// complete refuses an answer that leaves something out, or that Consul did not give: every read of keys has an index. Consul does not tell
// those without a token that it left something out.
func (s *Store) complete(meta *api.QueryMeta) error {
	switch {
	case s.anonymous && meta.DefaultACLPolicy == "deny":
		return denied("this Consul denies by default, and no token is set")
	case meta.ResultsFilteredByACLs:
		return denied("keys were left out of the answer")
	case meta.LastIndex == 0:
		return errForeign
	}
	return nil
}

func entryOf(pair *api.KVPair) coord.Entry {
	value := pair.Value
	if value == nil {
		value = []byte{}
	}
	return coord.Entry{
		Key: pair.Key, Value: value, Create: coord.Index(pair.CreateIndex), Modify: coord.Index(pair.ModifyIndex),
		Session: coord.SessionID(pair.Session),
	}
}
