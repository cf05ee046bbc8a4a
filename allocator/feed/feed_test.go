package feed_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPositionsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := events.Position{
			Epoch:    shard.Epoch{Generation: rapid.Uint64().Draw(t, "generation"), Index: rapid.Uint64().Draw(t, "index")},
			Sequence: rapid.Uint64().Draw(t, "sequence"),
		}
		if got, err := feed.ParsePosition(feed.Written(p)); err != nil || got != p {
			t.Errorf("%v became %v, %v", p, got, err)
		}
		if got := feed.PositionFromProto(feed.PositionToProto(p)); got != p {
			t.Errorf("%v became %v", p, got)
		}
	})
	for _, bad := range []string{"", "1", "1.2", "1.2.", "1.2.x", "1.2.3.4", "+1.2.3", "1.2.99999999999999999999", strings.Repeat("1", 1000)} {
		if p, err := feed.ParsePosition(bad); err == nil || len(err.Error()) > 120 {
			t.Errorf("%q became %v, %v", bad, p, err)
		}
	}
}

func TestKinds(t *testing.T) {
	if got := feed.KindNames(); !slices.Equal(got, []string{"decision", "server", "leader"}) {
		t.Errorf("kinds %q", got)
	}
	for _, name := range feed.KindNames() {
		if k, err := feed.ParseKind(name); err != nil || feed.KindName(k) != name {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	for _, kinds := range [][]pb.EventKind{{0}, {pb.EventKind_EVENT_KIND_LEADER, 99}} {
		if f, err := feed.FilterOf("kv", kinds); err == nil || !strings.Contains(err.Error(), "decision or server or leader") {
			t.Errorf("%v became %v, %v", kinds, f, err)
		}
	}
}

// A reader that keeps up gets events in few batches, however many times there were some.
func TestReadersArePaced(t *testing.T) {
	log := events.NewLog()
	log.Begin(shard.Epoch{Index: 1})
	f := feed.New(log, 0)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		often := time.NewTicker(time.Millisecond)
		defer often.Stop()
		for ctx.Err() == nil {
			<-often.C
			log.Add(time.Now(), events.LeaderChanged{})
		}
	}()
	began, batches, got := time.Now(), 0, 0
	done := errors.New("enough")
	err := f.Follow(ctx, nil, events.Position{}, true, func(list []events.Event, _ events.Position) error {
		if batches, got = batches+1, got+len(list); got >= 300 {
			return done
		}
		return nil
	})
	most := 2 + int(time.Since(began)/feed.Pace)
	cancel()
	<-stopped
	if !errors.Is(err, done) || batches > most {
		t.Errorf("%d batches, at most %d wanted: %v", batches, most, err)
	}
}
