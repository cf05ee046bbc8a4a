package kvserve

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/shardmanager/shardmanager/examples/kv/kvreplica"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// TestReplicatedContract runs the SDK's own kit against the application: what was acknowledged survives every change of roles.
func TestReplicatedContract(t *testing.T) {
	var n numbered
	hosts := map[sdk.Handler]*atomic.Pointer[sdk.Host]{}
	sdktest.Check(t, sdktest.App{
		New: func(t testing.TB, _ string) sdk.Handler {
			host := &atomic.Pointer[sdk.Host]{}
			node := kvreplica.New(kvreplica.Config{
				Incarnation: func() uint64 {
					_, incarnation := host.Load().Server()
					return incarnation
				},
				Confirm: func(ctx context.Context, shard string, term uint64) bool {
					mounted := host.Load()
					return mounted != nil && primaryNow(ctx, mounted, shard, term)
				},
				Log: slog.New(slog.DiscardHandler),
			})
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				node.Run(ctx)
			}()
			t.Cleanup(func() {
				cancel()
				<-ended
			})
			app := NewReplicated(node, slog.New(slog.DiscardHandler))
			hosts[app] = host
			return app
		},
		Mount: func(h sdk.Handler, host *sdk.Host, mux *http.ServeMux) {
			hosts[h].Store(host)
			mux.Handle(h.(*Replicated).node.Handler())
		},
		Write: func(ctx context.Context, h sdk.Handler, s sdk.Shard, text string) error {
			// The service counts: the text of a value is the one that was written when it was reached.
			_, request := n.next(text)
			value, err := h.(*Replicated).node.Increment(ctx, s.ID, s.Term, "k", kvreplica.RequestID{Client: 1, Number: request})
			if err == nil {
				n.reached(s.ID, value, text)
			}
			return err
		},
		Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
			node := h.(*Replicated).node
			if s.Role == sdk.RoleSecondary {
				value, _, err := node.GetStale(s.ID, "k")
				return n.at(s.ID, value), err
			}
			value, err := node.Get(s.ID, s.Term, "k")
			return n.at(s.ID, value), err
		},
	})
}

func TestModes(t *testing.T) {
	for name, step := range map[string]struct {
		cfg  Config
		good bool
	}{
		"default":                      {Config{Store: "127.0.0.1:1"}, true},
		"primary-only":                 {Config{Mode: PrimaryOnly, Store: "127.0.0.1:1"}, true},
		"primary-only without a store": {Config{Mode: PrimaryOnly}, false},
		"primary-secondary":            {Config{Mode: PrimarySecondary}, true},
		"primary-secondary with store": {Config{Mode: PrimarySecondary, Store: "127.0.0.1:1"}, false},
		"unknown":                      {Config{Mode: "secondary-only", Store: "127.0.0.1:1"}, false},
	} {
		if err := step.cfg.Validate(); (err == nil) != step.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	withFaults := newMode(Config{Mode: PrimarySecondary, Faults: "none"}, nil, slog.New(slog.DiscardHandler))
	for name, h := range map[string]sdk.Handler{"": newMode(Config{Mode: PrimarySecondary}, nil, slog.New(slog.DiscardHandler)).handler, "with faults": withFaults.handler} {
		_, changes := h.(sdk.RoleChanger)
		_, updates := h.(sdk.MembershipUpdater)
		if !changes || !updates {
			t.Errorf("primary-secondary %s: cannot be a secondary", name)
		}
	}
	if _, changes := newMode(Config{Store: "127.0.0.1:1", Faults: "none"}, nil, slog.New(slog.DiscardHandler)).handler.(sdk.RoleChanger); changes {
		t.Error("primary-only says that it can be a secondary")
	}
}
