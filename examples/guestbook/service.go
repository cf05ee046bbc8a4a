package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/shardmanager/shardmanager/sdk"
)

// service keeps guest books. The pages of its shards are in memory, for reads, and every name is in storage before anybody hears that it is.
type service struct {
	storage *storage
	mu      sync.Mutex
	shards  map[string]map[string][]string // guests by page, by shard
}

func newService(s *storage) *service {
	return &service{storage: s, shards: map[string]map[string][]string{}}
}

// AddShard: the shard is ours. Storage hears of our term first, so that an earlier owner who wakes up late can write no more; then we read.
func (s *service) AddShard(_ context.Context, sh sdk.Shard) error {
	pages, err := s.storage.open(sh)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards[sh.ID] = pages
	return nil
}

// DropShard: the shard is somebody else's from now on, and nothing runs for it here any more.
func (s *service) DropShard(_ context.Context, sh sdk.Shard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shards, sh.ID)
	return nil
}

// sign writes a name on a page, durably, and says how many are on it.
func (s *service) sign(sh sdk.Shard, page, name string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	guests, err := s.storage.sign(sh, page, name)
	if err != nil {
		return 0, err
	}
	if pages := s.shards[sh.ID]; pages != nil {
		pages[page] = guests
	}
	return len(guests), nil
}

// guests are the names on a page.
func (s *service) guests(sh sdk.Shard, page string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shards[sh.ID][page]
}

// ServeHTTP runs at the owner of the page's shard only: POST /PAGE?name=NAME signs, GET /PAGE reads.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sh, _ := sdk.ShardFromContext(r.Context())
	page := strings.TrimPrefix(r.URL.Path, "/")
	if r.Method != http.MethodPost {
		_, _ = fmt.Fprintln(w, strings.Join(s.guests(sh, page), ", "))
		return
	}
	n, err := s.sign(sh, page, r.URL.Query().Get("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = fmt.Fprintf(w, "%s: guest %d (shard %s, term %d)\n", page, n, sh.ID, sh.Term)
}
