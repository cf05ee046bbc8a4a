package embedded

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// refusing is a backend whose disk is full while told so.
type refusing struct {
	memory
	full atomic.Bool
}

func (r *refusing) commit(*change) error {
	if r.full.Load() {
		return coord.ErrFull
	}
	return nil
}

// A session whose time is over stays over while a full disk refuses its removal, and goes once there is room.
func TestExpiryOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &refusing{}
		begin := time.Now()
		deps := Deps{Now: func() shard.Instant { return shard.Instant{}.Add(time.Since(begin)) }}
		e := start(disk, newState(), deps)
		defer func() { _ = e.Close() }()
		id, err := e.CreateSession(t.Context(), coord.SessionSpec{TTL: time.Second, Behavior: coord.DeleteKeys})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Txn(t.Context(), []coord.Op{{Verb: coord.Lock, Key: "k", Session: id}}); err != nil {
			t.Fatal(err)
		}
		disk.full.Store(true)
		time.Sleep(2500 * time.Millisecond)
		if err := e.Health(); !errors.Is(err, coord.ErrFull) {
			t.Errorf("health: got %v, want ErrFull", err)
		}
		if found, err := e.RenewSession(t.Context(), id); err != nil || found {
			t.Errorf("renew: got %t, %v, want false", found, err)
		}
		check := []coord.Op{{Verb: coord.CheckSession, Key: "k", Session: id}}
		var conflict *coord.ConflictError
		if _, err := e.Txn(t.Context(), check); !errors.As(err, &conflict) {
			t.Errorf("check of the ended session: got %v, want a conflict", err)
		}
		if _, found, _ := e.Get(t.Context(), "k"); !found {
			t.Error("the key went although nothing could be written")
		}
		disk.full.Store(false)
		time.Sleep(1500 * time.Millisecond)
		if _, found, _ := e.Get(t.Context(), "k"); found {
			t.Error("the key stayed although there is room")
		}
	})
}

// Writers beyond the limit are told at once; a writer whose context ends while it waits has written nothing.
func TestWaitingWritersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := start(memory{}, newState(), Deps{Now: func() shard.Instant { return shard.Instant{Boot: 1, Raw: 1} }})
		<-e.turn // a write that the disk does not finish
		outcomes := make(chan error, MaxWaiting+1)
		ops := []coord.Op{{Verb: coord.Set, Key: "k"}}
		for range MaxWaiting {
			go func() {
				_, err := e.Txn(t.Context(), ops)
				outcomes <- err
			}()
		}
		synctest.Wait()
		if _, err := e.Txn(t.Context(), ops); !errors.Is(err, coord.ErrUnavailable) {
			t.Errorf("one writer more: got %v, want ErrUnavailable", err)
		}
		e.giveTurn()
		for range MaxWaiting {
			if err := <-outcomes; err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
