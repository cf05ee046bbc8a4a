package kvserve

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	"github.com/shardmanager/shardmanager/sdk"
)

// newFaulty is an application with a file of faults that is still to be written, and a count of its deaths.
func newFaulty(t *testing.T, store string) (a *faulty, set func(text string), deaths *int) {
	t.Helper()
	path, died := filepath.Join(t.TempDir(), "faults.json"), 0
	a = &faulty{application: NewApp(kvstore.NewClient(store), slog.New(slog.DiscardHandler)), log: slog.New(slog.DiscardHandler), path: path, die: func() { died++ }}
	return a, func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}, &died
}

func TestPoisonKillsAtItsActivationOnly(t *testing.T) {
	a, set, deaths := newFaulty(t, startStore(t))
	activate := func(id string) {
		t.Helper()
		if err := a.Activate(t.Context(), sdk.Shard{ID: id, Term: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	activate("07")
	set(`{"poison":["07"]}`)
	activate("08")
	if *deaths != 0 {
		t.Fatalf("%d deaths without poison", *deaths)
	}
	activate("07")
	if *deaths != 1 {
		t.Errorf("%d deaths by poison, expected 1", *deaths)
	}
	set(`{}`)
	activate("07")
	if *deaths != 1 {
		t.Error("the cure does not work")
	}
}

func TestDelays(t *testing.T) {
	a, set, _ := newFaulty(t, "127.0.0.1:1") // no callback here needs the store
	prepare := func(ctx context.Context) error {
		return a.PrepareAddShard(ctx, sdk.Shard{ID: "07", Term: 1}, sdk.Peer{})
	}
	if err := prepare(t.Context()); err != nil {
		t.Errorf("without faults: %v", err)
	}
	for _, c := range []struct {
		name, text string
		took       time.Duration
		err        error
	}{
		{"slow", `{"delay_ms":{"PrepareAddShard":3000}}`, 3 * time.Second, nil},
		{"another callback", `{"delay_ms":{"AddShard":3000}}`, 0, nil},
		{"hanging", `{"delay_ms":{"PrepareAddShard":-1}}`, 10 * time.Second, context.DeadlineExceeded},
		{"slower than the deadline", `{"delay_ms":{"PrepareAddShard":60000}}`, 10 * time.Second, context.DeadlineExceeded},
	} {
		set(c.text)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			began := time.Now()
			if err := prepare(ctx); !errors.Is(err, c.err) || time.Since(began) != c.took {
				t.Errorf("%s: %v after %v, expected %v after %v", c.name, err, time.Since(began), c.err, c.took)
			}
		})
	}
}

func TestBadFaultsAreRefused(t *testing.T) {
	a, set, _ := newFaulty(t, "127.0.0.1:1")
	for text, says := range map[string]string{
		`{"poison":"07"}`:                "faults.json",
		`{"delay_ms":{"DropShard":100}}`: `"DropShard": expected PrepareAddShard or AddShard`,
	} {
		set(text)
		if err := a.AddShard(t.Context(), sdk.Shard{ID: "07", Term: 1}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, expected one that says %q", text, err, says)
		}
	}
	cfg := Config{Store: "127.0.0.1:1", Faults: a.path}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "faults") {
		t.Errorf("a server with bad faults starts: %v", err)
	}
}
