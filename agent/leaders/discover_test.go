package leaders

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// reluctant gives its first watches up, as a store does while a token may not read.
type reluctant struct {
	refusals int
	entries  []coord.Entry
}

func (r *reluctant) Watch(ctx context.Context, _ string, fn func([]coord.Entry)) error {
	if r.refusals > 0 {
		r.refusals--
		return errors.New("denied")
	}
	fn(r.entries)
	<-ctx.Done()
	return ctx.Err()
}

// A watch that the store gave up is begun again, and each time told of.
func TestDiscoverBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value, err := wire.Encode(&pb.LeaderRecord{Address: "127.0.0.1:7410"})
		if err != nil {
			t.Fatal(err)
		}
		store := &reluctant{refusals: 3, entries: []coord.Entry{
			{Key: "shardmanager/c/g/default/leader", Value: value, Modify: 7, Session: "s"},
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*watchAgain)
		defer cancel()
		l, troubles := New(nil, nil), 0
		l.Discover(ctx, store, "c", func(error) { troubles++ })
		if found := l.Election(); found.Address != "127.0.0.1:7410" || troubles != 3 {
			t.Errorf("found %q after %d troubles", found.Address, troubles)
		}
	})
}
