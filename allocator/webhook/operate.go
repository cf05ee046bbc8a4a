package webhook

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/events"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Names are those of all targets.
func (s *Sender) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, l := range s.lines {
			if !yield(l.target.Name) {
				return
			}
		}
	}
}

func (s *Sender) line(name string) *line {
	for _, l := range s.lines {
		if l.target.Name == name {
			return l
		}
	}
	return nil
}

// List is how far each target is, by name.
func (s *Sender) List() []*pb.WebhookStatus {
	var list []*pb.WebhookStatus
	newest := s.deps.Events.Newest()
	for _, l := range s.lines {
		list = append(list, l.status(newest))
	}
	slices.SortFunc(list, func(a, b *pb.WebhookStatus) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return list
}

func (l *line) status(newest events.Position) *pb.WebhookStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	address, _, query := strings.Cut(l.target.URL.String(), "?")
	if query {
		address += "?…" // it may hold a secret
	}
	return &pb.WebhookStatus{
		Name: l.target.Name, Url: address, State: l.state, Delivered: l.delivered, Failed: l.failed, Dead: count(len(l.dead)), Lag: l.lag(newest),
		LastError: l.reason, App: string(l.target.Filter.App), Kinds: l.target.Filter.Kinds,
	}
}

// lag is how many events it was not told of yet. The caller holds the lock.
func (l *line) lag(newest events.Position) uint64 {
	if newest.Epoch != l.at.Epoch || newest.Sequence < l.at.Sequence {
		return 0
	}
	return newest.Sequence - l.at.Sequence
}

// Dead are the dead letters of a target; false: there is no such target.
func (s *Sender) Dead(name string) (*pb.ListDeadLettersResponse, bool) {
	l := s.line(name)
	if l == nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := &pb.ListDeadLettersResponse{Dropped: l.dropped}
	for _, m := range l.dead {
		out.Letters = append(out.Letters, &pb.DeadLetter{Id: m.id, TimeMs: m.at.UnixMilli(), Attempts: count(m.attempts), Error: m.reason, Body: string(m.body)})
	}
	return out, true
}

// Replay has the dead letters of a target sent again, before any newer event, and says how many; one that is disabled is not any more. False: there is
// no such target.
func (s *Sender) Replay(name string) (letters int, ok bool) {
	l := s.line(name)
	if l == nil {
		return 0, false
	}
	return l.replay(), true
}

// Test sends a target one event of type `test`, once, beside what else it gets; false: there is no such target. One test is under way at a time.
func (s *Sender) Test(ctx context.Context, name string) (*pb.TestWebhookResponse, bool) {
	l := s.line(name)
	if l == nil {
		return nil, false
	}
	select {
	case s.testing <- struct{}{}:
		defer func() { <-s.testing }()
	case <-ctx.Done():
		return &pb.TestWebhookResponse{Error: "another test is under way"}, true
	}
	began := time.Now()
	m, err := newMessage("test_"+s.deps.Cluster+"."+strconv.FormatInt(began.UnixNano(), 10), s.deps.Cluster, "test", began, []byte("{}"))
	if err == nil {
		err = l.target.attempt(ctx, l.client, l.deps.Pacing.Attempt, m)
	}
	out := &pb.TestWebhookResponse{Delivered: err == nil, TookMs: time.Since(began).Milliseconds()}
	if err != nil {
		out.Error = err.Error()
	}
	return out, true
}

func count(n int) uint32 { return uint32(max(n, 0)) } //nolint:gosec // bounded by Pacing.Attempts and DeadMost
