package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
)

// The store serves over its socket until its context ends, and keeps what it was given.
func TestStoreDaemon(t *testing.T) {
	dir := t.TempDir()
	socket := "unix://" + filepath.Join(dir, "store.sock")
	for round, want := range []coord.Index{1, 2} {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, []string{"store", "--data-dir", dir, "--listen", socket}, &log, &log) }()
		client, err := embedded.NewClient(socket)
		if err != nil {
			t.Fatal(err)
		}
		index, err := firstWrite(client)
		if err != nil || index != want {
			t.Errorf("round %d: index %d, %v, want %d", round, index, err, want)
		}
		client.Close()
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("round %d: exit %d: %s", round, code, &log)
		}
		if !strings.Contains(log.String(), `"message":"store started"`) || !strings.Contains(log.String(), `"message":"store stopped"`) {
			t.Errorf("round %d: log %s", round, &log)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "store.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file was left: %v", err)
	}
}

// firstWrite tries until the store listens.
func firstWrite(client *embedded.Client) (coord.Index, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		index, err := client.Txn(ctx, []coord.Op{{Verb: coord.Set, Key: "k", Value: []byte("v")}})
		var dial *net.OpError
		if errors.As(err, &dial) && ctx.Err() == nil {
			continue
		}
		return index, err
	}
}
