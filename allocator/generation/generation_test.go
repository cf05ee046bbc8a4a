package generation_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/generation"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
)

// An absent key is generation 0; what a leader heard of is read as it was written, and bars everybody; every write is noticed.
func TestRead(t *testing.T) {
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	keys := storage.NewKeys("c1", "default")
	first, err := generation.Read(t.Context(), store, keys)
	if err != nil || first.Number() != 0 || first.Bar() != "" {
		t.Fatalf("%v, %v", first.Record, err)
	}
	contents, err := keys.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	batches, err := keys.Encode(contents.Indexes, shard.Epoch{Generation: 2, Index: 9}, []ledger.WriteOp{ledger.PutHeard{Generation: 5, Why: "a.kv said so"}})
	if err != nil || len(batches) != 1 {
		t.Fatal(batches, err)
	}
	if _, err := store.Txn(t.Context(), append([]coord.Op{first.Unchanged}, batches[0]...)); err != nil {
		t.Fatal(err)
	}
	conflict := (*coord.ConflictError)(nil)
	if _, err := store.Txn(t.Context(), []coord.Op{first.Unchanged}); !errors.As(err, &conflict) {
		t.Errorf("the write was not noticed: %v", err)
	}
	second, err := generation.Read(t.Context(), store, keys)
	if err != nil || second.Number() != 2 || second.Record.GetHeard() != 5 || !strings.Contains(second.Bar(), "a.kv said so") {
		t.Fatalf("%v, %q, %v", second.Record, second.Bar(), err)
	}
	if _, err := store.Txn(t.Context(), []coord.Op{second.Unchanged, {Verb: coord.Set, Key: keys.Generation(), Value: []byte("nonsense")}}); err != nil {
		t.Error(err)
	}
	if _, err := generation.Read(t.Context(), store, keys); !errors.Is(err, wire.ErrCorrupt) || !strings.Contains(err.Error(), keys.Generation()) {
		t.Errorf("nonsense: %v", err)
	}
}

func TestNext(t *testing.T) {
	if next, err := generation.Next(3, 7, 0); err != nil || next != 8 || shard.FirstTerm(next).Generation() != next {
		t.Errorf("%d, %v", next, err)
	}
	if next, err := generation.Next(generation.Most - 1); err != nil || shard.FirstTerm(next).Generation() != generation.Most {
		t.Errorf("the last: %d, %v", next, err)
	}
	if _, err := generation.Next(generation.Most); err == nil {
		t.Error("one more than terms have room for")
	}
}
