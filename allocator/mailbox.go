package allocator

import (
	"context"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// MailboxSize is how many letters wait for the loop at most. When it is full, whoever sends waits: a stream is then not read from, so its
// agent waits too, and no memory grows.
const MailboxSize = 4096

// letter is what the loop is sent: an event for the ledger, a wish with a way back, or a question; exactly one of them.
type letter struct {
	event ledger.Event
	wish  wish.Wish
	reply chan ledger.Reply // capacity 1; with wish
	view  chan *api.View    // capacity 1

	app     shard.App
	shard   shard.ID
	explain chan *api.Explained // capacity 1; with app and shard
}

// mailbox is the way to one tenure's loop.
type mailbox struct {
	letters chan letter
	ended   chan struct{} // closed when the loop takes no more
}

var _ api.Leader = (*mailbox)(nil)

func newMailbox() *mailbox {
	return &mailbox{letters: make(chan letter, MailboxSize), ended: make(chan struct{})}
}

func (m *mailbox) put(ctx context.Context, l letter) error {
	select {
	case <-m.ended: // checked first: a mailbox with room must not swallow letters
		return api.ErrNotLeading
	default:
	}
	select {
	case m.letters <- l:
		return nil
	case <-m.ended:
		return api.ErrNotLeading
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Post implements api.Leader.
func (m *mailbox) Post(ctx context.Context, event ledger.Event) error {
	return m.put(ctx, letter{event: event})
}

// Ask implements api.Leader.
func (m *mailbox) Ask(ctx context.Context, wish wish.Wish) (ledger.Reply, error) {
	reply := make(chan ledger.Reply, 1)
	if err := m.put(ctx, letter{wish: wish, reply: reply}); err != nil {
		return ledger.Reply{}, err
	}
	return await(ctx, m, reply)
}

// View implements api.Leader.
func (m *mailbox) View(ctx context.Context) (*api.View, error) {
	view := make(chan *api.View, 1)
	if err := m.put(ctx, letter{view: view}); err != nil {
		return nil, err
	}
	return await(ctx, m, view)
}

// Explain implements api.Leader.
func (m *mailbox) Explain(ctx context.Context, app shard.App, id shard.ID) (*api.Explained, error) {
	answer := make(chan *api.Explained, 1)
	if err := m.put(ctx, letter{app: app, shard: id, explain: answer}); err != nil {
		return nil, err
	}
	return await(ctx, m, answer)
}

// Ended implements api.Leader.
func (m *mailbox) Ended() <-chan struct{} { return m.ended }

func await[T any](ctx context.Context, m *mailbox, answer <-chan T) (T, error) {
	var none T
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return none, ctx.Err()
	case <-m.ended:
	}
	select { // it may have been answered last of all
	case a := <-answer:
		return a, nil
	default:
		return none, api.ErrNotLeading
	}
}
