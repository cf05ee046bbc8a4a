package main

import (
	"context"
	"testing"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// TestCallbacks has the SDK's kit call every callback in every order that can happen, twice each; what was written must survive it.
func TestCallbacks(t *testing.T) {
	shared := &storage{directory: t.TempDir()}
	sdktest.Check(t, sdktest.App{
		New: func(testing.TB, string) sdk.Handler { return newService(shared) },
		Write: func(_ context.Context, h sdk.Handler, sh sdk.Shard, value string) error {
			_, err := h.(*service).sign(sh, "lobby", value)
			return err
		},
		Read: func(_ context.Context, h sdk.Handler, sh sdk.Shard) (string, error) {
			guests := h.(*service).guests(sh, "lobby")
			if len(guests) == 0 {
				return "", nil
			}
			return guests[len(guests)-1], nil
		},
		Durable: true,
	})
}
