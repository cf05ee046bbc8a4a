package allocator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/wish"
)

// A full mailbox makes its senders wait, and lets go of them when their time is over or the tenure is.
func TestFullMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailbox()
		for range MailboxSize {
			if err := m.Post(t.Context(), ledger.StopRequested{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 3)
		go func() { results <- m.Post(ctx, ledger.StopRequested{}) }()
		go func() { results <- m.Post(t.Context(), ledger.StopRequested{}) }()
		synctest.Wait()
		if len(results) != 0 {
			t.Fatal("a full mailbox took a letter")
		}
		cancel()
		synctest.Wait()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled sender: %v", err)
		}
		<-m.letters
		synctest.Wait()
		if err := <-results; err != nil {
			t.Errorf("sender after room was made: %v", err)
		}
		go func() { results <- m.Post(t.Context(), ledger.StopRequested{}) }()
		synctest.Wait()
		close(m.ended)
		synctest.Wait()
		if err := <-results; !errors.Is(err, api.ErrNotLeading) {
			t.Errorf("sender after the end: %v", err)
		}
		<-m.letters
		for range 100 { // room or not: nobody opens letters any more
			if err := m.Post(t.Context(), ledger.StopRequested{}); !errors.Is(err, api.ErrNotLeading) {
				t.Fatalf("late sender: %v", err)
			}
		}
	})
}

// Whoever waits for a reply when the tenure ends is told so, unless it came.
func TestRepliesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailbox()
		results := make(chan error, 2)
		ask := func() {
			_, err := m.Ask(t.Context(), wish.DrainServer{})
			results <- err
		}
		go ask()
		synctest.Wait()
		l := <-m.letters
		go ask()
		synctest.Wait()
		l.reply <- ledger.Reply{}
		close(m.ended)
		synctest.Wait()
		var ended int
		for range 2 {
			if err := <-results; errors.Is(err, api.ErrNotLeading) {
				ended++
			} else if err != nil {
				t.Error(err)
			}
		}
		if ended != 1 {
			t.Errorf("%d told that the tenure ended, expected the one without a reply", ended)
		}
	})
}
